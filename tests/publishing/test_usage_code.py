"""The code of a card runs as it stands."""

from pathlib import Path

import pytest

from modelscope_beit.publishing import usage_code as module
from modelscope_beit.publishing.destination import Destination
from modelscope_beit.publishing.usage_code import run_usage, usage_code

HUB = Destination("modelscope", "me/pets")
# Stands for the hub's library: what is looked at is where the code runs, and with what.
CODE = """import os
print("seen", sorted(os.listdir(".")), os.path.isfile("me/pets/configuration.json"), os.path.getsize("example.png"))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "staged").mkdir()
    (tmp_path / "staged" / "configuration.json").write_text("{}")
    (tmp_path / "staged" / "boot.png").write_bytes(b"1234567")
    return tmp_path / "staged"


def test_run_usage__has_the_model_under_its_id(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MODELSCOPE", CODE)
    found = run_usage(folder, HUB, "boot.png", self_contained=False)
    assert (found.code, found.error) == (CODE, "")
    assert found.output == "seen ['example.png', 'me'] True 7"


def test_run_usage__tells_why_it_failed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MODELSCOPE", "print('half')\nraise ValueError('no such model')\n")
    found = run_usage(folder, HUB, "boot.png", self_contained=False)
    assert found.output == "" and found.error.endswith("ValueError: no such model")


def test_usage_code__imports_us_only_where_the_folder_does_not() -> None:
    plain, alone = (usage_code(HUB, self_contained=contained) for contained in (False, True))
    assert plain.startswith("import modelscope_beit\n") and "trust_remote_code" not in plain
    assert "import modelscope_beit" not in alone and 'model="me/pets", trust_remote_code=True' in alone
    other = usage_code(Destination("huggingface", "me/pets"), self_contained=False)
    assert "modelscope" not in other
    for code in (plain, alone, other):
        compile(code, "card", "exec")
