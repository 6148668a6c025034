"""`beit predict --engine ray` on a Ray whose workers are killed: killed_ray_workers.py OUT ARGUMENTS...

Kills a worker when there is the first row, and another one after it. Prints the status, and how many were killed, among
what Ray prints.
"""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import ray

from modelscope_beit.__main__ import main
from modelscope_beit.prediction.growing_table import partial_path


def workers() -> set[int]:
    """The processes that classify; Ray gives them this name. Linux."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cmdline").read_bytes().startswith(b"ray::MapWorker") and is_of_this_test(process):
                found.add(int(process.name))
        except OSError:
            continue  # It has ended.
    return found


def is_of_this_test(process: Path) -> bool:
    return f"KILLED_RAY={os.getpid()}".encode() in (process / "environ").read_bytes().split(b"\0")


def kill_two(out: Path, killed: list[int]) -> None:
    """Kills a worker soon after the first row, and a second one soon after the first has died."""
    partial = partial_path(out)
    while len(killed) < 2:
        time.sleep(0.05)
        is_begun = partial.exists() and partial.read_bytes().count(b"\n") > 1
        for worker in sorted(workers() - set(killed))[:1] if is_begun else ():
            os.kill(worker, signal.SIGKILL)
            killed.append(worker)


def run(out: Path, arguments: list[str]) -> None:
    os.environ["KILLED_RAY"] = str(os.getpid())
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    killed: list[int] = []
    threading.Thread(target=kill_two, args=(out, killed), daemon=True).start()
    print(f"status {main(arguments)}, {len(killed)} killed")
    ray.shutdown()


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2:])
