"""Networks of mmcls with our face; mmcls's own ImageClassifier is the oracle."""

import copy
import json
from typing import Any

import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("mmcls.models", reason="the networks come with the extra openmmlab")

from mmcls.models import BACKBONES

import mmcls_models
from mmcls_models import CLASSES, NETWORKS, with_head
from modelscope_beit.errors import ImageError, SettingsError, TrainingError
from modelscope_beit.openmmlab.classifier import MmclsClassifier, build_mmcls_classifier
from modelscope_beit.settings.foreign_models import MmclsModelSettings

pytestmark = pytest.mark.openmmlab
NUM_CLASSES = len(CLASSES)


@BACKBONES.register_module()
class EndsInClasses(torch.nn.Module):
    """What VGG, AlexNet and LeNet5 are: a backbone that gives logits."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.first = torch.nn.Linear(3, 4)
        self.classifier = torch.nn.Linear(4, num_classes)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.classifier(self.first(images.mean(dim=(2, 3))).relu()),)


ENDS_IN_CLASSES = {
    "type": "ImageClassifier",
    "backbone": {"type": "EndsInClasses", "num_classes": NUM_CLASSES},
    "head": {"type": "ClsHead", "topk": [1, 2]},
}


def ours_beside(network: dict[str, Any]) -> tuple[MmclsClassifier, Any]:
    """Returns our classifier and mmcls's own, of equal weights, in eval mode."""
    theirs = mmcls_models.build(network)
    # Lists for tuples, as in a configuration.json.
    ours = build_mmcls_classifier(MmclsModelSettings(json.loads(json.dumps(network)), NUM_CLASSES, ()))
    ours.load_state_dict(theirs.state_dict(), strict=False)
    return ours.eval(), theirs


def pictures(number: int = 4) -> torch.Tensor:
    return torch.randn(number, 3, mmcls_models.SIDE, mmcls_models.SIDE, generator=torch.Generator().manual_seed(3))


def probabilities_of(theirs: Any, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return torch.stack([torch.from_numpy(row) for row in theirs.simple_test(images)])


@pytest.mark.parametrize("name", [*NETWORKS, "ClsHead"])
def test_logits__are_those_of_mmcls(name: str) -> None:
    ours, theirs = ours_beside(NETWORKS.get(name, ENDS_IN_CLASSES))
    images = pictures()
    with torch.no_grad():
        logits = ours(images)
    expected = probabilities_of(theirs, images)
    assert logits.shape == (4, NUM_CLASSES)
    assert ours.is_multi_label == (name in ("MultiLabelLinearClsHead", "CSRAClsHead"))
    if name == "CSRAClsHead":
        # mmcls leaves the sigmoid out.
        torch.testing.assert_close(logits, expected, rtol=0, atol=0)
    else:
        scores = logits.sigmoid() if ours.is_multi_label else logits.softmax(dim=1)
        torch.testing.assert_close(scores, expected, rtol=0, atol=1e-6)
    if hasattr(theirs.head, "fc"):
        keyword = "sigmoid" if ours.is_multi_label else "softmax"
        with torch.no_grad():
            exact = theirs.simple_test(images, **{keyword: False}, post_process=False)
        assert torch.equal(logits, exact)


@pytest.mark.filterwarnings("ignore")
def test_logits__of_the_hosts_nextvit() -> None:
    nextvit = mmcls_models.mm_model({"type": "NextViT", "arch": "x_small", "path_dropout": 0.1}, 1024)
    ours = build_mmcls_classifier(MmclsModelSettings(nextvit, NUM_CLASSES, ())).eval()
    # Registered by now.
    theirs = mmcls_models.build(nextvit)
    ours.load_state_dict(theirs.state_dict())
    with torch.no_grad():
        assert torch.equal(ours(pictures(2)), theirs.simple_test(pictures(2), softmax=False, post_process=False))


SOFT = torch.tensor([[0.7, 0.3, 0.0], [0.0, 1.0, 0.0], [0.2, 0.2, 0.6], [1.0, 0.0, 0.0]])
SEVERAL = torch.tensor([[1, 1, 0], [0, 0, 0], [0, 1, 1], [1, -1, 0]])
ONE = torch.tensor([0, 2, 1, 1])
LOSSES: list[tuple[dict[str, Any], torch.Tensor]] = [
    ({"type": "CrossEntropyLoss", "loss_weight": 2.0, "class_weight": [1.0, 2.0, 0.5]}, ONE),
    ({"type": "CrossEntropyLoss", "reduction": "none"}, ONE),
    ({"type": "CrossEntropyLoss", "use_soft": True}, SOFT),
    ({"type": "CrossEntropyLoss", "use_sigmoid": True}, SOFT),
    ({"type": "CrossEntropyLoss", "use_sigmoid": True, "reduction": "none"}, SOFT),
    # mmcls's inner loss knows nothing of this "none".
    ({"type": "LabelSmoothLoss", "label_smooth_val": 0.1, "num_classes": 3, "reduction": "none"}, ONE),
    ({"type": "LabelSmoothLoss", "label_smooth_val": 0.1, "num_classes": 3, "mode": "multi_label"}, SOFT),
    ({"type": "FocalLoss"}, ONE),
    ({"type": "FocalLoss", "reduction": "none"}, ONE),
    ({"type": "AsymmetricLoss"}, SOFT),
    ({"type": "SeesawLoss", "num_classes": 3}, ONE),
]


def losses_beside(network: dict[str, Any], targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns our losses of samples, and what mmcls's train_step would make the gradient of; both in training mode."""
    ours, theirs = ours_beside(network)
    ours.train(), theirs.train()
    torch.manual_seed(5)
    losses = ours(pictures(), targets)
    torch.manual_seed(5)
    expected, _ = theirs._parse_losses(theirs.forward_train(pictures(), targets))
    return losses, expected


@pytest.mark.parametrize(("loss", "targets"), LOSSES, ids=[str(loss) for loss, _ in LOSSES])
def test_losses__have_the_mean_of_mmcls(loss: dict[str, Any], targets: torch.Tensor) -> None:
    losses, expected = losses_beside(with_head({"loss": loss, "cal_acc": targets is ONE, "topk": [1, 2]}), targets)
    assert losses.shape == (4,)
    torch.testing.assert_close(losses.mean(), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "ConformerHead"])
def test_losses__of_every_head(name: str) -> None:
    targets = SEVERAL if name in ("MultiLabelLinearClsHead", "CSRAClsHead") else ONE
    losses, expected = losses_beside(NETWORKS[name], targets)
    torch.testing.assert_close(losses.mean(), expected, rtol=1e-6, atol=1e-7)


def test_losses__of_conformers_two_branches() -> None:
    network = copy.deepcopy(NETWORKS["ConformerHead"])
    network["head"]["loss"] = {"type": "LabelSmoothLoss", "label_smooth_val": 0.1, "num_classes": 3}
    losses, expected = losses_beside(network, SOFT)
    torch.testing.assert_close(losses.mean(), expected, rtol=1e-6, atol=1e-7)


def test_losses__several_parts_are_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = ours_beside(with_head({}))
    images = pictures()

    def in_parts(features: Any, targets: torch.Tensor) -> dict[str, Any]:
        scores = ours.head.fc(features[-1])
        losses = F.cross_entropy(scores, targets, reduction="none")
        penalty = scores.square()
        parts = {"loss_cls": losses, "loss_list": [losses, 2 * losses], "penalty": losses, "loss_mean": penalty.mean()}
        return parts | {"accuracy": {"top-1": torch.tensor([50.0])}}

    monkeypatch.setattr(ours.head, "forward_train", in_parts)
    monkeypatch.setattr(theirs.head, "forward_train", in_parts)
    expected, _ = theirs._parse_losses(theirs.forward_train(images, ONE))
    torch.testing.assert_close(ours(images, ONE).mean(), expected, rtol=1e-6, atol=0)


def test_losses__one_label_a_picture_suits_a_head_for_several() -> None:
    ours, _ = ours_beside(NETWORKS["MultiLabelLinearClsHead"])
    images = pictures()
    expected = F.binary_cross_entropy_with_logits(ours(images), F.one_hot(ONE, 3).float(), reduction="none").sum(dim=1)
    torch.testing.assert_close(ours(images, ONE), expected)


WIDTHS = {"StackedLinearClsHead": 4, "VisionTransformerClsHead": 8, "ConformerHead": 16 + 12, "CSRAClsHead": 8}


@pytest.mark.parametrize("name", ["Swin", "DeiTClsHead", *WIDTHS])
def test_pooled__is_what_the_last_layer_gets(name: str) -> None:
    ours, theirs = ours_beside(NETWORKS[name])
    images = pictures()
    with torch.no_grad():
        pooled, features = ours.pooled(images), theirs.extract_feat(images, stage="pre_logits")
    if name in WIDTHS:
        assert pooled.shape == (4, WIDTHS[name])
    if name == "CSRAClsHead":
        features = features.mean(dim=(2, 3))
    elif name == "DeiTClsHead":
        features = (features[0] + features[1]) / 2
    elif name == "ConformerHead":
        features = torch.cat(features, dim=1)
    assert torch.equal(pooled, features)


def test_pooled__is_told_where_there_is_none() -> None:
    ours, _ = ours_beside(ENDS_IN_CLASSES)
    with pytest.raises(SettingsError, match="ClsHead has no layer"):
        ours.pooled(pictures())
    assert ours.head_prefix == "backbone.classifier."


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backbone": {"type": "ResNet", "depth": 19}}, r"KeyError.*19.*\(reason\)"),
        ({"backbone": {"type": "ResNetty", "depth": 18}}, "ResNetty is not in the models registry"),
        ({"neck": {"type": "GlobalAveragePooling", "dim": 4}}, "AssertionError.*dim only support"),
        ({"head": {"type": "LinearClsHead", "in_channels": 8, "num_classes": 3, "size": 1}}, "TypeError.*'size'"),
        (
            {"head": with_head({"loss": {"type": "CrossEntropyLoss", "reduction": "sum"}})["head"]},
            "reduction is 'sum', but 'mean' or 'none'",
        ),
    ],
    ids=lambda value: None if isinstance(value, str) else next(iter(value)),
)
def test_build__passes_on_what_mmcls_says(change: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        build_mmcls_classifier(MmclsModelSettings(with_head({}) | change, NUM_CLASSES, ("(reason)",)))


def test_build__leaves_weights_from_elsewhere_alone(caplog: pytest.LogCaptureFixture) -> None:
    network = with_head({}) | {"pretrained": "torchvision://resnet18"}
    network["backbone"] |= {"init_cfg": {"type": "Pretrained", "checkpoint": "https://example.invalid/weights.pth"}}
    torch.manual_seed(0)
    classifier = build_mmcls_classifier(MmclsModelSettings(network, NUM_CLASSES, ()))
    assert 0 < float(classifier.head.fc.weight.std()) < 0.02, "mmcls draws the head with deviation 0.01"
    assert not caplog.records


def test_forward__says_what_mmcls_thinks_of_pictures_and_targets() -> None:
    swin, _ = ours_beside(NETWORKS["VisionTransformerClsHead"])
    with pytest.raises(ImageError, match=r"cannot take pictures \(1, 64, 64\): RuntimeError"):
        swin(torch.zeros(2, 1, 64, 64))
    distilled, _ = ours_beside(with_head({"type": "EfficientFormerClsHead", "distillation": True}))
    with pytest.raises(TrainingError, match="EfficientFormerClsHead.*doesn't support to train the distilled version"):
        distilled(pictures(), ONE)
    seesaw, _ = ours_beside(with_head({"loss": {"type": "SeesawLoss", "num_classes": 3}}))
    with pytest.raises(TrainingError, match=r"targets \(4, 3\).*Mixed samples have shares"):
        seesaw(pictures(), SOFT)
