"""`beit verify`: what it prints, and its exit status."""

import json
import shutil
from pathlib import Path

import pytest

from modelscope_beit.__main__ import main
from modelscope_beit.export.targets import ExportRequest
from modelscope_beit.export.writing import export_model
from modelscope_beit.model_folder.opening import open_model


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "garments"
    export_model(open_model("embedded"), folder, ExportRequest("torchscript"))
    return folder


def test_verify__right(exported, capsys) -> None:
    assert main(["verify", str(exported / "model.ts"), "--trust-remote-code"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[:2] for line in lines[:3]] == [["right", "files"], ["right", "pixels"], ["right", "torch.jit"]]


def test_verify__wrong(exported, tmp_path, capsys) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "garments"))
    (folder / "classname.txt").write_text("others\n")
    assert main(["verify", str(folder), "--trust-remote-code", "--json"]) == 1
    content = json.loads(capsys.readouterr().out)
    assert content["is_right"] is False
    assert [one["name"] for one in content["checks"] if one["is_right"] is False] == ["classname.txt", "files"]
    assert main(["verify", str(folder), "--trust-remote-code"]) == 1
    assert "WRONG  classname.txt" in capsys.readouterr().out


def test_verify__nothing_to_check(tmp_path, exported, capsys) -> None:
    assert main(["verify", str(tmp_path)]) == 2
    assert "certificate.json" in capsys.readouterr().err
    assert main(["verify", str(exported)]) == 2
    assert "--trust-remote-code" in capsys.readouterr().err
