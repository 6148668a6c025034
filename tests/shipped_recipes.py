"""The recipes that mmcls 0.25.0 ships for the families whose users come here: found in the installed package."""

import copy
import functools
import importlib.util
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelscope_beit.settings.configuration import FolderSettings
from modelscope_beit.settings.mm_layout import hub_layout
from modelscope_beit.settings.recipe import Recipe, read_recipe

# Files of each folder; old names of the same recipes are among them. Mixed precision has a folder of its own.
FAMILIES = {
    **{"vision_transformer": 9, "deit": 8, "swin_transformer": 13, "swin_transformer_v2": 10, "convnext": 5},
    **{"resnet": 56, "resnext": 8, "seresnet": 8, "fp16": 2},
}
_MMCLS = importlib.util.find_spec("mmcls")
CONFIGS = Path(_MMCLS.origin).parent / ".mim/configs" if _MMCLS and _MMCLS.origin else Path("no mmcls")
PATHS = [path for family in FAMILIES for path in sorted((CONFIGS / family).glob("*.py"))]

Test = Callable[..., None]


def for_each_recipe(test: Test) -> Test:
    """Runs a test, whose argument is `path`, for every recipe."""
    marked: Test = pytest.mark.parametrize("path", PATHS, ids=lambda path: f"{path.parent.name}/{path.stem}")(test)
    return marked


@functools.cache
def _by_mmcv(path: Path) -> Any:
    mmcv = pytest.importorskip("mmcv", reason="mmcv reads the recipes")
    with warnings.catch_warnings():
        # Old names say that they are old.
        warnings.simplefilter("ignore")
        return mmcv.Config.fromfile(str(path))


def mm_recipe(path: Path) -> dict[str, Any]:
    """Returns a recipe as mmcv reads it, bases and all; mmcls builds from this, and wants its tuples."""
    return copy.deepcopy(dict(_by_mmcv(path)))


def configuration(path: Path) -> dict[str, Any]:
    """Returns a recipe as a JSON file holds it: with lists for tuples."""
    content: dict[str, Any] = json.loads(json.dumps(mm_recipe(path)))
    return content


@functools.cache
def read(path: Path) -> tuple[FolderSettings, Recipe]:
    """Returns what we make of a recipe."""
    return read_recipe(hub_layout(configuration(path)), where=path.stem)


def key_of(value: object) -> str:
    """Returns a text that is equal for equal parts of configurations: what was compared once need not be again."""
    return json.dumps(value, sort_keys=True)
