"""Errors of one process, of two that torchrun has started, and of one that is told to end."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import helpers
from modelscope_beit.training import telling
from modelscope_beit.training.telling import has_to_tell


@pytest.fixture
def as_rank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Makes this process one of those that torchrun has started."""
    monkeypatch.setattr(telling, "_PATIENCE_SECONDS", 0.1)
    (tmp_path / "attempt_0").mkdir()

    def become(rank: int) -> None:
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "attempt_0" / str(rank) / "error.json"))

    return become


def test_has_to_tell__alone_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_ERROR_FILE", raising=False)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert has_to_tell("wrong") and has_to_tell("wrong")


def test_has_to_tell__the_first_process_speaks_for_all(as_rank: Callable[[int], None]) -> None:
    spoke = []
    for rank in (0, 1, 2):
        as_rank(rank)
        spoke.append(has_to_tell("wrong: \udcff"))
    assert spoke == [True, False, False]


def test_has_to_tell__the_first_process_does_even_if_another_did(as_rank: Callable[[int], None]) -> None:
    """Its output is always shown, that of the others not, with torchrun's --local-ranks-filter."""
    as_rank(1)
    assert has_to_tell("wrong")
    as_rank(0)
    assert has_to_tell("wrong")


def test_has_to_tell__what_the_first_process_does_not_have(as_rank: Callable[[int], None]) -> None:
    spoke = []
    for rank, text in ((0, "wrong"), (1, "something else"), (2, "something else")):
        as_rank(rank)
        spoke.append(has_to_tell(text))
    assert spoke == [True, True, False]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM between processes")
def test_has_to_tell__before_torchrun_ends_the_process(
    as_rank: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telling, "_PATIENCE_SECONDS", 60.0)
    as_rank(1)
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
    start = time.monotonic()
    assert has_to_tell("wrong here only")
    assert time.monotonic() - start < 10


def test_has_to_tell__where_no_mark_can_be_left(as_rank: Callable[[int], None], tmp_path: Path) -> None:
    (tmp_path / "attempt_0").rmdir()
    for rank in (0, 1):
        as_rank(rank)
        assert has_to_tell("wrong")


# torchrun ends the second process as soon as the first has failed, so that waits until the second has come as far.
SCRIPT = """
import os, sys, time
from pathlib import Path
from modelscope_beit.__main__ import main
told = Path(sys.argv[1])
if os.environ["RANK"] == "1":
    main(["describe", "/nowhere/but_in_the_second"])
    told.touch()
while not told.exists():
    time.sleep(0.02)
sys.exit(main(["describe", "/nowhere/at_all"]))
"""


def test_has_to_tell__two_processes_of_torchrun(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    done = subprocess.run(
        [*command, str(tmp_path / "script.py"), str(tmp_path / "told")],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(helpers.ROOT), "OMP_NUM_THREADS": "1"},
        timeout=120,
    )
    assert done.returncode == 1, "torchrun's own answer to a failure"
    assert len(re.findall(r"^beit: .*/nowhere/at_all", done.stderr, re.MULTILINE)) == 1, done.stderr
    assert len(re.findall(r"^beit: .*/nowhere/but_in_the_second", done.stderr, re.MULTILINE)) == 1, done.stderr
    assert "exitcode  : 2" in done.stderr
