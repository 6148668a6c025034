"""The README's table of siblings: each row's commands are run as they stand, and its tolerance is held.

A row says which small model it is about by the first folder of its first command; tests/siblings.py makes it.
"""

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

import helpers
import siblings
from modelscope_beit.__main__ import main
from modelscope_beit.images.reading import read_image
from modelscope_beit.model_folder.opening import open_model

BUILDERS: dict[str, Callable[[Path], siblings.Answer]] = {
    "beitv2": siblings.beitv2,
    "vit-imagenet": partial(siblings.vit, num_classes=1000, pipeline="vit-base_image-classification_ImageNet-labels"),
    "vit-dailylife": partial(siblings.vit, num_classes=1300, pipeline="vit-base_image-classification_Dailylife-labels"),
    "nextvit": siblings.nextvit,
    "convnext-garbage": siblings.convnext,
    "swin": siblings.swin,
    "deit": siblings.deit,
}
OF_MMCLS = ("beitv2", "vit-imagenet", "vit-dailylife", "nextvit", "convnext-garbage", "swin", "deit")
PICTURE = "boot.jpg"


@dataclass(frozen=True)
class Row:
    """One row: what stands first in it, its commands, and how far logits may lie apart."""

    title: str
    commands: tuple[tuple[str, ...], ...]
    tolerance: float

    @property
    def source(self) -> str:
        """The folder that its own library has written."""
        return self.commands[0][2]

    @property
    def model(self) -> str:
        """The model folder that is opened and trained."""
        return self.training[2]

    @property
    def training(self) -> tuple[str, ...]:
        """The command that fine-tunes."""
        return next(command for command in self.commands if command[1] == "train")


def rows() -> list[Row]:
    text = (helpers.ROOT / "README.md").read_text(encoding="utf-8")
    table = text.partition("## Siblings")[2].partition("\n## ")[0]
    found = []
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and cells[2].startswith("`beit "):
            commands = tuple(tuple(shlex.split(command)) for command in re.findall(r"`([^`]+)`", cells[2]))
            found.append(Row(cells[0], commands, float(cells[3])))
    return found


ROWS = rows()


def test_rows__every_sibling_has_one() -> None:
    assert sorted(row.source for row in ROWS) == sorted(BUILDERS)


@pytest.fixture
def readers_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a reader has at hand: a picture, and a folder of class folders; the working directory."""
    helpers.photographs()[0].save(tmp_path / PICTURE)
    for name, picture in zip(("cat", "dog"), helpers.photographs(), strict=True):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(5):
            picture.crop((40 * number, 0, 40 * number + 80, 80)).save(tmp_path / "pets" / name / f"{number}.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*command: str) -> None:
    assert main(list(command)) == 0, shlex.join(command)


@pytest.mark.parametrize("row", ROWS, ids=[row.source for row in ROWS])
def test_row__opens_answers_as_its_own_library_trains_and_reopens(row: Row, readers_folder: Path) -> None:
    if row.source in OF_MMCLS and find_spec("mmcls") is None:
        pytest.skip("mmcls, the library of this row, cannot be installed here")
    answer = BUILDERS[row.source](readers_folder / row.source)
    for command in row.commands[: row.commands.index(row.training)]:
        run(*command[1:])
    run("predict", row.model, PICTURE)
    opened = open_model(row.model)
    picture = read_image(PICTURE)
    with torch.no_grad():
        logits = opened.network(opened.transform(picture)[None])[0]
    expected = answer(picture)
    assert expected.std() > 0.05, "random weights, but answers that differ"
    torch.testing.assert_close(logits, expected, rtol=0, atol=row.tolerance)

    run(*row.training[1:])
    output = Path(row.training[row.training.index("--out") + 1]) / "output"
    run("predict", str(output), PICTURE)
    reopened = open_model(output)
    assert reopened.class_names == ("cat", "dog")
    with torch.no_grad():
        assert reopened.network(reopened.transform(picture)[None]).shape == (1, 2)
