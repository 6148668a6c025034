"""`beit predict` as a person runs it: a process of its own, real files, exit statuses, what lands where."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

import helpers
from modelscope_beit.__main__ import main
from modelscope_beit.images.reading import read_image
from modelscope_beit.model_folder.opening import open_model


def beit(*arguments: object, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "modelscope_beit", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=helpers.ROOT,
        timeout=120,
    )


def best_labels(folder: Path, paths: list[Path]) -> list[str]:
    """The best class of each picture, from the network itself."""
    model = open_model(folder)
    logits = [model.network(model.transform(read_image(path))[None]) for path in paths]
    return [helpers.TINY_CLASSES[int(row.argmax())] for row in logits]


def test_predict__shows_a_few_pictures_as_a_table(tiny_model_folder: Path, ten_images: list[Path]) -> None:
    done = beit("predict", tiny_model_folder, *ten_images[:2], "--topk", 2)
    assert (done.returncode, done.stderr) == (0, "")
    for label in best_labels(tiny_model_folder, ten_images[:2]):
        assert label.split(",")[0] in done.stdout
    assert "━" in done.stdout and "%" in done.stdout and "runners-up" in done.stdout


def test_predict__in_a_pipe_does_not_break_what_a_log_has_room_for(
    tiny_model_folder: Path, ten_images: list[Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    name = "a_name_of_forty_letters_0123456789abcdef.jpg"
    (ten_images[0].parent / name).write_bytes(ten_images[0].read_bytes())
    monkeypatch.chdir(ten_images[0].parent)
    assert main(["predict", str(tiny_model_folder), name, "--topk", "1"]) == 0
    assert name in capsys.readouterr().out


def test_predict__draws_what_it_says_of_each_picture(
    tiny_model_folder: Path, ten_images: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = tmp_path / "again" / ten_images[0].name
    again.parent.mkdir()
    again.write_bytes(ten_images[0].read_bytes())
    ten_images[1].write_bytes(b"no picture")
    before = [path.read_bytes() for path in (*ten_images, again)]
    folder = tmp_path / "drawn"
    sources = [str(ten_images[0].parent), str(again)]
    assert (
        main(["predict", str(tiny_model_folder), *sources, "--draw", str(folder), "--batch-size", "4", "--json"]) == 3
    )
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 11
    assert f"10 pictures drawn: {folder}" in printed.err and "1 of 11 pictures could not be" in printed.err
    stems = [f"{number:06d}_image_{number - 1}" for number in (1, *range(3, 11))] + ["000011_image_0"]
    assert sorted(path.stem for path in folder.iterdir()) == stems
    assert [path.read_bytes() for path in (*ten_images, again)] == before
    first, last = (np.asarray(Image.open(folder / f"{stems[place]}.jpg")) for place in (0, -1))
    assert (first == last).all(), "the same picture with the same label"


def test_predict__gives_a_broken_file_a_row_and_status_3(tiny_model_folder: Path, ten_images: list[Path]) -> None:
    ten_images[1].write_bytes(ten_images[1].read_bytes()[:500])
    done = beit("predict", tiny_model_folder, *ten_images[:3], "--json")
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 3
    assert [row["source"] for row in rows] == [str(path) for path in ten_images[:3]]
    assert [row["error"] is None for row in rows] == [True, False, True]
    assert [rows[0]["labels"][0], rows[2]["labels"][0]] == best_labels(
        tiny_model_folder, [ten_images[0], ten_images[2]]
    )
    assert "1 of 3 pictures could not be classified" in done.stderr and str(ten_images[1]) in done.stderr


def test_predict__reads_a_list_from_standard_input(tiny_model_folder: Path, ten_images: list[Path]) -> None:
    done = beit("predict", tiny_model_folder, "-", "--json", stdin="\n".join(map(str, ten_images)) + "\n")
    assert done.returncode == 0
    assert [json.loads(line)["source"] for line in done.stdout.splitlines()] == [str(path) for path in ten_images]


def test_predict__prints_a_line_each_for_many(
    tiny_model_folder: Path, ten_images: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    many = [str(path) for path in ten_images * 3]
    assert main(["predict", str(tiny_model_folder), *many]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows] == many
    assert [row[2] for row in rows[:10]] == best_labels(tiny_model_folder, ten_images)


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_predict__writes_a_table(
    tiny_model_folder: Path, ten_images: list[Path], tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / f"preds.{suffix}"
    folder = ten_images[0].parent
    (folder / "image_3.jpg").write_text("no picture")
    assert main(["predict", str(tiny_model_folder), str(folder), "--out", str(out), "--topk", "9"]) == 3
    if suffix == "csv":
        rows = list(csv.DictReader(out.open(encoding="utf-8", newline="")))
        assert "label_5" in rows[0] and "label_6" not in rows[0]
    elif suffix == "jsonl":
        rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    else:
        rows = pyarrow.parquet.read_table(out).to_pylist()
    assert [row["source"] for row in rows] == sorted(map(str, ten_images))
    assert [bool(row["error"]) for row in rows] == [place == 3 for place in range(10)]
    printed = capsys.readouterr()
    assert printed.out == "" and str(out) in printed.err and "images/s" in printed.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["MODEL", "nowhere.jpg"], "nowhere.jpg does not exist"),
        (["MODEL", "EMPTY"], "no picture"),
        (["MODEL", "PICTURE", "--out", "preds.xlsx"], ".csv or .jsonl or .parquet"),
        (["MODEL", "PICTURE", "--draw", "MODEL"], "not empty"),
        (["MODEL", "PICTURE", "--topk", "0"], "topk must be at least 1"),
        (["MODEL", "PICTURE", "--engine", "ray", "--precision", "auto"], "choose differently"),
        (["nothing/at all", "PICTURE"], "There is no model folder"),
    ],
)
def test_predict__tells_wrong_usage_before_it_begins(
    arguments: list[str],
    expected: str,
    tiny_model_folder: Path,
    ten_images: list[Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty").mkdir()
    real = {"MODEL": str(tiny_model_folder), "PICTURE": str(ten_images[0]), "EMPTY": str(tmp_path / "empty")}
    assert main(["predict", *(real.get(argument, argument) for argument in arguments)]) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and expected in printed.err


def test_predict__imports_no_modelscope_for_a_local_folder(tiny_model_folder: Path, ten_images: list[Path]) -> None:
    code = (
        "import sys; from modelscope_beit.__main__ import main\n"
        f"status = main(['predict', {str(tiny_model_folder)!r}, {str(ten_images[0])!r}, '--json'])\n"
        "print(status, [name for name in sys.modules if name.split('.')[0] in ('modelscope', 'mmcv', 'mmcls')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=helpers.ROOT)
    assert done.stdout.splitlines()[-1] == "0 []"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT between processes")
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_predict__keeps_what_was_written_when_interrupted(
    tiny_model_folder: Path, ten_images: list[Path], tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / f"preds.{suffix}"
    process = subprocess.Popen(
        [sys.executable, "-m", "modelscope_beit", "predict", str(tiny_model_folder), "-"]
        + ["--out", str(out), "--batch-size", "2", "--workers", "1", "--json"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=helpers.ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        # A shell lets its background jobs ignore the signal, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdin and process.stdout and process.stderr
    # The list never ends, so the run is still waiting for more when the signal comes.
    process.stdin.writelines(f"{path}\n" for path in ten_images * 3)
    process.stdin.flush()
    shown = [json.loads(process.stdout.readline())["source"] for _ in range(10)]
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    # Not communicate(): it would pass over what readline() has taken from the pipe already.
    shown += [json.loads(line)["source"] for line in process.stdout]
    errors = process.stderr.read()
    assert process.wait(timeout=60) == 130
    assert "Traceback" not in errors
    partial = tmp_path / {"csv": "preds.partial.csv", "parquet": "preds.partial.parquet.jsonl"}[suffix]
    assert str(partial) in errors and "Stopped" in errors and "--resume" in errors
    assert not out.exists()
    if suffix == "csv":
        sources = [row["source"] for row in csv.DictReader(partial.open(encoding="utf-8", newline=""))]
    else:
        sources = [json.loads(line)["source"] for line in partial.open(encoding="utf-8")]
    # The signal may fall between writing a row and printing it.
    assert sources[: len(shown)] == shown and len(sources) <= len(shown) + 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pseudo-terminals")
def test_predict__shows_progress_on_a_terminal_only_and_leaves_standard_output_alone(
    tiny_model_folder: Path, ten_images: list[Path]
) -> None:
    import pty

    terminal, end = pty.openpty()
    command = [sys.executable, "-m", "modelscope_beit", "predict", str(tiny_model_folder), str(ten_images[0].parent)]
    done = subprocess.run(
        [*command, "--json"], stdout=subprocess.PIPE, stderr=end, cwd=helpers.ROOT, env=os.environ | {"TERM": "xterm"}
    )
    os.close(end)
    shown = b""
    while chunk := _read(terminal):
        shown += chunk
    assert done.returncode == 0
    assert [json.loads(line)["source"] for line in done.stdout.splitlines()] == sorted(map(str, ten_images))
    assert b"images/s" in shown


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # The end of a pseudo-terminal, on Linux.
        return b""


def test_predict__says_how_far_off_fast_decoding_is(
    tiny_model_folder: Path, ten_images: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, pictures = tmp_path / "preds.csv", [str(path) for path in ten_images]
    assert main(["predict", str(tiny_model_folder), *pictures, "--fast-decode", "--out", str(out)]) == 0
    told = capsys.readouterr().err
    assert told.startswith("Fast decoding: in 10 pictures, values differ by 0.0") and "agreement" not in told
    assert len(out.read_text(encoding="utf-8").splitlines()) == 11
