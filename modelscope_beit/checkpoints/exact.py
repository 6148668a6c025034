"""Weights for a network whose names they have already: nothing is recognised, renamed or resized. torch only."""

import os
from dataclasses import dataclass

from torch import nn

from modelscope_beit.checkpoints.files import read_weights
from modelscope_beit.errors import CheckpointError
from modelscope_beit.names import HEAD_PREFIX

_NUM_KEYS_SHOWN = 8


@dataclass(frozen=True)
class ExactlyLoaded:
    """What load_exactly did; num_mapped: keys of the file that were used, initialised: of the network, left alone."""

    num_mapped: int
    initialised: tuple[str, ...]


def load_exactly(network: nn.Module, path: str | os.PathLike[str], *, new_head: bool = False) -> ExactlyLoaded:
    """Copies the weights of a file into a network.

    new_head: a head that the file lacks, or has for another number of classes, keeps the values that it has.
    Raises CheckpointError with three lists (missing, unexpected, wrongly shaped) if anything else is left over.
    """
    found, expected = dict(read_weights(path).tensors), network.state_dict()
    if new_head:
        # Only as a whole: half an old head under half a new one would be neither.
        own = {key for key in expected if key.startswith(HEAD_PREFIX)}
        if any(key not in found or found[key].shape != expected[key].shape for key in own):
            found = {key: tensor for key, tensor in found.items() if not key.startswith(HEAD_PREFIX)}
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
    return ExactlyLoaded(len(found), tuple(key for key in network.state_dict() if key not in found))


def _listed(names: list[str]) -> str:
    more = len(names) - _NUM_KEYS_SHOWN
    return (", ".join(names[:_NUM_KEYS_SHOWN]) or "none") + (f" and {more} more" if more > 0 else "")
