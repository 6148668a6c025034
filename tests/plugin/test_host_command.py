"""`modelscope beit ...`, through the host's own kind of parser."""

import argparse
import sys

import pytest

from modelscope_beit.plugin.host_command import BeitCommand


@pytest.fixture(autouse=True)
def _words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", list(sys.argv))


def run(*words: str) -> None:
    parser = argparse.ArgumentParser(prog="modelscope")
    BeitCommand.register(parser.add_subparsers())
    arguments = parser.parse_args(["beit", *words])
    arguments._command(arguments).execute()


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (["describe", "--help"], 0, "beit describe"),
        (["describe", "embedded", "--json"], 0, "10"),
        (["nothing"], 2, "there is no verb nothing"),
    ],
)
def test_execute__leaves_all_words_to_our_own_parser(
    words: list[str], status: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(*words)
    captured = capsys.readouterr()
    assert ended.value.code == status
    assert says in captured.out + captured.err
