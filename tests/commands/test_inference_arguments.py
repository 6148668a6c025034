"""The options on the command line of predict and evaluate, on the embedded network."""

import json
from pathlib import Path

import pytest

from modelscope_beit.__main__ import main
from modelscope_beit.prediction.answering import shipped_pictures


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def predicted(capsys: pytest.CaptureFixture[str], *options: str) -> list[dict]:
    capsys.readouterr()
    assert main(["predict", "embedded", *map(str, shipped_pictures()[:6]), "--json", "--topk", "1", *options]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    "options", [("--precision", "bf16"), ("--precision", "int8", "--calibration", str(shipped_pictures()[0].parent))]
)
def test_predict__answers_in_the_precision(capsys: pytest.CaptureFixture[str], options: tuple[str, ...]) -> None:
    exact, found = predicted(capsys), predicted(capsys, *options)
    labels, scores = ([row[key] for row in exact] for key in ("labels", "scores"))
    assert [row["labels"] for row in found] == labels
    assert [row["scores"] for row in found] != scores


def test_predict__says_what_auto_has_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(path) for path in shipped_pictures()[:2]]
    assert main(["predict", "embedded", *paths, "--precision", "auto", "--batch-size", "2"]) == 0
    assert "auto: " in capsys.readouterr().err


def test_evaluate__answers_in_the_precision(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    data = tmp_path / "pictures.csv"
    rows = [f"{path},{'Ankle boot' if 'boot' in path.name else 'Bag'}" for path in shipped_pictures()[:4]]
    data.write_text("\n".join(["image,label", *rows]))
    command = ["evaluate", "embedded", str(data), "--json", "--out", str(tmp_path / "report")]
    accuracies = []
    for precision in ("fp32", "bf16"):
        assert main([*command, "--precision", precision]) == 0
        accuracies.append(json.loads(capsys.readouterr().out)["metrics"]["accuracy_top-1"])
        assert f"{precision} by torch on cpu" in (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert accuracies[0] == accuracies[1] > 50


def test_options__that_do_not_go_together_are_told_first(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("predict", "evaluate"):
        assert main([command, "no such model", "no such data", "--precision", "bf16", "--backend", "onnxruntime"]) == 2
        assert "onnxruntime runs fp32, int8 here, not bf16" in capsys.readouterr().err
