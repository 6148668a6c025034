"""Two processes that train a network of mmcls together: train_mmcls_in_two_processes.py FOLDER.

Each has batch norm and a loss with a memory, which see other pictures than those of the other process. What they hold
when a checkpoint is written goes to FOLDER/RANK.json.
"""

import json
import multiprocessing
import os
import socket
import sys
from pathlib import Path
from typing import Any

import helpers
import mmcls_models
from modelscope_beit.openmmlab.installed import require_mmcls
from modelscope_beit.training import milestones
from modelscope_beit.training.finetune import finetune

NETWORK = mmcls_models.with_head({"loss": {"type": "SeesawLoss"}})


def work(folder: Path, rank: int, port: int) -> None:
    """Trains two epochs at once, and one after the other."""
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", LOCAL_WORLD_SIZE="2")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    held: list[dict[str, Any]] = []
    capture: Any = milestones.capture

    def capture_and_look(accelerator: Any, network: Any, *rest: Any) -> Any:
        held.append({name: buffer.tolist() for name, buffer in network.module.named_buffers()})
        return capture(accelerator, network, *rest)

    milestones.capture = capture_and_look
    for run, changes in {
        "whole": {"max_epochs": 2},
        "parts": {"max_epochs": 1},
        "parts again": {"max_epochs": 2, "resume_from": str(folder / "parts" / "epoch_1.pth")},
    }.items():
        finetune(mmcls_models.make_job(folder / run.split()[0], NETWORK, changes, num_train=14))
    (folder / f"{rank}.json").write_text(json.dumps(held))


def main(folder: Path) -> int:
    """Forks both processes and returns the worse of their statuses."""
    helpers.photographs()
    require_mmcls("for a test")
    mmcls_models.make_job(folder / "any", NETWORK)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=work, args=(folder, rank, port)) for rank in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    return max(abs(child.exitcode or 0) for child in children)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
