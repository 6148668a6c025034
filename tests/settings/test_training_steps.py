import copy

import pytest

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.augmentation_steps import RandomErasing, RandomFlip, RandomResizedCrop
from modelscope_beit.settings.policies import RandAugment
from modelscope_beit.settings.preprocessing import Collect, ImageToTensor, LoadImageFromFile, Normalize, ToTensor
from modelscope_beit.settings.problems import Problems
from modelscope_beit.settings.training_steps import check_training_order, read_training_steps

WHERE = "preprocessor.train"
NORMALIZE = {"type": "Normalize", "mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375], "to_rgb": True}
END = [
    {"type": "ImageToTensor", "keys": ["img"]},
    {"type": "ToTensor", "keys": ["gt_label"]},
    {"type": "Collect", "keys": ["img", "gt_label"], "meta_keys": ["filename"]},
]
CROP = {"type": "RandomResizedCrop", "size": 224, "backend": "pillow", "interpolation": "bicubic"}
FLIP = {"type": "RandomFlip", "flip_prob": 0.5, "direction": "horizontal"}
# mmcls's Swin recipe, which the hub's folders most likely follow, as JSON has it.
SWIN = [
    {"type": "LoadImageFromFile", "file_client_args": {"backend": "disk"}},
    CROP,
    FLIP,
    {
        "type": "RandAugment",
        "num_policies": 2,
        "total_level": 10,
        "magnitude_level": 9,
        "magnitude_std": 0.5,
        "hparams": {"pad_val": [104, 116, 124], "interpolation": "bicubic"},
    },
    {
        "type": "RandomErasing",
        "erase_prob": 0.25,
        "mode": "rand",
        "min_area_ratio": 0.02,
        "max_area_ratio": 1 / 3,
        "fill_color": [103.53, 116.28, 123.675],
        "fill_std": [57.375, 57.12, 58.395],
    },
    NORMALIZE,
    *END,
]


def problems_of(steps: object) -> Problems:
    problems = Problems()
    read_training_steps(steps, WHERE, problems)
    return problems


def test_read_training_steps__swin_recipe():
    problems = Problems()
    before = copy.deepcopy(SWIN)
    steps = read_training_steps(SWIN, WHERE, problems)
    assert problems == Problems()
    assert before == SWIN
    kinds = [LoadImageFromFile, RandomResizedCrop, RandomFlip, RandAugment, RandomErasing, Normalize]
    assert [type(step) for step in steps] == [*kinds, ImageToTensor, ToTensor, Collect]
    assert steps[1] == RandomResizedCrop(224, backend="pillow", interpolation="bicubic")
    assert steps[4].fill_std == (57.375, 57.12, 58.395)
    check_training_order(steps)


@pytest.mark.parametrize("steps", [None, "RandomFlip", {"type": "RandomFlip"}, 7])
def test_read_training_steps__no_list(steps):
    (sentence,) = problems_of(steps).wrong
    assert sentence.startswith(f"{WHERE} is {steps!r}: a list of steps such as")


def test_read_training_steps__every_problem_with_its_place():
    wrong = "\n".join(
        problems_of(
            [
                {"type": "RandomResizedCrop", "size": -1},
                {"type": "RandomFlipp"},
                "RandomFlip",
                {"type": "RandomErasing", "fill_collor": 3},
                {"type": "RandAugment", "policies": [{"type": "Sheer"}]},
                NORMALIZE,
                *END,
            ]
        ).wrong
    )
    for part in (
        f"{WHERE}[0] RandomResizedCrop: size is -1",
        f"{WHERE}[1] is of type 'RandomFlipp', which is no step of training; did you mean RandomFlip?",
        f"{WHERE}[2] is 'RandomFlip', but a mapping",
        f"{WHERE}[3] RandomErasing: nobody knows the key 'fill_collor'; did you mean fill_color?",
        f"{WHERE}[4] RandAugment: policies[0] is of type 'Sheer'",
    ):
        assert part in wrong


def test_read_training_steps__what_only_mmcls_has_is_unknown_here():
    """Whoever reads the whole list asks settings/foreign_steps.py first, which leaves it to mmcls."""
    problems = problems_of([CROP, {"type": "Albu", "transforms": []}, NORMALIZE, *END])
    assert problems.foreign == []
    assert problems.wrong and f"{WHERE}[1]" in problems.wrong[0] and "Albu" in problems.wrong[0]


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([CROP, FLIP, *END], "must have exactly one Normalize, but has 0"),
        ([CROP, NORMALIZE], "must have {'type': 'ImageToTensor', 'keys': ['img']}"),
        ([NORMALIZE, CROP, *END], f"{WHERE}[1] RandomResizedCrop: must come before Normalize"),
        ([CROP, NORMALIZE, END[0], FLIP], f"{WHERE}[3] RandomFlip: must come before ImageToTensor"),
        ([CROP, NORMALIZE, SWIN[3], *END], f"{WHERE}[2] RandAugment: must come before Normalize"),
        ([CROP, SWIN[0], NORMALIZE, *END], f"{WHERE}[1] LoadImageFromFile: reading the file can only be the first"),
        ([FLIP, NORMALIZE, *END], "must give all pictures one size; add e.g."),
        ([{"type": "Resize", "size": [256, -1]}, NORMALIZE, *END], "must give all pictures one size"),
        (
            [
                CROP,
                {"type": "Lighting", "eigval": [1, 2, 3], "eigvec": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]},
                {"type": "Invert"},
                NORMALIZE,
                *END,
            ],
            f"{WHERE}[2] Invert: must come before Lighting",
        ),
    ],
)
def test_read_training_steps__order(steps, expected):
    (sentence,) = problems_of(steps).wrong
    assert expected in sentence


def test_read_training_steps__flip_and_erasing_may_follow_normalize():
    assert problems_of([CROP, NORMALIZE, FLIP, {"type": "RandomErasing"}, *END]) == Problems()


@pytest.mark.parametrize("step", [{"type": "Resize", "size": 32}, {"type": "CenterCrop", "crop_size": 32}], ids=str)
def test_read_training_steps__evaluation_steps_are_steps_too(step):
    assert problems_of([step, NORMALIZE, *END]) == Problems()


def test_check_training_order__raises():
    with pytest.raises(SettingsError, match="exactly one Normalize"):
        check_training_order([RandomFlip(), ImageToTensor()])
