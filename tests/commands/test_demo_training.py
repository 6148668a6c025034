"""The demo's data, and its run on a few pictures: what it says is what the trained model does."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

import class_folders
import training_jobs
from modelscope_beit.commands import demo_training
from modelscope_beit.commands.demo_training import fine_tune, held_out_pictures, write_digits
from modelscope_beit.errors import MissingPackageError, ModelFolderError
from modelscope_beit.model_folder.finding import find_model_folder
from modelscope_beit.plugin.host_pipeline import open_pipeline


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("digits") / "digits"
    write_digits(folder)
    return folder


def test_write_digits__writes_every_digit_once(digits: Path) -> None:
    known = load_digits()
    written = sorted(digits.rglob("*.png"), key=lambda path: path.stem)
    assert [int(path.stem) for path in written] == list(range(1797))
    assert [int(path.parent.name) for path in written] == known.target.tolist()
    middles = ((np.arange(8) + 0.5) * 28 / 8).astype(int)
    for path in written:
        picture = Image.open(path)
        assert (picture.mode, picture.size) == ("L", (28, 28))
        # In the middle of each of its pixels, the enlarged digit has nearly the shade of the original.
        shades = np.asarray(picture)[np.ix_(middles, middles)] * (16 / 255)
        assert np.abs(shades - known.images[int(path.stem)]).mean() < 0.5


def test_write_digits__holds_out_every_fifth_of_each_class(digits: Path) -> None:
    counts = np.bincount(load_digits().target)
    for digit, count in enumerate(counts):
        assert len(list((digits / "val" / str(digit)).iterdir())) == -(-count // 5)
    assert sorted(path.name for path in digits.parent.iterdir()) == ["digits"]


def test_write_digits__leaves_a_folder_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "digits").mkdir()
    write_digits(tmp_path / "digits")
    assert not list((tmp_path / "digits").iterdir())


def test_write_digits__says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(MissingPackageError, match="pip install scikit-learn"):
        write_digits(tmp_path / "digits")
    assert not list(tmp_path.iterdir())


def test_write_digits__says_where_they_cannot_go(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file where the folder should be")
    with pytest.raises(ModelFolderError, match="out.*Choose --out DIR"):
        write_digits(tmp_path / "out" / "digits")


def test_held_out_pictures__are_the_first_of_each_class(digits: Path) -> None:
    pictures = held_out_pictures(digits)
    assert list(pictures.values()) == [str(digit) for digit in range(10)]
    assert [int(path.stem) for path in pictures] == [
        int(np.flatnonzero(load_digits().target == digit)[0]) for digit in range(10)
    ]
    assert all(path.parts[-3] == "val" for path in pictures)


def test_fine_tune__tells_what_the_trained_model_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second time, an earlier run is there; the numbers are those of the first."""
    monkeypatch.setattr(demo_training, "EPOCHS", 2)
    photos = class_folders.write_parts(tmp_path / "photos")
    first, second = (fine_tune(find_model_folder(), photos, tmp_path / "run") for _ in range(2))
    pictures = sorted((photos / "val").rglob("*.png"))
    answers = [result["labels"][0] for result in open_pipeline(second.output)([str(path) for path in pictures])]
    right = sum(path.parent.name == answer for path, answer in zip(pictures, answers, strict=True))
    assert second.accuracy == pytest.approx(100 * right / 9) and second.low <= second.accuracy <= second.high
    assert (second.epochs, second.num_train, second.num_held_out) == (2, 24, 9)
    assert second.images_per_second == pytest.approx(2 * 24 / second.seconds)
    assert second.report.is_file() and second.curves.is_file()
    assert (first.accuracy, first.output) == (second.accuracy, second.output)
    steps = json.loads((tmp_path / "run" / "configuration.json").read_text())["preprocessor"]["train"]
    assert "RandomFlip" not in {step["type"] for step in steps}
    assert {tuple(step["scale"]) for step in steps if step["type"] == "RandomResizedCrop"} == {(0.7, 1.0)}
    assert (second.output / "classname.txt").read_text().split() == sorted(training_jobs.CLASSES)
