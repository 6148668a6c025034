"""`beit export`, and what one does with the folder, as a person runs them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import helpers
from modelscope_beit.__main__ import main
from modelscope_beit.commands import export
from modelscope_beit.errors import ExportError
from modelscope_beit.export import writing
from modelscope_beit.export.targets import ExportRequest


@pytest.fixture(scope="module")
def garments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / "garments"
    assert main(["export", "embedded", "--to", "torchscript", "--fp16", "--out", str(folder)]) == 0
    return folder


def test_export__predict_and_describe_take_the_folder_and_its_file(garments, capsys) -> None:
    picture = str(garments / "pictures" / "bag_00018.png")
    for model in (garments, garments / "model.ts"):
        assert main(["predict", str(model), picture, "--json", "--trust-remote-code"]) == 0
        assert json.loads(capsys.readouterr().out)["labels"][0] == "Bag"
    assert main(["describe", str(garments)]) == 0
    out = capsys.readouterr().out
    assert "model.ts, torchscript in fp16" in out and "4 blocks of width 128" in out
    assert main(["describe", str(garments), "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["command"] == f"beit export embedded --to torchscript --fp16 --out {garments}"


def test_export__refuses_a_folder_that_is_there_before_any_work(garments, capsys) -> None:
    assert main(["export", "embedded", "--to", "torchscript", "--out", str(garments)]) == 2
    assert "exists and is not empty" in capsys.readouterr().err


def test_export__tells_what_does_not_go_together(tmp_path, capsys) -> None:
    assert main(["export", "embedded", "--to", "torchscript", "--int8", "--out", str(tmp_path / "x")]) == 2
    assert "torchscript is written in fp32, fp16, not in int8" in capsys.readouterr().err


def test_export__calibrates_with_given_pictures(monkeypatch, tmp_path, ten_images) -> None:
    """The request is looked at; what int8 makes of it is tested in export/."""
    requests = []

    def see(model: object, folder: Path, request: ExportRequest) -> None:
        requests.append(request)
        raise ExportError("This is only a test.")

    monkeypatch.setattr(writing, "export_model", see)
    listed = tmp_path / "list.csv"
    listed.write_text("path,label\n" + "".join(f"{path},{number % 2}\n" for number, path in enumerate(ten_images)))
    for data in (ten_images[0].parent, listed):
        assert main(["export", "embedded", "--to", "onnx", "--int8", "--calibration", str(data), "--out", "x"]) == 2
        request = requests.pop()
        assert sorted(Path(str(path)).name for path in request.calibration) == sorted(path.name for path in ten_images)
        assert f"--calibration {data}" in request.command


def test_pictures__are_evenly_chosen_from_many(tmp_path) -> None:
    for number in range(1000):
        (tmp_path / f"{number:04}.jpg").touch()
    found = [int(Path(path).stem) for path in export._pictures(str(tmp_path))]
    assert len(found) == 256 and found[:2] == [0, 3] and found[-1] == 765


def test_export__needs_no_torch_to_explain_itself() -> None:
    code = "import sys; import modelscope_beit.commands.export; assert not {'torch', 'rich'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=helpers.ROOT)
