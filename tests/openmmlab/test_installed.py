"""What is said where mmcv and mmcls are not, and what is not said where they are."""

import sys
from collections import namedtuple

import pytest

import fresh_interpreters
from modelscope_beit.errors import MissingPackageError, SettingsError
from modelscope_beit.openmmlab import installed
from modelscope_beit.openmmlab.installed import register_backbone, require_mmcls

Version = namedtuple("Version", "major minor micro releaselevel serial")


@pytest.mark.parametrize("name", ["mmcv", "mmcls.models"])
def test_require_mmcls__says_what_to_install(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(sys, "version_info", Version(3, 12, 0, "final", 0))
    monkeypatch.setitem(sys.modules, name, None)
    if name != "mmcv":
        pytest.importorskip("mmcv", reason="it is there, but mmcls is not")
    with pytest.raises(MissingPackageError) as caught:
        require_mmcls("to build the network", ["backbone.type is 'Swin'", "neck is {}"])
    message = str(caught.value)
    assert message.startswith(f"The package {name} is needed to build the network")
    assert "echo 'setuptools<81' >constraint.txt" in message
    assert 'pip install --build-constraint constraint.txt "modelscope-beit[openmmlab]"' in message
    assert message.endswith("\n- backbone.type is 'Swin'\n- neck is {}")


def test_require_mmcls__says_why_it_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", Version(3, 14, 1, "final", 0))
    monkeypatch.setattr(installed, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError) as caught:
        require_mmcls("for the loss SeesawLoss", ["head.loss.type is 'SeesawLoss'"])
    message = str(caught.value)
    assert "needed for the loss SeesawLoss, and with it mmcv 1.7.2, which does not build on Python 3.14" in message
    assert "Use Python 3.10, 3.11 or 3.12" in message and message.endswith("- head.loss.type is 'SeesawLoss'")
    assert "pip install" not in message


@pytest.mark.openmmlab
def test_register_backbone__brings_the_hosts_and_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    builder = pytest.importorskip("mmcls.models.builder", reason="backbones are registered there")
    for kind in ("BEiTv2", "NextViT", "BeitBackbone"):
        register_backbone(kind)
        assert builder.BACKBONES.get(kind) is not None
    register_backbone("ResNet")
    register_backbone(None)
    monkeypatch.setitem(sys.modules, "modelscope.models.cv.image_classification.backbones", None)
    with pytest.raises(SettingsError, match="backbone NextViT cannot be imported"):
        register_backbone("NextViT")


QUIET = """
import warnings
from modelscope_beit.openmmlab.installed import require_mmcls
require_mmcls("for a test")
import modelscope_beit.openmmlab.classifier, modelscope_beit.openmmlab.transforms
warnings.warn("On another matter, users are warned as ever", UserWarning)
"""


@pytest.mark.openmmlab
def test_require_mmcls__keeps_remarks_of_imports_from_people() -> None:
    pytest.importorskip("mmcv", reason="mmcv makes the remarks")
    ((status, _, errors),) = fresh_interpreters.outcomes([QUIET])
    assert status == 0, errors
    (remark,) = [line for line in errors.splitlines() if "Warning" in line or line.startswith("W")]
    assert "On another matter" in remark
