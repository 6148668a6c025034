import numpy as np
import pytest
from PIL import Image

from modelscope_beit.errors import ExportError, SettingsError
from modelscope_beit.export.preprocessing import steps_as_data, steps_of_data, why_not_scripted
from modelscope_beit.images.evaluation_transform import EvaluationTransform
from modelscope_beit.settings.foreign_steps import ForeignSteps
from modelscope_beit.settings.preprocessing import CenterCrop, ImageToTensor, Normalize, Pad, Resize, Step

NORMALIZE = Normalize((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
BGR = Normalize((1.0, 2.0, 3.0), (4.0, 5.0, 6.0), to_rgb=False)

RECIPES: dict[str, list[Step]] = {
    "short side, crop": [Resize((37, -1), interpolation="bicubic", backend="pillow"), CenterCrop(32), NORMALIZE],
    "long side, torchvision": [Resize((40, -1), "bilinear", "long", "torchvision"), CenterCrop((30, 20)), NORMALIZE],
    "width, one number": [Resize((50, -1), adaptive_side="width"), Resize(31, backend="cv2"), BGR],
    "rounding down": [Resize((41, 44)), CenterCrop(32, round_down=True), NORMALIZE],
    "share": [CenterCrop(24, efficientnet_style=True, interpolation="bicubic", backend="pillow"), NORMALIZE],
    "pad before": [Resize((20, 30)), Pad(pad_to_square=True, pad_val=(7, 8, 9)), NORMALIZE],
    "pad after": [Resize((20, 30)), NORMALIZE, Pad((40, 40), pad_val=(0.1, 0.2, 0.3)), CenterCrop((36, 38))],
    "pad with one number": [Resize((20, 30)), Pad((32, 32), pad_val=5), Pad((40, 33), padding_mode="edge"), BGR],
}


@pytest.mark.parametrize("name", RECIPES)
def test_steps_of_data__make_the_pixels_of_the_steps(name: str) -> None:
    steps = [*RECIPES[name], ImageToTensor()]
    read = steps_of_data(steps_as_data(tuple(steps)), "somewhere")
    random = np.random.default_rng(0)
    for width, height in ((64, 48), (35, 71), (20, 20)):
        picture = Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8))
        expected = EvaluationTransform(steps)(picture).numpy()
        np.testing.assert_array_equal(EvaluationTransform(read)(picture).numpy(), expected)


def test_steps_as_data__in_words() -> None:
    steps = [*RECIPES["short side, crop"], ImageToTensor()]
    assert steps_as_data(tuple(steps)) == [
        {"step": "resize", "library": "pillow", "filter": "bicubic", "side": "short", "pixels": 37},
        {"step": "center_crop", "to": [32, 32], "rounding": "half_even"},
        {"step": "normalize", "mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375], "channels": "RGB"},
    ]


def test_steps_as_data__refuses_steps_of_mmcls() -> None:
    steps = ForeignSteps(({"type": "Albu"},), ("preprocessor.val[0] is of type 'Albu', which is not native",))
    with pytest.raises(SettingsError, match="mmcls makes it: .*'Albu'"):
        steps_as_data(steps)


@pytest.mark.parametrize(
    "data",
    [
        [{"step": "sharpen"}],
        [{"step": "resize", "library": "pillow", "filter": "bicubic"}],
        [{"step": "center_crop", "to": [1], "rounding": "down"}],
        [{"step": "normalize", "mean": [0, 0, 0], "std": [0, 1, 1], "channels": "RGB"}],
        [],
        "resize",
    ],
)
def test_steps_of_data__refuses_what_it_has_not_written(data) -> None:
    with pytest.raises(ExportError, match=r"preprocessing\.json must hold steps"):
        steps_of_data(data, "preprocessing.json")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("short side, crop", None),
        ("long side, torchvision", "pixels of torchvision"),
        ("share", "the step crop_share"),
        ("pad before", "the step pad and resizing with the pixels of cv2"),
    ],
)
def test_why_not_scripted__names_what_the_script_does_not_know(name: str, reason: str | None) -> None:
    found = why_not_scripted(steps_as_data((*RECIPES[name], ImageToTensor())))
    assert found is None if reason is None else reason in str(found)


def test_why_not_scripted__crop_after_normalize() -> None:
    resize = Resize((20, 30), backend="pillow")
    data = steps_as_data((resize, NORMALIZE, CenterCrop(16), ImageToTensor()))
    assert why_not_scripted(data) == "a step after normalize"
