"""Processors of transformers, both kinds, over pictures of many shapes and modes, against our steps, both ways.

Resized pixels have to be equal, normalised ones within ROUNDING. Older keys are those of files on the hub.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from modelscope_beit.checkpoints.image_processors import PROCESSOR_FILE, read_processor, write_processor
from modelscope_beit.checkpoints.input_recipes import to_shares
from modelscope_beit.errors import CheckpointError
from modelscope_beit.images.evaluation_transform import EvaluationTransform
from modelscope_beit.images.reading import read_image
from modelscope_beit.settings.preprocessing import (
    CenterCrop,
    Collect,
    ImageToTensor,
    Normalize,
    Pad,
    Resize,
    Step,
    evaluation_steps,
)

ROUNDING = 1e-6
HALF = [0.5, 0.5, 0.5]
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
BEIT = {"image_processor_type": "BeitImageProcessor", "size": {"height": 64, "width": 64}}
SHORT = {"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 73}, "crop_size": 64}

FILES: dict[str, dict[str, Any]] = {
    "beit": BEIT,
    "beit, fast, of 4.57": BEIT
    | {"image_processor_type": "BeitImageProcessorFast", "default_to_square": True, "data_format": "channels_first"}
    | dict.fromkeys(("crop_size", "device", "do_convert_rgb", "do_pad", "input_data_format", "pad_size")),
    "beit of 4.20": {
        "feature_extractor_type": "BeitFeatureExtractor",
        "do_resize": True,
        "size": 64,
        "resample": 2,
        "do_center_crop": False,
        "crop_size": 224,
        "do_normalize": True,
        "image_mean": HALF,
        "image_std": HALF,
        "reduce_labels": False,
    },
    "beit, not square, cut": BEIT
    | {"size": {"height": 75, "width": 107}, "do_center_crop": True, "crop_size": {"height": 64, "width": 96}},
    "vit": {"image_processor_type": "ViTImageProcessor", "size": {"height": 48, "width": 64}},
    "vit, silent about the size": {"image_processor_type": "ViTImageProcessor", "resample": 3},
    "deit of 4.20": {"feature_extractor_type": "DeiTFeatureExtractor", "size": 71, "resample": 3, "crop_size": 64},
    "deit, silent": {"image_processor_type": "DeiTImageProcessor"},
    "short side, cut": SHORT | {"image_mean": MEAN, "image_std": STD},
    "short side, of CLIP": SHORT | {"size": 64},
    "nearest": BEIT | {"resample": 0},
    "lanczos": BEIT | {"resample": 1},
    "not normalised": BEIT | {"do_normalize": False},
    "other scale": BEIT | {"rescale_factor": 1 / 127.5, "image_mean": [1.0, 1.0, 1.0], "image_std": [1.0, 1.0, 1.0]},
    "not scaled": BEIT | {"do_rescale": False, "image_mean": [123.3, 117.7, 104.1], "image_std": [58.0, 57.0, 57.5]},
}


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    """Photographs of sizes whose long sides leave every remainder when cut, larger and smaller than the input."""
    from helpers import photographs

    china, flower = photographs()
    sizes = [(64, 64), (65, 64), (67, 300), (131, 97), (97, 132), (250, 99), (640, 427), (20, 31), (427, 611)]
    return [picture.crop((5, 3, 5 + width, 3 + height)) for picture in (china, flower) for width, height in sizes]


@pytest.fixture
def their_processor(tmp_path: Path) -> Any:
    """A function that gives AutoImageProcessor's answer to a preprocessor_config.json."""
    transformers = pytest.importorskip("transformers", minversion="5.0", reason="the oracle is transformers 5")
    transformers.logging.set_verbosity_error()

    def make(config: dict[str, Any], **options: Any) -> Any:
        (tmp_path / PROCESSOR_FILE).write_text(json.dumps(config))
        return transformers.AutoImageProcessor.from_pretrained(tmp_path, **options)

    return make


def steps_of(config: dict[str, Any]) -> tuple[Step, ...]:
    return read_processor(config, "Beit", Path(PROCESSOR_FILE)).own_steps


def with_backend(steps: tuple[Step, ...], backend: str) -> tuple[Step, ...]:
    return tuple(replace(step, backend=backend) if isinstance(step, Resize) else step for step in steps)


def pixels_only(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """The same steps without normalisation: bytes come out, as numbers."""
    bytes_out = Normalize((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    return tuple(bytes_out if isinstance(step, Normalize) else step for step in steps)


def values(processor: Any, picture: Image.Image, **options: Any) -> torch.Tensor:
    return torch.as_tensor(np.asarray(processor(picture, return_tensors="pt", **options)["pixel_values"][0]))


@pytest.mark.parametrize(("backend", "library"), [(None, "torchvision"), ("pil", "pillow")])
@pytest.mark.parametrize("name", FILES)
def test_read_processor__pixels_are_those_of_both_processors(
    their_processor: Any, pictures: list[Image.Image], name: str, backend: str | None, library: str
) -> None:
    theirs = their_processor(FILES[name], **({} if backend is None else {"backend": backend}))
    assert theirs.backend == (backend or "torchvision")
    recipe = read_processor(FILES[name], "Beit", Path(PROCESSOR_FILE))
    steps = recipe.own_steps
    if backend is None:
        assert next(step for step in steps if isinstance(step, Resize)).backend == library
    else:
        steps = with_backend(steps, library)
    for picture in pictures:
        resized = values(theirs, picture, do_rescale=False, do_normalize=False)
        assert tuple(resized.shape[1:]) == recipe.image_size
        assert torch.equal(EvaluationTransform(pixels_only(steps))(picture), resized.float())
        difference = EvaluationTransform(steps)(picture) - values(theirs, picture)
        # Without scaling the numbers go up to 151 instead of 2.6.
        assert difference.abs().max() <= ROUNDING * (255 if name == "not scaled" else 1)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1"])
@pytest.mark.parametrize("backend", [None, "pil"])
def test_read_processor__pictures_of_other_modes(
    their_processor: Any, photographs: tuple[Image.Image, ...], mode: str, backend: str | None
) -> None:
    theirs = their_processor(BEIT | {"do_convert_rgb": True}, **({} if backend is None else {"backend": backend}))
    picture = photographs[0].crop((0, 0, 150, 90)).convert(mode)
    if "A" in mode:
        picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    steps = with_backend(steps_of(BEIT), "torchvision" if backend is None else "pillow")
    difference = (EvaluationTransform(steps)(read_image(picture)) - values(theirs, picture)).abs()
    # Half-transparent colours are blended with white in two ways that round differently, then resized: at most two
    # levels of 255, which are 2/255 each after normalisation.
    assert difference.max() <= (2 * 2 / 255 + ROUNDING if "A" in mode else ROUNDING)


def test_read_processor__no_file_means_the_librarys_defaults() -> None:
    transformers = pytest.importorskip("transformers", minversion="5.0", reason="the oracle is transformers 5")
    for kind in ("Beit", "ViT", "DeiT", "Bit"):
        theirs = getattr(transformers, f"{kind}ImageProcessor")()
        recipe = read_processor({}, kind, Path(PROCESSOR_FILE))
        resize, crop, normalize = (
            next((step for step in recipe.own_steps if isinstance(step, wanted)), None)
            for wanted in (Resize, CenterCrop, Normalize)
        )
        assert recipe.image_size == (224, 224)
        assert isinstance(resize, Resize) and isinstance(normalize, Normalize)
        assert resize.size[0] == (theirs.size.height or theirs.size.shortest_edge)  # type: ignore[index]
        # One that cuts nothing off is left out.
        assert (crop is not None) == (bool(theirs.do_center_crop) and resize.size != (224, 224))
        assert normalize.mean == pytest.approx([255 * value for value in theirs.image_mean], rel=1e-8)
        assert normalize.std == pytest.approx([255 * value for value in theirs.image_std], rel=1e-8)


def test_read_processor__filters_that_only_pillow_has(their_processor: Any, pictures: list[Image.Image]) -> None:
    config = BEIT | {"resample": 4}
    theirs = their_processor(config, backend="pil")
    difference = EvaluationTransform(steps_of(config))(pictures[6]) - values(theirs, pictures[6])
    assert difference.abs().max() <= ROUNDING


def test_read_processor__steps_for_another_size() -> None:
    recipe = read_processor(
        {"image_processor_type": "DeiTImageProcessor", "size": 256, "crop_size": 224}, "DeiT", Path(PROCESSOR_FILE)
    )
    resize, crop = recipe.steps((384, 384))[1:3]
    assert isinstance(resize, Resize) and resize.size == (439, 439)
    assert isinstance(crop, CenterCrop) and crop.crop_size == 384


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"image_processor_type": "ConvNextImageProcessor"}, "ConvNextImageProcessor is unknown; known are.* Beit"),
        ({"do_resize": False}, "do_resize"),
        ({"do_pad": True}, "do_pad"),
        ({"resample": 9}, "resample is 9"),
        ({"image_mean": [0.5]}, "three numbers"),
        ({"image_std": [0.5, 0.0, 0.5]}, "above 0"),
        ({"rescale_factor": 0}, "above 0"),
        ({"size": {"longest_edge": 64}}, "size is .*longest_edge"),
        ({"size": {"shortest_edge": 64, "longest_edge": 90}}, "size is .*longest_edge"),
        ({"size": {"shortest_edge": 64}}, "pictures of any shape"),
        ({"do_center_crop": True, "crop_size": 65}, "65x65 is larger than .* 64x64"),
        ({"do_center_crop": True, "crop_size": "big"}, "crop_size is 'big'"),
    ],
)
def test_read_processor__refuses_what_no_step_does(change: dict[str, Any], expected: str) -> None:
    with pytest.raises(CheckpointError, match=rf"{PROCESSOR_FILE}: .*{expected}"):
        steps_of(BEIT | change)


IMAGENET: dict[str, Any] = {"mean": [255 * value for value in MEAN], "std": [255 * value for value in STD]}
STEPS = {
    "squash": evaluation_steps((48, 64), squash=True, interpolation="bilinear", mean=(127.3,) * 3, std=(60.1,) * 3),
    "squash and cut": evaluation_steps(64, squash=True, resize=74, **IMAGENET),
    "short side": evaluation_steps(64, crop_pct=0.875, **IMAGENET),
    "lanczos": evaluation_steps(64, squash=True, interpolation="lanczos", **IMAGENET),
}


def rounding_down(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    return tuple(replace(step, round_down=True) if isinstance(step, CenterCrop) else step for step in steps)


@pytest.mark.parametrize(("backend", "library"), [(None, "torchvision"), ("pil", "pillow")])
@pytest.mark.parametrize("name", STEPS)
def test_write_processor__gives_our_pixels(
    their_processor: Any, pictures: list[Image.Image], name: str, backend: str | None, library: str
) -> None:
    steps = rounding_down(with_backend(STEPS[name], library))
    config, differences = write_processor(steps, "BeitImageProcessor")
    assert all('backend="pil"' in told for told in differences) and len(differences) == (backend is not None)
    theirs = their_processor(config, **({} if backend is None else {"backend": backend}))
    for picture in pictures:
        difference = EvaluationTransform(steps)(picture) - values(theirs, picture)
        assert difference.abs().max() <= ROUNDING
        grey = picture.convert("L")
        assert torch.allclose(EvaluationTransform(steps)(read_image(grey)), values(theirs, grey), atol=ROUNDING, rtol=0)


def test_write_processor__what_it_says_of_pillow_is_true(their_processor: Any, pictures: list[Image.Image]) -> None:
    steps = STEPS["squash"]
    config, (told,) = write_processor(steps, "BeitImageProcessor")
    assert "1 % of the values differ a little" in told
    theirs = their_processor(config)
    for picture in pictures:
        levels = ((EvaluationTransform(steps)(picture) - values(theirs, picture)).abs() * 60.1).round()
        assert levels.max() <= 2 and (levels > 0).float().mean() < 0.015


def test_write_processor__says_where_the_crop_lies_beside() -> None:
    def told(*steps: Step) -> str:
        normalized = (Normalize((0, 0, 0), (1, 1, 1)), ImageToTensor(), Collect())
        return " ".join(write_processor((*steps, *normalized), "BeitImageProcessor")[1])

    assert "one pixel" in told(Resize((73, -1), backend="torchvision"), CenterCrop(64))
    assert "one pixel" in told(Resize(67, backend="torchvision"), CenterCrop(64))
    assert told(Resize(73, backend="torchvision"), CenterCrop(64)) == ""
    assert told(Resize((73, -1), backend="torchvision"), CenterCrop(64, round_down=True)) == ""
    assert "OpenCV" in told(Resize(64))
    assert "box runs there with" in told(Resize(64, backend="pillow", interpolation="box"))


@pytest.mark.parametrize("name", STEPS)
def test_write_processor__is_read_back(name: str) -> None:
    steps = rounding_down(with_backend(STEPS[name], "torchvision"))
    config, _ = write_processor(steps, "BeitImageProcessor")
    found = steps_of(json.loads(json.dumps(config)))
    # Where rounding down changes nothing it is not asked for, and one number stands for two that are equal.
    read, written = (EvaluationTransform(one) for one in (found, steps))
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (131, 99, 3), np.uint8))
    assert torch.equal(read(picture), written(picture))


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([Resize(64), Pad(size=(70, 70))], "not Resize, Pad, Normalize"),
        ([Resize(64, interpolation="area")], "filter area"),
        ([Resize((64, -1))], "pictures of any shape"),
        ([Resize((64, -1), adaptive_side="long"), CenterCrop(64)], "short side"),
        ([Resize(64), CenterCrop(65)], "larger than"),
        ([Resize(64), CenterCrop(32, efficientnet_style=True)], "CenterCrop"),
    ],
)
def test_write_processor__refuses_what_no_processor_does(steps: list[Step], expected: str) -> None:
    with pytest.raises(CheckpointError, match=expected):
        write_processor([*steps, Normalize((0, 0, 0), (1, 1, 1)), ImageToTensor(), Collect()], "BeitImageProcessor")


def test_to_shares__keeps_numbers_that_no_short_share_gives() -> None:
    assert to_shares((123.675, 127.5, 127.3)) == (0.485, 0.5, 127.3 / 255)
