"""The two files that let ModelScope open a folder by itself."""

import ast
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from modelscope_beit import __version__
from modelscope_beit.publishing.self_contained import EXTRAS, WRAPPER, add_wrapper, extra_for, requirements
from modelscope_beit.settings.configuration import FolderSettings
from modelscope_beit.settings.foreign_models import MmclsModelSettings
from modelscope_beit.settings.foreign_steps import ForeignSteps
from modelscope_beit.settings.model import ModelSettings


def test_add_wrapper__imports_the_package_and_nothing_else(tmp_path: Path) -> None:
    add_wrapper(tmp_path, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ms_wrapper.py", "requirements.txt"]
    words, statement = ast.parse(WRAPPER).body
    assert isinstance(words, ast.Expr)
    assert isinstance(statement, ast.Import) and [name.name for name in statement.names] == ["modelscope_beit"]


@pytest.mark.parametrize("extra", EXTRAS)
def test_requirements__name_a_release_that_has_this_code(extra: str) -> None:
    # ModelScope reads each line with this very class.
    requirement = Requirement(requirements(extra).strip())
    assert requirement.extras == ({extra} if extra else set())
    assert requirement.name == "modelscope-beit" and requirement.specifier.contains(__version__)
    assert not requirement.specifier.contains("0.0.1")


def test_extra_for__is_that_of_whoever_builds_the_network(tiny_settings: ModelSettings) -> None:
    mmcls = MmclsModelSettings({}, 5, ())
    assert extra_for(FolderSettings(tiny_settings, ())) == ""
    assert extra_for(FolderSettings(mmcls, ())) == "openmmlab"
    assert extra_for(FolderSettings(tiny_settings, ForeignSteps(({"type": "Odd"},), ()))) == "openmmlab"
