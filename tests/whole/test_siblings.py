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
from modelscope_beit.model_folder.masked_image import open_masked_image_model
from modelscope_beit.model_folder.opening import open_model
from modelscope_beit.model_folder.segmentation import open_segmentation


def logits_of(model: Path) -> siblings.Answer:
    """Returns what a classifier's folder answers, opened by us."""
    opened = open_model(model)
    return lambda picture: opened.network(opened.transform(picture)[None])[0]


def features_of(model: Path) -> siblings.Answer:
    """Returns what the head of a folder gets."""
    opened = open_model(model)
    return lambda picture: opened.network.pooled(opened.transform(picture)[None])[0]


def masked_logits_of(model: Path) -> siblings.Answer:
    """Returns the visual tokens that a masked-image model guesses."""
    opened = open_masked_image_model(model)
    return lambda picture: opened.network(opened.transform(picture)[None], siblings.MASK)[0].flatten()


def segmentation_of(model: Path) -> siblings.Answer:
    """Returns the class of every fourth pixel."""
    opened = open_segmentation(model)
    return lambda picture: opened.network(opened.transform(picture)[None])[0].flatten()


Answering = Callable[[Path], siblings.Answer]
_VIT = {
    name: partial(siblings.vit, num_classes=count, pipeline=f"vit-base_image-classification_{label}-labels")
    for name, count, label in (("vit-imagenet", 1000, "ImageNet"), ("vit-dailylife", 1300, "Dailylife"))
}
# The folder that its own library writes -> who writes it, and how it is opened here.
OF_MMCLS: dict[str, tuple[Answering, Answering]] = {
    "beitv2": (siblings.beitv2, logits_of),
    **{name: (builder, logits_of) for name, builder in _VIT.items()},
    "nextvit": (siblings.nextvit, logits_of),
    "convnext-garbage": (siblings.convnext, logits_of),
    "swin": (siblings.swin, logits_of),
    "deit": (siblings.deit, logits_of),
    "vit-base": (partial(siblings.vit, num_classes=1000, pipeline="image-classification", side=224), logits_of),
}
SIBLINGS = OF_MMCLS | {
    "hf-beit": (siblings.transformers_beit, logits_of),
    "hf-beit-model": (siblings.transformers_beit_model, features_of),
    "hf-masked": (siblings.transformers_masked_image_model, masked_logits_of),
    "hf-segmentation": (siblings.transformers_segmentation, segmentation_of),
    "timm-beitv2": (siblings.timm_beitv2, logits_of),
    "timm-bit": (siblings.timm_bit, logits_of),
}
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
    def training(self) -> tuple[str, ...] | None:
        """The command that fine-tunes, if the row has one."""
        return next((command for command in self.commands if command[1] == "train"), None)

    @property
    def opened(self) -> str:
        """The folder whose answers are compared: what was converted, or else the source; all of it, also what the
        start of a classifier leaves out."""
        is_converted = self.commands[0][1] == "convert" and self.source != "hf-masked"
        return self.commands[0][3] if is_converted else self.source


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
    assert sorted(row.source for row in ROWS) == sorted(SIBLINGS)


@pytest.fixture
def readers_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a reader has at hand: a picture, and a folder of class folders; the working directory."""
    helpers.photographs()[0].save(tmp_path / PICTURE)
    for name, picture in zip(("cat", "dog"), helpers.photographs(), strict=True):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(5):
            picture.crop((40 * number, 0, 40 * number + 80, 80)).save(tmp_path / "pets" / name / f"{number}.jpg")
    (tmp_path / "configs").symlink_to(helpers.ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*command: str) -> None:
    assert main(list(command)) == 0, shlex.join(command)


@pytest.mark.parametrize("row", ROWS, ids=[row.source for row in ROWS])
def test_row__answers_as_its_own_library_trains_and_reopens(row: Row, readers_folder: Path) -> None:
    if row.source in OF_MMCLS and find_spec("mmcls") is None:
        pytest.skip("mmcls, the library of this row, cannot be installed here")
    build, open_here = SIBLINGS[row.source]
    answer = build(readers_folder / row.source)
    for command in row.commands:
        run(*command[1:])
    picture = read_image(PICTURE)
    expected = answer(picture)
    assert expected.std() > 0.05, "random weights, but answers that differ"
    with torch.no_grad():
        torch.testing.assert_close(
            open_here(readers_folder / row.opened)(picture), expected, rtol=0, atol=row.tolerance
        )
    if row.training is None:
        return
    run("predict", row.training[2], PICTURE)
    output = Path(row.training[row.training.index("--out") + 1]) / "output"
    run("predict", str(output), PICTURE)
    assert open_model(output).class_names == ("cat", "dog")
