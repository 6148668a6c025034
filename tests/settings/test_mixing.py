import inspect

import pytest

from modelscope_beit.settings.mixing import (
    BatchCutMix,
    BatchMixup,
    BatchResizeMix,
    OneOfMixings,
    TimmMixup,
    read_mixing,
)
from modelscope_beit.settings.problems import Problems

PATH = "model.mm_model.train_cfg.augments"


def read(augments: object):
    problems = Problems()
    settings = read_mixing(augments, PATH, problems)
    assert problems == Problems()
    return settings


def wrong(augments: object) -> str:
    problems = Problems()
    read_mixing(augments, PATH, problems)
    return "\n".join(problems.wrong)


def test_read_mixing__mmcls_vit_recipe():
    # As the hub's ViT folders have it; num_classes is replaced by the scripts on their cards.
    augments = [
        {"type": "BatchMixup", "alpha": 0.8, "num_classes": 1000, "prob": 0.5},
        {"type": "BatchCutMix", "alpha": 1.0, "num_classes": 1000, "prob": 0.5},
    ]
    assert read(augments) == OneOfMixings((BatchMixup(0.8, 0.5), BatchCutMix(1.0, 0.5)))


def test_read_mixing__one_mapping_without_class_count():
    assert read({"type": "BatchMixup", "alpha": 0.2}) == OneOfMixings((BatchMixup(0.2, 1.0),))


def test_read_mixing__every_key():
    augments = [
        {"type": "BatchCutMix", "alpha": 1, "prob": 0.25, "cutmix_minmax": [0.2, 0.8], "correct_lam": False},
        {"type": "BatchResizeMix", "alpha": 1.0, "prob": 0.25, "lam_min": 0.2, "lam_max": 0.7, "interpolation": "area"},
        {"type": "Identity", "num_classes": 10, "prob": 0.5},
    ]
    assert read(augments) == OneOfMixings(
        (
            BatchCutMix(1.0, 0.25, (0.2, 0.8), correct_lam=False),
            BatchResizeMix(1.0, 0.25, lam_min=0.2, lam_max=0.7, interpolation="area"),
        )
    )


@pytest.mark.parametrize("augments", [None, [], {"type": "Identity", "num_classes": 10}])
def test_read_mixing__nothing_to_mix(augments):
    assert read(augments) is None


def test_read_mixing__timm():
    augments = {"type": "TimmMixup", "mixup_alpha": 0.8, "cutmix_alpha": 1.0, "switch_prob": 0.4, "mode": "elem"}
    assert read(augments) == TimmMixup(0.8, 1.0, switch_prob=0.4, mode="elem")


def test_read_mixing__timm_defaults_are_timms():
    timm = pytest.importorskip("timm.data.mixup", reason="the oracle comes with the extra timm")
    signature = inspect.signature(timm.Mixup).parameters
    ours = vars(read({"type": "TimmMixup"}))
    assert ours == {name: signature[name].default for name in ours}


@pytest.mark.openmmlab
def test_read_mixing__mmcls_defaults_are_mmclss():
    augment = pytest.importorskip("mmcls.models.utils.augment", reason="the oracle comes with the extra openmmlab")
    for kind in (BatchCutMix, BatchResizeMix):
        theirs = vars(getattr(augment, f"{kind.__name__}Layer")(alpha=1.0, num_classes=3))
        assert vars(kind(1.0)) == {name: theirs[name] for name in vars(kind(1.0))}


@pytest.mark.parametrize(
    ("augments", "expected"),
    [
        ("BatchMixup", f"{PATH} is 'BatchMixup': a mapping with a 'type', or a list of them, is expected"),
        ({"type": "BatchMixUp", "alpha": 1.0}, "no way of mixing that is known; did you mean BatchMixup?"),
        ({"type": "BatchMixup"}, f"{PATH}.alpha is missing: a number above 0 is expected"),
        ([{"type": "BatchMixup", "alpha": 0}], f"{PATH}[0].alpha is 0: a number above 0 is expected"),
        ({"type": "BatchMixup", "alpha": 1.0, "prob": 1.5}, f"{PATH}.prob is 1.5: a number from 0 to 1 is expected"),
        ({"type": "BatchMixup", "alpha": 1.0, "propability": 1}, "nobody knows this key"),
        ({"type": "BatchCutMix", "alpha": 1.0, "cutmix_minmax": [0.8, 0.2]}, "[smallest, largest], from 0 to 1"),
        ({"type": "BatchResizeMix", "alpha": 1.0, "lam_min": 0.9}, "at most lam_max, 0.8, is expected"),
        ({"type": "BatchResizeMix", "alpha": 1.0, "interpolation": "cubic"}, "one of nearest, bilinear"),
        ({"type": "TimmMixup", "mode": "half"}, "mode is 'half': one of batch, pair, elem is expected"),
        ({"type": "TimmMixup", "mixup_alpha": 0}, "0 is possible only with cutmix_alpha above 0"),
        (
            [{"type": "BatchMixup", "alpha": 1.0}, {"type": "BatchCutMix", "alpha": 1.0}],
            "the probabilities (prob) sum to 2, but at most 1 is expected",
        ),
        ([{"type": "TimmMixup"}, {"type": "BatchCutMix", "alpha": 1.0}], "can only stand alone"),
    ],
    ids=str,
)
def test_read_mixing__what_is_wrong(augments, expected):
    assert expected in wrong(augments)


def test_read_mixing__all_problems_at_once():
    found = wrong([{"type": "BatchMixup", "alpha": -1, "prob": 2}, {"type": "Mix"}])
    assert all(part in found for part in ("[0].alpha", "[0].prob", "[1].type"))
