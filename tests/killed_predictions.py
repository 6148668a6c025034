"""`beit predict --resume`, killed at random moments: killed_predictions.py TIMES OUT ARGUMENTS...

Each run is forked, so that torch is imported once, and dies by SIGKILL some rows after it has begun to write. The last
one may end. Prints the status of that and, a line each, the rows that there were after each death.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

import torch  # noqa: F401

import modelscope_beit.model_folder.opening
import modelscope_beit.prediction.stream  # noqa: F401
from modelscope_beit.__main__ import main
from modelscope_beit.prediction.growing_table import partial_path


def begin(arguments: list[str]) -> int:
    """Forks a run and returns its number."""
    child = os.fork()
    if child == 0:
        os._exit(main(arguments))
    return child


def rows(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def kill(child: int, partial: Path, chance: random.Random) -> None:
    """Waits until there are some more rows and a little longer, and kills."""
    wanted = rows(partial) + chance.randint(1, 40)
    while rows(partial) < wanted:
        assert os.waitpid(child, os.WNOHANG) == (0, 0), "It ended before it could be killed."
    time.sleep(chance.uniform(0, 0.01))
    os.kill(child, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def run(times: int, out: Path, arguments: list[str]) -> None:
    """Kills so often, then lets a run end."""
    chance = random.Random(5)
    for _ in range(times):
        kill(begin(arguments), partial_path(out), chance)
        print(rows(partial_path(out)))
    print(os.waitstatus_to_exitcode(os.waitpid(begin(arguments), 0)[1]))


if __name__ == "__main__":
    run(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
