"""What `beit predict` refuses before it begins, and what it says at the end, of runs that went on and of shares."""

import argparse
from pathlib import Path
from typing import Any

import pytest

from modelscope_beit.__main__ import main
from modelscope_beit.commands.predict_output import check_output, is_nothing_left, open_output
from modelscope_beit.errors import SettingsError
from modelscope_beit.prediction.shards import Shard
from modelscope_beit.prediction.stream import Prediction

GOOD, BAD = Prediction("a.jpg", ("cat",), (0.5,)), Prediction("b.jpg", error="is empty")


def options(**changes: Any) -> argparse.Namespace:
    given = {"sources": ["photos"], "topk": 1, "batch_size": 1, "workers": 1, "out": None, "draw": None, "json": False}
    given |= {"precision": "fp32", "backend": "torch", "calibration": ""}
    return argparse.Namespace(**(given | {"resume": False, "engine": "local", "fast_decode": False} | changes))


@pytest.mark.parametrize(
    ("changes", "count", "expected"),
    [
        ({"topk": 0, "batch_size": -1, "workers": 0}, 1, ["--topk must", "--batch-size must", "not -1", "--workers"]),
        ({"resume": True}, 1, ["--resume needs --out"]),
        ({"resume": True, "out": Path("x.csv"), "draw": Path("x")}, 1, ["--draw cannot be resumed"]),
        (
            {"sources": ["-"], "draw": Path("x")},
            2,
            ["2 processes (WORLD_SIZE) need --out", "cannot --draw", "standard"],
        ),
        ({"engine": "ray", "out": Path("x.csv")}, 2, ["cannot each use Ray"]),
        ({"engine": "ray"}, 1, ["--engine ray needs --out"]),
        ({"engine": "ray", "out": Path("x.csv"), "json": True}, 1, ["cannot --json"]),
        ({"out": Path("x.xlsx")}, 1, ["must end in .csv"]),
    ],
)
def test_check_output__names_all_problems(changes: dict[str, Any], count: int, expected: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        check_output(options(**changes), Shard(0, count))
    assert [part for part in expected if part not in str(caught.value)] == []


def test_is_nothing_left__only_of_a_table_that_is_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "preds.csv"
    assert not is_nothing_left(options(out=out, resume=True))
    out.touch()
    assert not is_nothing_left(options(out=out))
    assert capsys.readouterr().err == ""
    assert is_nothing_left(options(out=out, resume=True))
    assert "nothing is left to do" in capsys.readouterr().err


def predict(out: Path, model: Path, found: list[Prediction], shard: Shard = Shard(), **changes: Any) -> bool:  # noqa: B008
    sources = iter([prediction.source for prediction in found])
    with open_output(options(out=out, **changes), shard, model) as output:
        left = list(output.remaining(sources))
        output.show([prediction for prediction in found if prediction.source in left], is_long=True)
    return output.has_failed


def test_open_output__counts_what_an_earlier_run_has_found(
    tmp_path: Path, tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "preds.csv"
    with pytest.raises(KeyboardInterrupt), open_output(options(out=out), Shard(), tiny_model_folder) as output:
        output.show([BAD], is_long=True)
        raise KeyboardInterrupt
    stopped = capsys.readouterr().err
    assert (
        "the first 1 pictures" in stopped and f"{tmp_path / 'preds.partial.csv'}; go on by adding --resume" in stopped
    )
    assert predict(out, tiny_model_folder, [BAD, GOOD], resume=True), "the failure was that of the earlier run"
    told = capsys.readouterr().err
    assert told.startswith("1 pictures in ") and ", after 1 of an earlier run: " in told
    assert "1 of 2 pictures could not be classified" in told and "and 1 more; each has the reason in its row" in told


def test_open_output__goes_on_only_with_the_same_model(tmp_path: Path, tiny_model_folder: Path) -> None:
    out = tmp_path / "preds.csv"
    with pytest.raises(KeyboardInterrupt), open_output(options(out=out), Shard(), tiny_model_folder):
        raise KeyboardInterrupt
    (tiny_model_folder / "configuration.json").write_text("{}")
    with pytest.raises(SettingsError, match=r"MODEL was sha256:\w{64} and is sha256:\w{64}; --topk was 1 and is 2\."):
        predict(out, tiny_model_folder, [GOOD], resume=True, topk=2)
    with pytest.raises(
        SettingsError, match="--fast-decode was False and is True; --precision was fp32 and is int8; --b"
    ):
        predict(
            out, tiny_model_folder, [], resume=True, fast_decode=True, precision="int8", backend="x", calibration="y"
        )


def test_open_output__only_the_last_process_says_that_pictures_have_failed(
    tmp_path: Path, tiny_model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "preds.csv"
    assert not predict(out, tiny_model_folder, [BAD], Shard(0, 2))
    assert f"the share of process 0 of 2 in {out}" in capsys.readouterr().err
    assert predict(out, tiny_model_folder, [GOOD], Shard(1, 2))
    told = capsys.readouterr().err
    assert f"All 2 pictures: {out}" in told and "1 of 2 pictures could not be classified" in told


def test_predict__with_resume_and_a_whole_table_does_nothing(
    tiny_model_folder: Path, ten_images: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["predict", str(tiny_model_folder), *map(str, ten_images), "--out", str(tmp_path / "preds.jsonl")]
    assert main([*arguments, "--resume"]) == 0
    written = (tmp_path / "preds.jsonl").stat().st_mtime_ns
    capsys.readouterr()
    assert main([*arguments, "--resume"]) == 0
    assert "nothing is left to do" in capsys.readouterr().err
    assert (tmp_path / "preds.jsonl").stat().st_mtime_ns == written
