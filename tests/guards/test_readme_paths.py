"""Every path that a README names exists: in this repository, or in ModelScope where the text is about its tree."""

import importlib.util
import re
from pathlib import Path

import pytest

import helpers

_SPAN = re.compile(r"`([\w./-]+)`")
_FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def modelscope_folder() -> Path:
    spec = importlib.util.find_spec("modelscope")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent


@pytest.mark.parametrize("readme", ["README.md", "README_zh.md"])
def test_readme__names_paths_that_exist(readme: str) -> None:
    text = (helpers.ROOT / readme).read_text(encoding="utf-8")
    prose = _FENCED.sub("", text)
    paths = {span for span in _SPAN.findall(prose) if "/" in span or span in ("setup.py", "metainfo.py")}
    assert len(paths) > 15, "the tables of paths are gone"
    missing = [
        path
        for path in paths
        # A run writes what is below work_dir.
        if not path.startswith("work_dir/")
        and not any((root / path).exists() for root in (helpers.ROOT, modelscope_folder()))
    ]
    assert not missing


@pytest.mark.parametrize("readme", ["README.md", "README_zh.md"])
def test_readme__draws_files_that_exist(readme: str) -> None:
    text = (helpers.ROOT / readme).read_text(encoding="utf-8")
    drawings = [code for language, code in _FENCED.findall(text) if language == "text"]
    paths = re.findall(r"\b[a-z_]+/(?:[a-z_]+\.py)?", "\n".join(drawings))
    assert len(paths) > 10
    missing = [path for path in paths if not (helpers.PACKAGE / path).exists()]
    assert not missing
