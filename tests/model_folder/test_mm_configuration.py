"""config.py files; mmcv's own reader is the oracle."""

import pytest

from modelscope_beit.errors import ModelFolderError
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
        ("_base_ = ['../a.py']\nmodel = dict()", "_base_"),
        ("x = 1", "must set `model`"),
    ],
)
def test_run_mm_configuration__says_what_is_wrong(tmp_path, text, expected):
    (tmp_path / "config.py").write_text(text)
    with pytest.raises(ModelFolderError, match=expected):
        run_mm_configuration(tmp_path / "config.py")
