"""Lines and the progress bar, on a real pseudo-terminal and on a pipe."""

import os
import re
import subprocess
import sys
import time

import pytest

from modelscope_beit.training.terminal import Terminal

PROGRAM = """
import sys, time
from modelscope_beit.training.terminal import Terminal
terminal = Terminal(100)
terminal.line("before [bold]the[/bold] :smile: bar 中文 " + "x" * 150)
for iterations in (1, 25, 100):
    if terminal.is_due() or iterations == 1:
        terminal.advance(iterations, f"Epoch {iterations}", "loss 0.5000  12.0 images/s", 3661.7)
    terminal.line(f"after {iterations}")
    time.sleep(0.3)
sys.stdout.write("result\\n")
terminal.close()
terminal.close()
terminal.line("at the end")
"""


def on_a_terminal(program: str) -> tuple[str, str]:
    """Returns what a program writes to a terminal as its stderr, and to a pipe as its stdout."""
    pty = pytest.importorskip("pty", reason="there are no pseudo-terminals on this system")
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(
        [sys.executable, "-c", program], stderr=theirs, stdout=subprocess.PIPE, text=True, env=environment
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # How Linux tells that the other side is closed.
            break
        if not part:
            break
        shown += part
    os.close(ours)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, shown.decode()
    return shown.decode(), output


def plain(shown: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)


def test_terminal__draws_the_bar_below_the_lines():
    shown, output = on_a_terminal(PROGRAM)
    text = plain(shown)
    for part in ("Epoch 1 ", "Epoch 25 ", "Epoch 100 ", "loss 0.5000  12.0 images/s  1:01:01 left"):
        assert part in text
    # Nothing of a line is taken for markup or cut, and it stands before the bar that follows it.
    assert "before [bold]the[/bold] :smile: bar 中文 " + "x" * 150 in text.replace("\r\n", "")
    assert text.index("after 1") < text.index("Epoch 25")
    assert output == "result\n"


def test_terminal__leaves_the_screen_as_it_was():
    shown, _ = on_a_terminal(PROGRAM)
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l"), "the cursor is still hidden"
    assert "images/s" not in plain(shown[shown.rindex("\x1b[?25h") :])
    assert plain(shown).rstrip().endswith("at the end")


def test_terminal__on_a_pipe_there_are_lines_only():
    finished = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert finished.stdout == "result\n"
    lines = finished.stderr.splitlines()
    assert lines[1:] == ["after 1", "after 25", "after 100", "at the end"]
    assert lines[0].startswith("before [bold]the[/bold] :smile: bar 中文 xxx")


def test_terminal__a_line_is_seen_at_once():
    program = (
        "import sys, time; from modelscope_beit.training.terminal import Terminal\n"
        "Terminal(1).line('now'); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stderr=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "now\n"
    process.communicate("", timeout=60)


def test_is_due__asks_for_four_drawings_a_second(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    terminal = Terminal(1000)
    drawn = 0
    for _ in range(1000):
        now[0] += 0.01
        if terminal.is_due():
            terminal.advance(1, "", "", 0.0)
            drawn += 1
    terminal.close()
    assert 38 <= drawn <= 41
