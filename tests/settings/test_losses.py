import pytest

from modelscope_beit.settings.losses import (
    AsymmetricLoss,
    CrossEntropyLoss,
    FocalLoss,
    ForeignLoss,
    LabelSmoothLoss,
    read_loss,
)
from modelscope_beit.settings.problems import Problems, Section


def read(**mapping):
    problems = Problems()
    return read_loss(Section(mapping, "model.mm_model.head.loss", problems)), problems


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [
        ({"type": "CrossEntropyLoss"}, CrossEntropyLoss()),
        ({"type": "CrossEntropyLoss", "loss_weight": 2, "use_soft": True}, CrossEntropyLoss(loss_weight=2.0)),
        (
            {"type": "CrossEntropyLoss", "use_sigmoid": True, "pos_weight": [1, 2.5], "reduction": "none"},
            CrossEntropyLoss(use_sigmoid=True, pos_weight=(1.0, 2.5), reduction="none"),
        ),
        ({"type": "CrossEntropyLoss", "class_weight": (0, 1, 0.5)}, CrossEntropyLoss(class_weight=(0.0, 1.0, 0.5))),
        ({"type": "CrossEntropyLoss", "class_weight": "balanced"}, CrossEntropyLoss(class_weight="balanced")),
        (
            # As the hub's BEiT v2 folders have it; the head, not this, says how many classes there are.
            {"type": "LabelSmoothLoss", "label_smooth_val": 0.1, "num_classes": 1000, "mode": "original"},
            LabelSmoothLoss(label_smooth_val=0.1),
        ),
        (
            {"type": "LabelSmoothLoss", "label_smooth_val": 0, "mode": "multi_label", "num_classes": None},
            LabelSmoothLoss(label_smooth_val=0.0, mode="multi_label"),
        ),
        ({"type": "FocalLoss", "alpha": 1}, FocalLoss(alpha=1.0)),
        ({"type": "AsymmetricLoss", "clip": None, "gamma_pos": 1}, AsymmetricLoss(clip=0.0, gamma_pos=1.0)),
    ],
)
def test_read_loss__mm_words(mapping, expected):
    loss, problems = read(**mapping)
    assert loss == expected
    assert problems == Problems()


@pytest.mark.openmmlab
@pytest.mark.parametrize("kind", [CrossEntropyLoss, FocalLoss, AsymmetricLoss])
def test_defaults__are_those_of_mmcls(kind):
    losses = pytest.importorskip("mmcls.models.losses", reason="the oracle comes with the extra openmmlab")
    theirs = getattr(losses, kind.__name__)()
    ours, _ = read(type=kind.__name__)
    assert {name: getattr(theirs, name) for name in vars(ours)} == vars(ours)


@pytest.mark.parametrize(
    ("mapping", "culprit", "hint"),
    [
        ({"type": "CrossEntropyLos"}, "loss.type is 'CrossEntropyLos'", "did you mean CrossEntropyLoss?"),
        ({}, "loss.type is missing", "CrossEntropyLoss, LabelSmoothLoss"),
        ({"type": "LabelSmoothLoss"}, "label_smooth_val is missing", "from 0 below 1"),
        ({"type": "LabelSmoothLoss", "label_smooth_val": 1.0}, "label_smooth_val is 1.0", "from 0 below 1"),
        ({"type": "LabelSmoothLoss", "label_smooth_val": 0.1, "mode": "timm"}, "mode is 'timm'", "classy_vision"),
        ({"type": "CrossEntropyLoss", "use_soft": True, "use_sigmoid": True}, "use_soft is True", "remove one"),
        ({"type": "CrossEntropyLoss", "pos_weight": [1]}, "pos_weight is [1]", "use_sigmoid: true"),
        ({"type": "CrossEntropyLoss", "class_weight": "balance"}, "class_weight is 'balance'", "'balanced'"),
        ({"type": "CrossEntropyLoss", "class_weight": [1, "2"]}, "class_weight is [1, '2']", "list of numbers"),
        ({"type": "CrossEntropyLoss", "class_weight": [1, -2]}, "class_weight is [1, -2]", "from 0 up"),
        ({"type": "CrossEntropyLoss", "reduction": "sum"}, "reduction is 'sum'", "mean or none"),
        ({"type": "FocalLoss", "alpha": 1.5}, "alpha is 1.5", "from 0 to 1"),
        ({"type": "FocalLoss", "gamma": float("nan")}, "gamma is nan", "from 0 up"),
        ({"type": "AsymmetricLoss", "gamma_neg": True}, "gamma_neg is True", "from 0 up"),
    ],
)
def test_read_loss__says_what_cannot_be_used(mapping, culprit, hint):
    _, problems = read(**mapping)
    (sentence,) = problems.wrong
    assert f"model.mm_model.head.{culprit}" in sentence or culprit in sentence
    assert hint in sentence


def test_read_loss__mistakes_are_told_at_once():
    _, problems = read(type="FocalLoss", alpha=2, gamma=-1, reduction="sum", gama=1)
    assert len(problems.wrong) == 3
    assert problems.unknown == {"model.mm_model.head.loss.gama": "did you mean gamma?"}


@pytest.mark.parametrize("kind", ["SeesawLoss", "MyFocusLoss"])
def test_read_loss__of_mmcls_and_its_users_is_theirs_to_judge(kind):
    loss, problems = read(type=kind, num_classes=5, p=(0.8,))
    assert loss == ForeignLoss({"type": kind, "num_classes": 5, "p": [0.8]})
    assert problems == Problems()
