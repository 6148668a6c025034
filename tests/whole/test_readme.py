"""Every command and every script of the README runs, in the order in which a reader meets them.

A block after a comment `<!-- by hand: why -->` needs a package registry or the hub; of those, scripts must compile and
commands must exist.
"""

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from PIL import Image

import helpers
from modelscope_beit.network.classifier import build_classifier
from modelscope_beit.settings.model import BackboneSettings, ModelSettings

README = helpers.ROOT / "README.md"
WEIGHTS = "beitv2_base_patch16_224_pt1k_ft21kto1k.pth"
_BLOCK = re.compile(r"(<!-- by hand: [^>]*-->\n)?^```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fenced block; line: where it starts, to find it again."""

    language: str
    code: str
    is_by_hand: bool
    line: int


def blocks(readme: Path) -> list[Block]:
    text = readme.read_text(encoding="utf-8")
    return [
        Block(found[2], found[3], found[1] is not None, text.count("\n", 0, found.start()) + 1)
        for found in _BLOCK.finditer(text)
    ]


def commands(block: Block) -> list[list[str]]:
    """Returns the words of every line of a bash block, without its comment."""
    return [words for line in block.code.splitlines() if (words := shlex.split(line, comments=True))]


@pytest.fixture(scope="module")
def readers_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a reader has at hand: pictures, a script, a weight file in unilm's layout (small, random)."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "photos").mkdir()
    for name, picture in zip(("boot.jpg", "bag.png"), helpers.photographs(), strict=True):
        picture.save(folder / name)
        picture.resize((300, 200)).save(folder / "photos" / name)
    Image.new("L", (50, 80)).save(folder / "photos" / "grey.jpg")
    for name, picture in zip(("cat", "dog"), helpers.photographs(), strict=True):
        (folder / "pets" / name).mkdir(parents=True)
        for number in range(10):
            picture.crop((40 * number, 0, 40 * number + 60, 60)).save(folder / "pets" / name / f"{number}.jpg")
    (folder / "script.py").write_text("import sys\nassert sys.argv[1:] == ['--its-own', '--options']\n")
    backbone = BackboneSettings(width=128, depth=2, num_heads=2, mlp_hidden=256)
    network = helpers.with_random_weights(build_classifier(ModelSettings(backbone)))
    names = {key: key.removeprefix("backbone.").replace("head.fc.", "head.") for key in network.state_dict()}
    torch.save({"model": {names[key]: value for key, value in network.state_dict().items()}}, folder / WEIGHTS)
    return folder


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which `beit` is the command of this checkout and nothing is downloaded."""
    folder = tmp_path_factory.mktemp("bin")
    command = folder / "beit"
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m modelscope_beit "$@"\n')
    command.chmod(0o755)
    return os.environ | {
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(helpers.ROOT),
        "COLUMNS": "120",
    }


def run_block(block: Block, folder: Path, environment: dict[str, str]) -> None:
    program = ["bash", "-euo", "pipefail", "-c"] if block.language == "bash" else [sys.executable, "-c"]
    finished = subprocess.run([*program, block.code], cwd=folder, env=environment, capture_output=True, text=True)
    assert finished.returncode == 0, f"README.md:{block.line}\n{finished.stdout}\n{finished.stderr}"


def test_blocks__run_in_order(readers_folder: Path, shell: dict[str, str]) -> None:
    to_run = [block for block in blocks(README) if not block.is_by_hand]
    assert {block.language for block in to_run} == {"bash", "python"}
    for block in to_run:
        run_block(block, readers_folder, shell)
    assert (readers_folder / "photos.csv").read_text(encoding="utf-8").count("\n") == 1 + 3
    assert (readers_folder / "my_model" / "configuration.json").exists()
    assert (readers_folder / "evaluation" / "report.html").exists()


def test_blocks_by_hand__compile_and_name_what_exists() -> None:
    by_hand = [block for block in blocks(README) if block.is_by_hand]
    makefile = (helpers.ROOT / "Makefile").read_text()
    for block in by_hand:
        if block.language == "python":
            compile(block.code, f"README.md:{block.line}", "exec")
            continue
        for program, argument, *_ in commands(block):
            assert program in ("make", "pip"), f"README.md:{block.line}: {program} can be run, so it must be"
            assert program != "make" or re.search(rf"^{argument}:", makefile, re.MULTILINE), argument


def test_readme__begins_with_demo_then_test_then_install() -> None:
    first, second, third = blocks(README)[:3]
    assert [words[:2] for words in commands(first)] == [["make", "demo"], ["make", "test"]]
    assert commands(second) == [["pip", "install", "."]]
    assert "import modelscope_beit\n" in third.code and "pipeline(" in third.code


def test_chinese_readme__has_the_same_code() -> None:
    """Only the comments are translated."""

    def code(readme: Path) -> list[str]:
        without_comments = (re.sub(r"\s*#.*", "", block.code) for block in blocks(readme))
        return [block.strip() for block in without_comments]

    assert code(helpers.ROOT / "README_zh.md") == code(README)
