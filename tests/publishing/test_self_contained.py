"""The two files that let ModelScope open a folder by itself."""

import ast
from pathlib import Path

from packaging.requirements import Requirement

from modelscope_beit import __version__
from modelscope_beit.publishing.self_contained import REQUIREMENTS, WRAPPER, add_wrapper


def test_add_wrapper__imports_the_package_and_nothing_else(tmp_path: Path) -> None:
    add_wrapper(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ms_wrapper.py", "requirements.txt"]
    words, statement = ast.parse(WRAPPER).body
    assert isinstance(words, ast.Expr)
    assert isinstance(statement, ast.Import) and [name.name for name in statement.names] == ["modelscope_beit"]


def test_requirements__name_a_release_that_has_this_code() -> None:
    # ModelScope reads each line with this very class.
    requirement = Requirement(REQUIREMENTS.strip())
    assert requirement.name == "modelscope-beit" and requirement.specifier.contains(__version__)
    assert not requirement.specifier.contains("0.0.1")
