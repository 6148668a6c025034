"""The table as rich renders it, and the line for many."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from modelscope_beit.commands.prediction_view import PictureProgress, prediction_line, prediction_table
from modelscope_beit.prediction.stream import Prediction

FOX = Prediction("[bold]fox.jpg", ("red fox", "[red]中文", "cat"), (0.75, 0.2, 0.05))
BROKEN = Prediction("broken.jpg", error="is empty\n(0 bytes)")


def rendered(predictions: list[Prediction], width: int = 120) -> list[str]:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(prediction_table(predictions))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_prediction_table__has_the_best_class_first_and_the_others_beside_it() -> None:
    _, first, second = rendered([FOX])
    assert first.split() == ["[bold]fox.jpg", "red", "fox", "━" * 15, "75.0%", "20.0%", "[red]中文"]
    assert second.split() == ["5.0%", "cat"]


def test_prediction_table__has_the_reason_where_there_is_no_class() -> None:
    lines = rendered([BROKEN, FOX])
    assert lines[1].split() == ["broken.jpg", "is", "empty"] and lines[2].split() == ["(0", "bytes)"]


def test_prediction_table__cuts_nothing_when_it_is_narrow() -> None:
    wide = "".join("".join(rendered([FOX, BROKEN])).split())
    narrow = "".join("".join(rendered([FOX, BROKEN], width=70)).split())
    assert sorted(wide) == sorted(narrow)


def test_prediction_line__is_one_line_of_three_fields() -> None:
    assert prediction_line(FOX) == "[bold]fox.jpg\t75.0%\tred fox"
    assert prediction_line(BROKEN) == "broken.jpg\terror\tis empty (0 bytes)"


def test_picture_progress__shows_nothing_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with PictureProgress(count=lambda: 1) as progress:
        progress.advance()
        progress.print_line("a line")
    assert capsys.readouterr() == ("a line\n", "")


@pytest.mark.parametrize("is_shown", [True, False])
def test_picture_progress__is_shown_by_one_of_several_processes(
    is_shown: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with PictureProgress(count=lambda: 2, is_shown=is_shown) as progress:
        progress.advance()
    assert ("images/s" in capsys.readouterr().err) is is_shown


def test_prediction_table__an_unknown_picture_has_its_best_class_among_the_others() -> None:
    _, first, *others = rendered([replace(FOX, is_unknown=True)])
    # Once, and not as if "unknown" had that probability.
    assert first.split() == ["[bold]fox.jpg", "unknown", "75.0%", "red", "fox"]
    assert [line.split() for line in others] == [["20.0%", "[red]中文"], ["5.0%", "cat"]]


def test_prediction_line__of_an_unknown_picture() -> None:
    line = prediction_line(replace(FOX, is_unknown=True))
    assert line == "[bold]fox.jpg\t75.0%\tunknown, nearest: red fox"
    assert prediction_line(replace(FOX, is_unknown=False)) == prediction_line(FOX)
