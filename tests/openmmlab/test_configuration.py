"""Configurations as mmcv reads them: with bases, and with modules that they want to be imported."""

from pathlib import Path

import pytest

pytest.importorskip("mmcv", reason="mmcv comes with the extra openmmlab")

from modelscope_beit.errors import ModelFolderError
from modelscope_beit.openmmlab.configuration import read_python_configuration

pytestmark = pytest.mark.openmmlab


def test_read_python_configuration__what_it_inherits_and_changes(tmp_path: Path) -> None:
    (tmp_path / "base.py").write_text("model = dict(backbone=dict(type='ResNet', depth=18), neck=dict(type='N'))")
    (tmp_path / "config.py").write_text("_base_ = 'base.py'\nmodel = dict(backbone=dict(depth=34), neck=None)")
    content = read_python_configuration(tmp_path / "config.py")
    assert content["model"] == {"backbone": {"type": "ResNet", "depth": 34}, "neck": None}
    assert type(content["model"]["backbone"]) is dict


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("_base_ = 'gone.py'", "failed: FileNotFoundError"),
        ("custom_imports = dict(imports=['no_such_module'])", "failed: ImportError"),
        ("1 / 0", "failed: ZeroDivisionError"),
    ],
)
def test_read_python_configuration__says_what_failed(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "config.py").write_text(text)
    with pytest.raises(ModelFolderError, match=message):
        read_python_configuration(tmp_path / "config.py")
