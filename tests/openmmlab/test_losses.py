"""Losses of mmcls and of its users on networks of ours; how a head of mmcls counts them is the oracle."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("mmcls.models", reason="the losses come with the extra openmmlab")

from mmcls.models import LOSSES
from mmcls.models.heads import ClsHead

from modelscope_beit.errors import SettingsError, TrainingError
from modelscope_beit.openmmlab.losses import ForeignLossFunction, with_class_count
from modelscope_beit.settings.losses import ForeignLoss

pytestmark = pytest.mark.openmmlab
TARGETS = torch.tensor([0, 2, 1, 1])


def scores(seed: int = 0) -> torch.Tensor:
    return torch.randn(4, 3, generator=torch.Generator().manual_seed(seed))


def loss_of(**config: Any) -> ForeignLossFunction:
    return ForeignLossFunction(ForeignLoss(config), 3)


@LOSSES.register_module()
class MeanOfAll(torch.nn.Module):
    """As a user writes it who has not heard of `reduction`."""

    def forward(self, logits: torch.Tensor, targets: torch.Tensor, avg_factor: int | None = None) -> torch.Tensor:
        return F.cross_entropy(logits, targets)


@LOSSES.register_module()
class OfTorch(torch.nn.Module):
    """A loss of torch with its own `reduction`, which is not mmcls's."""

    def __init__(self, reduction: str) -> None:
        super().__init__()
        self.inner = torch.nn.BCEWithLogitsLoss(reduction=reduction)

    def forward(self, logits: torch.Tensor, targets: torch.Tensor, avg_factor: int | None = None) -> torch.Tensor:
        return self.inner(logits, F.one_hot(targets, 3).float())


CONFIGS = [
    {"type": "SeesawLoss", "loss_weight": 2.0},
    {"type": "SeesawLoss", "p": 0.5, "reduction": "none"},
    {"type": "MeanOfAll"},
    {"type": "OfTorch", "reduction": "mean"},
    {"type": "OfTorch", "reduction": "none"},
]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_foreign_loss__has_the_mean_of_mmclss_head(config: dict[str, Any]) -> None:
    ours = loss_of(**config)
    known = {"num_classes": 3} if config["type"] == "SeesawLoss" else {}
    head = ClsHead(loss={**config, **known})
    for seed in range(3):
        # SeesawLoss counts what it has seen.
        losses = ours(scores(seed).half(), TARGETS)
        expected = head.loss(scores(seed).half().float(), TARGETS)["loss"].mean()
        assert losses.shape == (4,)
        torch.testing.assert_close(losses.mean(), expected)


def test_foreign_loss__what_it_has_counted_is_its_state() -> None:
    first, second, third = (loss_of(type="SeesawLoss") for _ in range(3))
    first(scores(), torch.tensor([1, 1, 2, 1]))
    assert first.state_dict()["loss.cum_samples"].tolist() == [0, 3, 1]
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(scores(1), TARGETS), second(scores(1), TARGETS))
    assert not torch.equal(first(scores(1), TARGETS), third(scores(1), TARGETS))


def test_with_class_count__only_where_the_loss_wants_it() -> None:
    assert with_class_count({"type": "SeesawLoss", "num_classes": 1000}, 3) == {"type": "SeesawLoss", "num_classes": 3}
    assert with_class_count({"type": "MeanOfAll"}, 3) == {"type": "MeanOfAll"}
    assert with_class_count({"type": "nobody's"}, 3) == {"type": "nobody's"}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"type": "SeesawLos"}, "SeesawLos is not in the models registry"),
        ({"type": "SeesawLoss", "use_sigmoid": True}, "`use_sigmoid` is not supported"),
        ({"type": "SeesawLoss", "gamma": 2}, "unexpected keyword argument 'gamma'"),
        ({"type": "SeesawLoss", "reduction": "sum"}, "is 'sum', but 'mean' or 'none' is expected"),
    ],
    ids=str,
)
def test_foreign_loss__what_cannot_be_built(config: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        loss_of(**config)


def test_foreign_loss__says_what_targets_it_cannot_take() -> None:
    with pytest.raises(TrainingError, match=r"SeesawLoss\) of targets \(4, 3\): AssertionError.*Mixed samples"):
        loss_of(type="SeesawLoss")(scores(), torch.eye(4, 3))
