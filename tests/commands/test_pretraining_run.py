"""What the commands of both stages share: options over a file's configuration, and runs that go on."""

import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from modelscope_beit.__main__ import main
from modelscope_beit.commands.pretraining_run import (
    GATE_SAYS_STOP,
    add_run_arguments,
    configuration_of,
    is_pretraining_run,
)
from modelscope_beit.errors import SettingsError
from toy_run import draw_pictures


def parsed(*words: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_run_arguments(parser)
    return parser.parse_args(list(map(str, words)))


def test_configuration_of__options_come_over_the_file_and_set_over_all(tmp_path: Path) -> None:
    file = tmp_path / "c.json"
    file.write_text(
        json.dumps({"stage": "masked", "run": {"lr": 1.0, "clip": 2.0, "epochs": 9}, "masked": {"depth": 3}})
    )
    words = (tmp_path, "--config", file, "--lr", "0.5", "--batch-size", "4", "--set", "run.batch_size=8")
    found, where = configuration_of(parsed(*words), "masked", {"masked.width": 32, "masked.depth": None})
    assert where == str(file)
    assert found == {
        "stage": "masked",
        "data": str(tmp_path),
        "run": {"lr": 0.5, "clip": 2.0, "epochs": 9, "batch_size": 8},
        "masked": {"depth": 3, "width": 32},
    }


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        (("--iterations", 5), {"iterations": 5, "epochs": None}),
        (("--epochs", 5), {"epochs": 5, "iterations": None}),
    ],
)
def test_configuration_of__one_length_takes_the_place_of_the_other(
    tmp_path: Path, option: tuple[object, ...], expected: dict[str, Any]
) -> None:
    found, _ = configuration_of(parsed(tmp_path, *option), "masked", {})
    assert found["run"] == expected


def test_configuration_of__keeps_a_hub_id_and_makes_paths_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    assert configuration_of(parsed("photos"), "masked", {})[0]["data"] == str(tmp_path / "photos")
    assert configuration_of(parsed("someone/photos"), "masked", {})[0]["data"] == "someone/photos"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"stage": "tokenizer"}', "stage 'masked' is expected, not 'tokenizer'"),
        ("[", "JSON is expected"),
        ("[]", "JSON object"),
    ],
)
def test_configuration_of__refuses_other_files(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(SettingsError, match=message):
        configuration_of(parsed(tmp_path, "--config", tmp_path / "c.json"), "masked", {})


def test_is_pretraining_run__tells_them_from_runs_of_fine_tuning(tmp_path: Path) -> None:
    assert not is_pretraining_run(tmp_path)
    (tmp_path / "configuration.json").write_text('{"task": "image-classification"}')
    assert not is_pretraining_run(tmp_path)
    (tmp_path / "configuration.json").write_text('{"stage": "masked"}')
    assert is_pretraining_run(tmp_path)


def test_resume__goes_on_with_a_longer_run_and_tells_the_gate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = draw_pictures(tmp_path / "pictures", 24)
    sizes = {"image_size": [32, 32], "patch_size": 8, "width": 32, "num_heads": 2, "mlp_hidden": 64, "encoder_depth": 1,
        "decoder_depth": 1, "codebook": {"num_codes": 16, "code_width": 8}}  # fmt: skip
    run = {"batch_size": 4, "workers": 0, "device": "cpu", "precision": "fp32", "lr": 1e-4}
    (tmp_path / "c.json").write_text(
        json.dumps({"_about": "tiny", "stage": "tokenizer", "teacher": "embedded", "tokenizer": sizes, "run": run})
    )
    out = tmp_path / "run"
    words = ["tokenizer", str(pictures), "--out", str(out), "--config", str(tmp_path / "c.json"), "--epochs", "1"]
    assert main(words) == GATE_SAYS_STOP
    assert "Gate" in capsys.readouterr().out
    assert main([*words]) == 2, "the folder holds a run already"
    assert "beit resume" in capsys.readouterr().err
    assert main(["resume", str(out), "--set", "run.epochs=2"]) == GATE_SAYS_STOP
    record = json.loads((out / "run.json").read_text())
    assert [entry["iterations"] for entry in record["checkpoints"]] == [5, 10]
    assert record["is_finished"] is True
    assert main(["resume", str(out), "--dry-run"]) == 2
