"""Everything that a run needs to go on as if it had never stopped: into one file, and back out of it.

The file is one of mm's: {"meta", "state_dict", "optimizer"}, with what mm does not keep under "training". It holds
tensors and plain values only, so that reading it never runs code.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn

from modelscope_beit.checkpoints.files import write_atomically
from modelscope_beit.checkpoints.pickled import read_pickled
from modelscope_beit.errors import CheckpointError
from modelscope_beit.training.ema import WeightAverage
from modelscope_beit.training.sharded_state import divided_like, whole_values

# What a checkpoint of ours has under "training"; a file of mmcv has nothing there.
_FORMAT = 1


@dataclass
class Progress:
    """How far a run has come.

    iterations: completed ones, over all epochs. chunks: pieces that a batch is computed in, more than one after
    memory ran out. best: the best validation result so far (key, score, epoch, iteration, file), empty if none.
    improvement, fruitless: for early stopping; the last result that was an improvement, and evaluations since then.
    """

    iterations: int = 0
    chunks: int = 1
    best: dict[str, Any] = field(default_factory=dict)
    improvement: float | None = None
    fruitless: int = 0


def capture(
    accelerator: Accelerator,
    network: nn.Module,
    optimizer: Any,
    average: WeightAverage | None,
    progress: Progress,
    loss: object = None,
) -> dict[str, Any]:
    """Returns the state of a run; every process has to call it, and the first one's is to be written.

    loss: a function of logits and targets; what it has counted is kept if it is an nn.Module.

    "state_dict" holds the weights that are to be used: the average, if there is one; those that are trained are then
    under "training".
    """
    keep = accelerator.is_main_process
    weights = whole_values(accelerator.unwrap_model(network).state_dict(), keep=keep)
    training: dict[str, Any] = {
        "format": _FORMAT,
        "iterations": progress.iterations,
        "chunks": progress.chunks,
        "best": dict(progress.best),
        "improvement": progress.improvement,
        "fruitless": progress.fruitless,
        "world_size": accelerator.num_processes,
        "random": gather_object([_random_state()]),
        "scaler": accelerator.scaler.state_dict() if accelerator.scaler is not None else None,
    }
    if isinstance(loss, nn.Module):
        training["loss"] = {name: tensor.clone() for name, tensor in loss.state_dict().items()}
    if average is not None:
        training["trained_weights"] = weights
        with average.in_place_of_weights():
            weights = {name: tensor.clone() for name, tensor in accelerator.unwrap_model(network).state_dict().items()}
    return {"state_dict": weights, "optimizer": _optimizer_state(optimizer, keep=keep), "training": training}


def write_state(path: Path, state: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
    """Writes a captured state, all or nothing; raises CheckpointError if the disk refuses."""
    write_atomically(path, lambda beside: torch.save({"meta": dict(meta), **state}, beside))


def read_state(path: Path) -> dict[str, Any]:
    """Returns what write_state wrote, or a checkpoint of the stock trainer.

    Raises CheckpointError if the file is damaged or no training can go on from it, UntrustedCodeError if it is code.
    """
    if not path.is_file():
        raise CheckpointError(f"Expected a checkpoint at {path}, but there is no such file.")
    content = read_pickled(path)
    if not isinstance(content, Mapping) or "state_dict" not in content:
        raise CheckpointError(f"{path} is no checkpoint of a training run: it has no state_dict.")
    if "optimizer" not in content:
        raise CheckpointError(
            f"{path} holds weights but no optimizer, so a run cannot go on from it. Start a new run from its weights "
            f"with load_from={str(path)!r}, or resume from an epoch_N.pth."
        )
    return dict(content)


def restore(
    state: Mapping[str, Any],
    accelerator: Accelerator,
    network: nn.Module,
    optimizer: Any,
    average: WeightAverage | None,
    loss: object = None,
) -> Progress:
    """Puts a state that was read into a prepared network, optimizer and loss, and returns how far the run had come."""
    training = state.get("training", {})
    classifier = accelerator.unwrap_model(network)
    _load_weights(classifier, training.get("trained_weights", state["state_dict"]))
    if average is not None:
        average.load(state["state_dict"])
    _load_optimizer(classifier, optimizer, state["optimizer"])
    if isinstance(loss, nn.Module) and "loss" in training:
        loss.load_state_dict(training["loss"])
    if accelerator.scaler is not None and training.get("scaler"):
        accelerator.scaler.load_state_dict(training["scaler"])
    randoms = training.get("random", [])
    if len(randoms) == accelerator.num_processes:
        _set_random_state(randoms[accelerator.process_index])
    iterations = training.get("iterations", state.get("meta", {}).get("iter", 0))
    return Progress(
        int(iterations),
        int(training.get("chunks", 1)),
        dict(training.get("best", {})),
        training.get("improvement"),
        int(training.get("fruitless", 0)),
    )


def _load_weights(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    own = network.state_dict()
    if different := sorted(own.keys() ^ weights.keys()):
        raise CheckpointError(
            f"The checkpoint is of another network: one of them has no {', '.join(different[:5])}. Start a new run "
            "from its weights with load_from instead."
        )
    # Not strict: mmcls's SwinTransformerV2 passes over tables that it has computed already.
    network.load_state_dict({name: divided_like(weight, own[name]) for name, weight in weights.items()}, strict=False)


def _optimizer_state(optimizer: Any, *, keep: bool) -> dict[str, Any]:
    """Returns parameter name -> what the optimizer keeps for it, e.g. its moments."""
    bare = _bare(optimizer)
    kept = {}
    for group in bare.param_groups:
        for name, parameter in zip(group["names"], group["params"], strict=True):
            if parameter in bare.state:
                kept[name] = whole_values(bare.state[parameter], keep=keep)
    return {"state": kept}


def _load_optimizer(classifier: nn.Module, optimizer: Any, saved: Mapping[str, Any]) -> None:
    bare = _bare(optimizer)
    kept = saved["state"]
    if kept and not all(isinstance(name, str) for name in kept):
        kept = _named(kept, saved["param_groups"], classifier)
    for group in bare.param_groups:
        for name, parameter in zip(group["names"], group["params"], strict=True):
            if name in kept:
                bare.state[parameter] = {key: _beside(value, parameter) for key, value in kept[name].items()}


def _named(kept: Mapping[Any, Any], groups: list[Mapping[str, Any]], classifier: nn.Module) -> dict[str, Any]:
    """Gives a stock checkpoint's optimizer state names: mmcv numbers parameters in the order of the network."""
    numbers = [number for group in groups for number in group["params"]]
    trained = [name for name, _ in classifier.named_parameters()]
    if len(numbers) != len(trained):
        raise CheckpointError(
            f"The optimizer in the checkpoint has {len(numbers)} parameters, the network has {len(trained)}. "
            "Start a new run from its weights with load_from instead."
        )
    return {name: kept[number] for name, number in zip(trained, numbers, strict=True) if number in kept}


def _beside(value: Any, parameter: Tensor) -> Any:
    """Returns a saved moment on the device of its parameter; step counts stay where the optimizer wants them."""
    if not isinstance(value, Tensor):
        return value
    # A fused optimizer keeps its step count on the device, others on the processor; both accept this.
    value = divided_like(value, parameter)
    return (
        value.clone() if value.ndim == 0 and parameter.device.type == "cpu" else value.to(parameter.device, copy=True)
    )


def _bare(optimizer: Any) -> torch.optim.Optimizer:
    """Returns torch's optimizer out of Accelerate's wrapper."""
    bare: torch.optim.Optimizer = getattr(optimizer, "optimizer", optimizer)
    return bare


def _random_state() -> dict[str, Any]:
    kind, keys, position, has_gauss, gauss = np.random.get_state()
    version, words, next_gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        "numpy": [
            str(kind),
            torch.from_numpy(np.asarray(keys).astype(np.int64)),
            int(position),
            int(has_gauss),
            float(gauss),
        ],
        "python": [version, torch.tensor(words, dtype=torch.int64), next_gauss],
    }


def _set_random_state(state: Mapping[str, Any]) -> None:
    torch.set_rng_state(state["torch"].cpu())
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())
    kind, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    version, words, next_gauss = state["python"]
    random.setstate((version, tuple(words.tolist()), next_gauss))
