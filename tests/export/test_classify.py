"""The script that lies beside an ONNX file, as somebody runs it who has neither this package nor torch."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from modelscope_beit.export import classify
from modelscope_beit.export.golden import packaged_pictures, read_golden
from modelscope_beit.export.opening import open_model_or_export
from modelscope_beit.export.preprocessing import steps_as_data
from modelscope_beit.images.evaluation_transform import EvaluationTransform
from modelscope_beit.images.reading import read_image
from modelscope_beit.prediction.stream import predict_stream
from modelscope_beit.settings.preprocessing import CenterCrop, ImageToTensor, Normalize, Resize

# Runs a script with its arguments; whoever imports torch or the package is told off.
WITHOUT_US = """
import runpy, sys
sys.modules.update(dict.fromkeys(["torch", "torchvision", "modelscope_beit", "modelscope"]))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def rows(script: Path, pictures: list[Path], cwd: Path) -> list[list[str]]:
    done = subprocess.run(
        [sys.executable, "-I", "-c", WITHOUT_US, str(script), *map(str, pictures)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=cwd,
    )
    assert done.returncode == 0, done.stderr
    return [line.split("\t") for line in done.stdout.splitlines()]


def test_script__is_as_short_as_it_says() -> None:
    assert len(Path(classify.__file__).read_text(encoding="utf-8").splitlines()) <= 40


def test_script__gives_the_golden_answers_without_torch(exported, embedded, tmp_path) -> None:
    """Of the 8-bit file, so within what the certificate tells of the logits."""
    folder = exported("embedded", "onnx", "int8")
    golden = read_golden(folder / "golden.npz")
    pictures = [folder / "pictures" / name for name in golden.pictures]
    difference = max(
        one["largest_difference"] for one in json.loads((folder / "certificate.json").read_text())["measured"]
    )
    expected = np.exp(golden.logits) / np.exp(golden.logits).sum(axis=1, keepdims=True)
    for row, scores in zip(rows(folder / "classify.py", pictures, tmp_path), expected, strict=True):
        label, score = row[1].rsplit(" ", 1)
        assert label == embedded.class_names[int(scores.argmax())]
        # A probability moves by at most half of what the distance of two logits does.
        assert float(score) == pytest.approx(scores.max(), abs=difference)
        assert len(row) == 6


@pytest.fixture
def pictures_of_all_kinds(tmp_path: Path, photographs: tuple[Image.Image, ...], ten_images: list[Path]) -> list[Path]:
    picture = photographs[0].resize((90, 60))
    alpha = Image.fromarray(np.arange(90 * 60, dtype=np.uint16).reshape(60, 90).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds = {"turned.jpg": picture, "grey.png": picture.convert("L"), "palette.png": picture.convert("P")}
    kinds |= {"transparent.png": picture.copy(), "cmyk.jpg": picture.convert("CMYK")}
    kinds["transparent.png"].putalpha(alpha)
    for name, one in kinds.items():
        one.save(tmp_path / name, **({"exif": exif} if name == "turned.jpg" else {}))
    return [*ten_images, *packaged_pictures()[:2], *(tmp_path / name for name in kinds)]


@pytest.mark.parametrize(
    "steps",
    [
        [Resize((37, -1), "bicubic", "short", "pillow"), CenterCrop(32)],
        [Resize((40, -1), "bilinear", "long", "pillow"), CenterCrop((31, 30), round_down=True)],
        [Resize((33, 35), "lanczos", backend="pillow"), Resize((50, -1), "box", "height", "pillow"), CenterCrop(28)],
    ],
)
@pytest.mark.parametrize("to_rgb", [True, False])
def test_network_input__is_ours_bit_for_bit(steps, to_rgb, pictures_of_all_kinds) -> None:
    all_steps = (*steps, Normalize((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), to_rgb), ImageToTensor())
    data, transform = steps_as_data(all_steps), EvaluationTransform(all_steps)
    for path in pictures_of_all_kinds:
        expected = transform(read_image(path)).numpy()
        np.testing.assert_array_equal(classify.network_input(str(path), data), expected, err_msg=path.name)


def test_script__of_a_calibrated_model_answers_as_predict_does(calibrated_onnx, tmp_path) -> None:
    pictures = packaged_pictures()
    expected = list(predict_stream(open_model_or_export(calibrated_onnx), [str(path) for path in pictures]))
    assert {one.is_unknown for one in expected} == {True, False}
    for row, wanted in zip(rows(calibrated_onnx / "classify.py", pictures, tmp_path), expected, strict=True):
        assert (row[1] == "unknown") == wanted.is_unknown
        told = [cell.rsplit(" ", 1) for cell in row[2 if wanted.is_unknown else 1 :]]
        assert tuple(label for label, _ in told) == wanted.labels
        assert [float(score) for _, score in told] == pytest.approx(wanted.scores, abs=2e-6)
