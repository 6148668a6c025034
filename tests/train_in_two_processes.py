"""Two processes that train together, in several ways: train_in_two_processes.py FOLDER.

They are forked, with what torchrun would tell them, so that torch is imported once. Each writes what it found to
FOLDER/RANK.json. Errors end runs, not processes: that is what is tested.
"""

import dataclasses
import json
import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import accelerate.state
import torch
from accelerate.utils import DistributedType
from torch.distributed.fsdp import FSDPModule

import helpers
import training_jobs
from modelscope_beit.data.hub_dataset import records_of
from modelscope_beit.errors import CheckpointError
from modelscope_beit.training import finetune as loop
from modelscope_beit.training import run as assembly
from modelscope_beit.training.losses import build_loss
from modelscope_beit.training.processes import Processes
from modelscope_beit.training.run_folder import RunFolder

# The status that the second process ends with.
DIED = 9
# Changes of `train`; an uneven last batch, and for validation one that the second process has no picture of.
RECIPES: dict[str, dict[str, Any]] = {
    "plain": {"workflow": [("train", 1), ("val", 1)]},
    "accumulating and clipping": {"optimizer_config": {"grad_clip": {"max_norm": 0.5}, "cumulative_iters": 2}},
    "stopping early": {"max_epochs": 3, "early_stopping": {"patience": 1, "min_delta": 100.0}},
}
TWICE = {"max_epochs": 2, "lr_config": {"policy": "fixed"}}


def without_chance(changes: Mapping[str, Any], *, batch_size: int) -> dict[str, Any]:
    """Returns a configuration without augmentation and drop path, of one epoch unless changes say otherwise."""
    loader = {"batch_size_per_gpu": batch_size, "workers_per_gpu": 0}
    content = training_jobs.configuration({"max_epochs": 1, "dataloader": loader, **changes}, drop_path=0.0)
    content["preprocessor"]["train"] = content["preprocessor"]["val"]
    return content


def train(work_dir: Path, changes: Mapping[str, Any], **fields: Any) -> None:
    """Trains the half of each batch."""
    work_dir.parent.mkdir(exist_ok=True)
    job = training_jobs.make_job(work_dir, without_chance(changes, batch_size=4))
    loop.finetune(dataclasses.replace(job, **fields))


def error_of(work: Callable[[], object]) -> list[str]:
    """Returns kind and message of the error that work raises."""
    try:
        work()
    except Exception as error:
        return [type(error).__name__, str(error)]
    return []


def train_equally(folder: Path) -> None:
    """Trains every recipe, and one of them in two parts."""
    for name, changes in RECIPES.items():
        train(folder / name, changes)
    train(folder / "whole", TWICE)
    train(folder / "parts", TWICE | {"max_epochs": 1})
    train(folder / "parts", TWICE | {"resume_from": str(folder / "parts" / "epoch_1.pth")})


def good_for_an_epoch(*arguments: Any, **options: Any) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Builds a loss that is infinite from its fourth batch on."""
    good, left = build_loss(*arguments, **options), iter(range(3))
    return lambda logits, targets: good(logits, targets) * (1.0 if next(left, None) is not None else float("inf"))


def fail(folder: Path, rank: int) -> dict[str, list[str]]:
    """Returns the errors of runs that one process cannot go on with."""
    rows = training_jobs.crops(22)
    rows[7]["image"] = {"bytes": b"no picture", "path": "broken.jpg"}
    broken = records_of(rows, class_names=training_jobs.CLASSES)
    errors = {"unreadable picture": error_of(lambda: train(folder / "unreadable", {}, train=broken))}

    build = assembly.build_loss
    if rank == 1:
        assembly.build_loss = good_for_an_epoch
    errors["infinite loss"] = error_of(lambda: train(folder / "infinite", TWICE))
    assembly.build_loss = build

    def no_space(*arguments: object, **options: object) -> None:
        raise CheckpointError("No space left on device")

    save, RunFolder.save = RunFolder.save, no_space  # type: ignore[assignment,method-assign]
    errors["full disk"] = error_of(lambda: train(folder / "full", {}))
    RunFolder.save = save  # type: ignore[method-assign]

    def divide() -> None:
        with Processes(2).together():
            1 / (1 - rank)

    errors["somebody else's error"] = error_of(divide)
    return errors


def train_divided(folder: Path) -> dict[str, Any]:
    """Does it again with FSDP, and returns what a process kept of the network.

    Accelerate divides networks on GPUs only (AcceleratorState.__init__); so it has to take these processes for such.
    """
    begin = accelerate.state.PartialState.__init__

    def begin_with_gpus(self: Any, *arguments: Any, **options: Any) -> None:
        begin(self, *arguments, **options)
        self._shared_state["distributed_type"] = DistributedType.MULTI_GPU

    accelerate.state.PartialState.__init__ = begin_with_gpus
    # What `accelerate launch --use_fsdp` without further options tells its processes.
    os.environ.update(ACCELERATE_USE_FSDP="true", FSDP_VERSION="1", FSDP_RESHARD_AFTER_FORWARD="full_shard")
    kept: dict[str, Any] = {}
    prepare: Any = assembly.prepare_network

    def prepare_and_look(*arguments: Any) -> Any:
        network, optimizer = prepare(*arguments)
        kept["divided blocks"] = sum(isinstance(module, FSDPModule) for module in network.backbone.blocks)
        kept["numbers"] = sum(weight.to_local().numel() for weight in network.parameters())
        kept["all numbers"] = sum(weight.numel() for weight in network.parameters())
        return network, optimizer

    assembly.prepare_network = prepare_and_look  # type: ignore[assignment]
    train_equally(folder)
    train(folder / "narrow", RECIPES["plain"] | {"precision": "bf16"})
    kept["average"] = error_of(lambda: train(folder / "average", {"custom_hooks": [{"type": "EMAHook"}]}))
    return kept


def die(folder: Path, rank: int) -> None:
    """Lets the second process end without a word as it reads, and writes what the first one makes of it."""
    died, read = folder / "died", loop.training_batches

    def read_or_die(*arguments: Any, **options: Any) -> Any:
        if rank == 1:
            died.write_text(str(time.time()))
            os._exit(DIED)
        return read(*arguments, **options)

    loop.training_batches = read_or_die
    error = error_of(lambda: train(folder / "death", {}))
    told = {"error": error, "seconds": time.time() - float(died.read_text())}
    (folder / "death.json").write_text(json.dumps(told))


def work(folder: Path, rank: int, port: int) -> None:
    """Trains in every way and writes what this process found."""
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", LOCAL_WORLD_SIZE="2")
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    train_equally(folder / "two")
    found = {"errors": fail(folder / "errors", rank), "divided": train_divided(folder / "divided")}
    (folder / f"{rank}.json").write_text(json.dumps(found))
    die(folder, rank)


def main(folder: Path) -> int:
    """Forks both processes and returns DIED if all went as it should."""
    helpers.photographs()
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
