"""Facts on a terminal, in a pipe, with markup-like texts in them."""

import pytest

from modelscope_beit.commands.facts_view import print_facts


@pytest.fixture(autouse=True)
def _no_terminal_in_the_environment(monkeypatch):
    for name in ("COLUMNS", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)


def test_print_facts__texts_as_they_are(capsys):
    print_facts("[bold]heading", {"name": "[red]a[/red] :smile:", "other": "first\nsecond"})
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines == ["[bold]heading", "name   [red]a[/red] :smile:", "other  first", "       second"]


def test_print_facts__a_pipe_is_not_narrow_and_nothing_is_cut(capsys):
    digest = "sha256:" + "0123456789abcdef" * 4
    print_facts("x", {"digest": digest, "long": "y" * 300})
    out = capsys.readouterr().out
    assert digest in out
    assert out.count("y") == 300
