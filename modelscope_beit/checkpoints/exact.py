"""Weights for a network whose names they have already: nothing is recognised, renamed or resized. torch only."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from modelscope_beit.checkpoints.files import read_weights
from modelscope_beit.errors import CheckpointError

_NUM_KEYS_SHOWN = 8
# What a loss of mmcls counts while it trains (SeesawLoss): no weight, and not there before training.
_LOSS_PREFIX = "head.compute_loss."


@dataclass(frozen=True)
class ExactlyLoaded:
    """What load_exactly did; num_mapped: keys of the file that were used, initialised: of the network, left alone."""

    num_mapped: int
    initialised: tuple[str, ...]


def load_exactly(network: nn.Module, path: str | os.PathLike[str], *, new_head: str | None = None) -> ExactlyLoaded:
    """Copies the weights of a file into a network.

    new_head: how the names of the head begin, if it keeps the values that it has where the file lacks it, or has it
        for another number of classes. None: it has to be there.
    Raises CheckpointError with three lists (missing, unexpected, wrongly shaped) if anything else is left over.
    """
    expected = network.state_dict()
    found = {key: tensor for key, tensor in read_weights(path).tensors.items() if _is_wanted(key, tensor, expected)}
    # A loss that has not counted yet begins with what it has.
    expected = {key: tensor for key, tensor in expected.items() if key in found or not key.startswith(_LOSS_PREFIX)}
    if new_head is not None:
        # Only as a whole: half an old head under half a new one would be neither.
        own = {key for key in expected if key.startswith(new_head)}
        if any(key not in found or found[key].shape != expected[key].shape for key in own):
            found = {key: tensor for key, tensor in found.items() if not key.startswith(new_head)}
            expected = {key: tensor for key, tensor in expected.items() if key not in own}
    missing = [key for key in expected if key not in found]
    unexpected = [key for key in found if key not in expected]
    wrongly_shaped = [
        f"{key} is {tuple(found[key].shape)}, expected {tuple(tensor.shape)}"
        for key, tensor in expected.items()
        if key in found and found[key].shape != tensor.shape
    ]
    if missing or unexpected or wrongly_shaped:
        raise CheckpointError(
            f"{path}: the weights do not fit the network that the configuration describes:"
            f"\n- missing: {_listed(missing)}"
            f"\n- unexpected: {_listed(unexpected)}"
            f"\n- wrongly shaped: {_listed(wrongly_shaped)}"
        )
    network.load_state_dict(found, strict=False)
    initialised = [key for key in network.state_dict() if key not in found and not key.startswith(_LOSS_PREFIX)]
    return ExactlyLoaded(len(found), tuple(initialised))


def _is_wanted(key: str, tensor: Tensor, expected: Mapping[str, Tensor]) -> bool:
    """Tells whether a tensor of a file counts: not if it is of a loss that the network has not, or of other classes."""
    return not key.startswith(_LOSS_PREFIX) or (key in expected and tensor.shape == expected[key].shape)


def _listed(names: list[str]) -> str:
    more = len(names) - _NUM_KEYS_SHOWN
    return (", ".join(names[:_NUM_KEYS_SHOWN]) or "none") + (f" and {more} more" if more > 0 else "")
