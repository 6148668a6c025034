"""config.py files; mmcv's own reader is the oracle."""

import sys

import pytest

from modelscope_beit.errors import MissingPackageError, ModelFolderError
from modelscope_beit.model_folder.mm_configuration import run_mm_configuration

TEXT = """
import math
_hidden = 3
width = int(math.sqrt(1024))
model = dict(type='ImageClassifier', backbone=dict(type='BEiTv2', arch=dict(embed_dims=width)), head=dict(type='H'))
steps = [dict(type='Resize', size=(256, -1)), dict(type='Collect', keys=['img'])]
data = dict(test=dict(pipeline=steps), train=dict(pipeline=[]))
optimizer = dict(type='SGD', lr=0.1)
"""


def tupled(steps):
    """In the hub's words lists and tuples mean the same."""
    return [{key: tuple(value) if isinstance(value, list) else value for key, value in step.items()} for step in steps]


@pytest.mark.openmmlab
def test_run_mm_configuration__what_mmcv_reads(tmp_path):
    mmcv = pytest.importorskip("mmcv", reason="mmcv's Config is the oracle")
    file = tmp_path / "config.py"
    file.write_text(TEXT)
    theirs = mmcv.Config.fromfile(str(file))
    ours = run_mm_configuration(file)
    assert ours["model"]["mm_model"] == theirs.model
    assert tupled(ours["preprocessor"]["val"]) == tupled(theirs.data.test.pipeline)
    assert ours["train"] == {"optimizer": theirs.optimizer}


@pytest.mark.parametrize("data", ["data = None", "data = dict(test=[])", ""])
def test_run_mm_configuration__no_test_pipeline(tmp_path, data):
    file = tmp_path / "config.py"
    file.write_text(f"model = dict()\n{data}\n")
    assert run_mm_configuration(file)["preprocessor"] == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = (", "failed: SyntaxError"),
        ("1 / 0", "failed: ZeroDivisionError"),
        ("x = 1", "must set `model`"),
    ],
)
def test_run_mm_configuration__says_what_is_wrong(tmp_path, text, expected):
    (tmp_path / "config.py").write_text(text)
    with pytest.raises(ModelFolderError, match=expected):
        run_mm_configuration(tmp_path / "config.py")


BASE = """
model = dict(type='ImageClassifier', backbone=dict(type='ResNet', depth=18), head=dict(type='H', num_classes=3))
optimizer = dict(type='SGD', lr=0.1)
"""
HEIR = """
_base_ = ['base.py']
model = dict(head=dict(num_classes=7))
data = dict(samples_per_gpu=4, test=dict(pipeline=[dict(type='Resize', size=(32, -1))]))
optimizer = dict(lr={{_base_.optimizer.lr}})
custom_imports = dict(imports=['module_beside_the_recipe'])
"""


@pytest.fixture
def heir(tmp_path, monkeypatch):
    """A config.py that inherits, and wants a module to be imported."""
    (tmp_path / "base.py").write_text(BASE)
    (tmp_path / "config.py").write_text(HEIR)
    (tmp_path / "module_beside_the_recipe.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "module_beside_the_recipe", raising=False)
    return tmp_path / "config.py"


@pytest.mark.openmmlab
def test_run_mm_configuration__bases_and_imports(heir):
    mmcv = pytest.importorskip("mmcv", reason="mmcv's Config reads what others inherit, and is the oracle")
    ours = run_mm_configuration(heir)
    theirs = mmcv.Config.fromfile(str(heir))
    assert ours["model"]["mm_model"] == theirs.model
    assert ours["model"]["mm_model"]["head"]["num_classes"] == 7
    assert ours["train"]["optimizer"] == theirs.optimizer == {"type": "SGD", "lr": 0.1}
    assert "module_beside_the_recipe" in sys.modules
    (heir.parent / "base.py").unlink()
    with pytest.raises(ModelFolderError, match="failed: FileNotFoundError.*base.py"):
        run_mm_configuration(heir)


def test_run_mm_configuration__bases_need_mmcv(heir, monkeypatch):
    for name in ("mmcv", "mmcls"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingPackageError, match=r"which inherits from other files \(_base_\)(.|\n)*openmmlab"):
        run_mm_configuration(heir)


def test_run_mm_configuration__imports_are_passed_over_without_mmcls(tmp_path, monkeypatch):
    monkeypatch.setattr("modelscope_beit.model_folder.mm_configuration.find_spec", lambda name: None)
    (tmp_path / "config.py").write_text(f"{TEXT}\ncustom_imports = dict(imports=['no_such_module'])")
    assert run_mm_configuration(tmp_path / "config.py")["model"]["mm_model"]["backbone"]["type"] == "BEiTv2"
