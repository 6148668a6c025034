"""Tensors that FSDP has divided among processes (DTensor) -> whole ones, as files hold them, and back."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def whole(value: Tensor) -> Tensor:
    """Returns a tensor put together from the parts of all processes, if it is divided; all of them have to call it."""
    full: Tensor = value.detach().full_tensor() if _is_divided(value) else value  # type: ignore[attr-defined]
    return full


def whole_values(values: Mapping[str, Any], *, keep: bool) -> dict[str, Any]:
    """Returns the values with divided tensors put together in main memory; whatever else there is stays as it is.

    Every process has to call it with the same names in the same order. keep: False in a process that only helps; it
    gets no tensor that was divided.
    """
    together: dict[str, Any] = {}
    for name, value in values.items():
        if not _is_divided(value):
            together[name] = value
            continue
        # One after the other: a GPU never holds two of them.
        full = whole(value)
        if keep:
            together[name] = full.cpu()
    return together


def divided_like(value: Tensor, parameter: Tensor) -> Tensor:
    """Returns this process's part of a whole tensor if the parameter is divided, else the tensor as it is.

    Every process has to call it with the same tensor.
    """
    if not _is_divided(parameter) or value.shape != parameter.shape:
        return value
    # Deferred: it takes half a second to import, and runs without FSDP never need it.
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(parameter, DTensor), "nothing else is divided"
    return distribute_tensor(value.to(parameter.device), parameter.device_mesh, parameter.placements)


def _is_divided(value: object) -> bool:
    return hasattr(value, "full_tensor")
