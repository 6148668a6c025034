"""Our pipeline beside ModelScope's own over folders that the stock classes wrote, for every kind of photograph."""

import copy
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from modelscope.pipelines import pipeline
from PIL import Image, ImageSequence

import helpers
from modelscope_beit.plugin.pipeline import BeitImageClassificationPipeline

pytestmark = [
    pytest.mark.openmmlab,
    pytest.mark.skipif(find_spec("mmcls") is None, reason="the stock classes need mmcv and mmcls"),
]

JPEG = {"large": (3000, 2000), "tiny": (12, 9), "tall": (120, 900), "wide": (1400, 90), "one pixel": (1, 1)}
# Mode of the file -> largest difference of scores. Compositing by two ways of rounding may differ by one of 255.
MODES = {
    "RGBA": 2e-3,
    "transparent palette": 2e-3,
    "CMYK": 0,
    "16 bits": 0,
    "palette": 0,
    "animated": 0,
}


def beit_v2_base() -> dict[str, Any]:
    """A configuration as the hub's BEiT v2 base folders have it (the stock class knows base and large only)."""
    configuration = copy.deepcopy(helpers.TINY_CONFIGURATION)
    mm_model = configuration["model"]["mm_model"]
    mm_model["backbone"] |= {"arch": "base", "img_size": 224, "patch_size": 16}
    mm_model["head"] |= {"in_channels": 768, "num_classes": 20}
    configuration["preprocessor"]["val"][1]["size"] = [256, -1]
    configuration["preprocessor"]["val"][2]["crop_size"] = 224
    return configuration


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("beit_v2_base")
    (made / "configuration.json").write_text(json.dumps(beit_v2_base()))
    return made


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Photographs as JPEG files: large, tiny, tall, wide, grey, and turned in all eight ways."""
    china, flower = helpers.photographs()
    made = {name: (china if max(size) > 1000 else flower).resize(size) for name, size in JPEG.items()}
    made |= {"as it is": china, "grey": flower.convert("L")}
    target = tmp_path_factory.mktemp("pictures")
    for name, picture in made.items():
        picture.save(target / f"{name}.jpg", quality=90)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        flower.save(target / f"turned {orientation}.jpg", exif=exif)
    return {path.stem: path for path in sorted(target.glob("*.jpg"))}


@pytest.fixture(scope="module")
def stock_answers(folder: Path, pictures: dict[str, Path]) -> dict[str, Any]:
    answers = folder / "answers.json"
    script = Path(__file__).with_name("run_stock_pipeline.py")
    command = [sys.executable, str(script), str(folder), str(answers), *map(str, pictures.values())]
    finished = subprocess.run(command, env=os.environ | {"PYTHONPATH": ""}, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    return dict(zip(pictures, json.loads(answers.read_text()), strict=True))


@pytest.fixture(scope="module")
def ours(folder: Path, stock_answers: dict[str, Any]) -> BeitImageClassificationPipeline:
    """Ours over the same folder, whose weights are there once the stock classes have answered."""
    built = pipeline("image-classification", model=str(folder), device="cpu")
    assert isinstance(built, BeitImageClassificationPipeline)
    return built


def test_answers__are_those_of_the_stock_pipeline(
    ours: BeitImageClassificationPipeline, stock_answers: dict[str, Any], pictures: dict[str, Path]
) -> None:
    # The labels have to be told apart by the scores, or their order would say nothing.
    assert len({answer["labels"][0] for answer in stock_answers.values()}) > 2
    results = ours(list(map(str, pictures.values())), batch_size=4)
    for (name, expected), result in zip(stock_answers.items(), results, strict=True):
        assert result["labels"] == expected["labels"], name
        assert np.abs(np.subtract(result["scores"], expected["scores"])).max() <= 1e-5, name


def test_answers__for_arrays_and_pillow_pictures_are_those_for_the_file(
    ours: BeitImageClassificationPipeline, stock_answers: dict[str, Any], pictures: dict[str, Path]
) -> None:
    picture = Image.open(pictures["as it is"])
    for value in (picture, np.asarray(picture)[:, :, ::-1]):
        assert np.allclose(ours(value)["scores"], stock_answers["as it is"]["scores"], atol=1e-5, rtol=0)


def written(mode: str, photograph: Image.Image, target: Path) -> tuple[Path, Image.Image]:
    """Writes a photograph in a mode that the stock reader gets wrong or only just right.

    Returns the file and what a viewer shows, made by Pillow or NumPy from what is in the file.
    """
    small = photograph.resize((300, 260))
    if mode in ("RGBA", "transparent palette"):
        small.putalpha(Image.linear_gradient("L").resize(small.size))
    if mode == "transparent palette":
        small = small.quantize(64, method=Image.Quantize.FASTOCTREE)
    if mode == "palette":
        small = small.quantize(64)
    if mode == "CMYK":
        small = small.convert("CMYK")
    if mode == "16 bits":
        small = Image.fromarray(np.asarray(small.convert("L")).astype(np.uint16) * 256 + 17)
    if mode == "animated":
        path = target / "animated.webp"
        small.save(path, save_all=True, append_images=[small.rotate(180)], lossless=True)
        return path, next(ImageSequence.Iterator(Image.open(path))).convert("RGB")
    path = target / ("cmyk.jpg" if mode == "CMYK" else f"{mode}.png")
    small.save(path)
    read = Image.open(path)
    if mode in ("RGBA", "transparent palette"):
        read = Image.alpha_composite(Image.new("RGBA", read.size, "white"), read.convert("RGBA"))
    if mode == "16 bits":
        read = Image.fromarray((np.asarray(read) // 256).astype(np.uint8))
    return path, read.convert("RGB")


@pytest.mark.parametrize("mode", MODES)
def test_answers__for_other_modes_are_those_for_what_a_viewer_shows(
    ours: BeitImageClassificationPipeline, tmp_path: Path, photographs: tuple[Image.Image, ...], mode: str
) -> None:
    path, shown = written(mode, photographs[1], tmp_path)
    result, expected = ours(str(path)), ours(shown)
    assert result["labels"] == expected["labels"]
    assert np.abs(np.subtract(result["scores"], expected["scores"])).max() <= MODES[mode]
