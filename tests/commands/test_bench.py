"""`beit bench`: what it prints of the model that comes with the package, and what it refuses."""

import json

import pytest

from modelscope_beit.__main__ import main


@pytest.fixture(autouse=True)
def _own_cache_and_torch_alone(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # Others are tried in tests/prediction; to write files for them takes half a minute.
    monkeypatch.setattr("modelscope_beit.prediction.answering.installed_runtimes", lambda: [])


def test_bench__table_and_what_auto_takes(capsys) -> None:
    words = ["bench", "embedded", "--batch-size", "1", "--precision", "bf16", "--backend", "torch", "--seconds", "0.1"]
    assert main(words) == 0
    shown = capsys.readouterr()
    rows = [line for line in shown.out.splitlines() if line.startswith("torch ")]
    assert [row.split()[1] for row in rows] == ["fp32", "bf16"]
    assert "100 %" in rows[0]
    assert "Batches of 1: auto: " in shown.out
    # Standard error is no terminal here: a line for each form and one for auto.
    assert [line.split()[:2] for line in shown.err.splitlines()] == [
        ["torch", "fp32"],
        ["torch", "bf16"],
        ["auto", "measures"],
    ]


def test_bench__json(tiny_model_folder, capsys) -> None:
    words = ["bench", str(tiny_model_folder), "--batch-size", "2", "--precision", "fp32", "--backend", "torch"]
    assert main([*words, "--seconds", "0.05", "--json"]) == 0
    content = json.loads(capsys.readouterr().out)
    (form,) = content["forms"]
    assert (form["backend"], form["precision"], form["refusal"]) == ("torch", "fp32", None)
    passes = form["batches"]["2"]
    assert 0 < passes["p50_seconds"] <= passes["p99_seconds"]
    assert len(passes["by_turn"]) == 3
    assert content["auto"]["2"] in ("fp32", "bf16", "int8")


def test_bench__refuses_at_once(tmp_path, capsys) -> None:
    assert main(["bench", "embedded", "--precision", "bf16", "--backend", "onnxruntime"]) == 2
    assert "nothing to measure: bf16 by onnxruntime" in capsys.readouterr().err
    assert main(["bench", str(tmp_path)]) == 2
    assert "configuration.json" in capsys.readouterr().err
