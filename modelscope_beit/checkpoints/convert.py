"""Turns a state dict of a known layout into ours and back, and reports every key. torch only."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from modelscope_beit.checkpoints.key_tables import Layout
from modelscope_beit.checkpoints.recognise import is_dropped, places, with_block_number, without_block_number
from modelscope_beit.errors import CheckpointError
from modelscope_beit.names import HEAD_PREFIX
from modelscope_beit.network.classifier import build_classifier, initialise_head
from modelscope_beit.network.head import ClassificationHead
from modelscope_beit.settings.model import ModelSettings

_SHARED_TABLE = "backbone.rel_pos_bias.relative_position_bias_table"
_LAYER_TABLE = "backbone.blocks.{}.attn.relative_position_bias_table"
_POOLING_NORM = "backbone.fc_norm."
_NUM_KEYS_SHOWN = 12


@dataclass(frozen=True)
class Renamed:
    """A state dict under our names, not yet compared with a network.

    origins: our key -> their keys that it came from. dropped, unexpected: their keys that have no place in ours,
    those known to be useless and the others.
    """

    layout: Layout
    tensors: dict[str, Tensor]
    origins: dict[str, tuple[str, ...]]
    dropped: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()


@dataclass(frozen=True)
class Conversion:
    """The weights of a whole classifier under our names, and what became of every key.

    mapped, dropped: their keys. initialised: our keys that were not in the file and got fresh values.
    """

    layout: Layout
    tensors: dict[str, Tensor]
    mapped: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    initialised: tuple[str, ...] = ()


@dataclass
class _Misfit:
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    wrongly_shaped: list[str] = field(default_factory=list)


def to_native(
    tensors: Mapping[str, Tensor], layout: Layout, settings: ModelSettings, *, new_head: bool = False
) -> Conversion:
    """Returns the weights under our names, complete for a network of these settings.

    new_head: a head that is missing or has another number of classes gets fresh values.
    Raises CheckpointError with three lists (missing, unexpected, wrongly shaped) if anything is left over.
    """
    return complete(rename(tensors, layout), settings, new_head=new_head)


def from_native(tensors: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """Returns our weights under their names; a masked-image layout has no place for a classifier.

    Raises CheckpointError that lists the keys that have no place in the layout.
    """
    if layout.pretraining and "lm_head.weight" not in tensors:
        raise CheckpointError(f"A classifier cannot be written as {layout.title} ({layout.name}); it has no such head.")
    found: dict[str, Tensor] = {}
    homeless = []
    for key, tensor in tensors.items():
        pattern, number = without_block_number(key)
        theirs = layout.names.get(pattern)
        if theirs is None:
            homeless.append(key)
        elif isinstance(theirs, str):
            found[with_block_number(theirs, number)] = tensor
        else:
            names = (with_block_number(part, number) for part in theirs)
            found |= dict(zip(names, tensor.chunk(len(theirs)), strict=True))
    if homeless:
        raise CheckpointError(f"{layout.title} ({layout.name}) has no place for {_listed(homeless)}.")
    return found


def rename(tensors: Mapping[str, Tensor], layout: Layout) -> Renamed:
    """Returns the tensors under our names; thirds of a query-key-value weight are put together."""
    found: dict[str, Tensor] = {}
    origins: dict[str, tuple[str, ...]] = {}
    thirds: dict[str, dict[int, str]] = {}
    dropped: list[str] = []
    unexpected: list[str] = []
    for key, tensor in tensors.items():
        pattern, number = without_block_number(key)
        place = places(layout.name).get(pattern)
        if place is None:
            (dropped if is_dropped(key, layout) else unexpected).append(key)
            continue
        ours = with_block_number(place[0], number)
        if place[1] is None:
            found[ours], origins[ours] = tensor, (key,)
        else:
            thirds.setdefault(ours, {})[place[1]] = key
    for ours, keys in thirds.items():
        if len(keys) == 3:
            origins[ours] = (keys[0], keys[1], keys[2])
            found[ours] = torch.cat([tensors[key] for key in origins[ours]])
        else:
            unexpected += keys.values()
    return Renamed(layout, found, origins, tuple(dropped), tuple(unexpected))


def complete(renamed: Renamed, settings: ModelSettings, *, new_head: bool = False) -> Conversion:
    """Returns what a network of these settings loads strictly; see to_native.

    The table that a masked-image model shares is copied to every block, its pooling norm starts at weight 1 and
    bias 0. Source: unilm/beit2 run_class_finetuning.py.
    """
    expected = {key: tensor.shape for key, tensor in build_classifier(settings, device="meta").state_dict().items()}
    tensors, origins = dict(renamed.tensors), dict(renamed.origins)
    if _SHARED_TABLE in tensors and settings.backbone.relative_position == "per_layer":
        table, origin = tensors.pop(_SHARED_TABLE), origins.pop(_SHARED_TABLE)
        for number in range(settings.backbone.depth):
            key = with_block_number(_LAYER_TABLE, str(number))
            tensors[key], origins[key] = table.clone(), origin
    dropped = list(renamed.dropped)
    for key in [key for key in tensors if key not in expected]:
        if all(is_dropped(theirs, renamed.layout) for theirs in origins[key]):
            dropped += origins.pop(key)
            del tensors[key]
    fresh = _fresh_weights(renamed.layout, tensors, expected, settings, new_head)
    check_fit(renamed, tensors | fresh, expected, origins)
    for key in fresh:
        origins.pop(key, None)
    mapped = dict.fromkeys(key for names in origins.values() for key in names)
    ordered = {key: fresh.get(key, tensors.get(key)) for key in expected}
    return Conversion(
        renamed.layout,
        {key: tensor for key, tensor in ordered.items() if tensor is not None},
        tuple(mapped),
        tuple(dropped),
        tuple(fresh),
    )


def _fresh_weights(
    layout: Layout,
    tensors: Mapping[str, Tensor],
    expected: Mapping[str, torch.Size],
    settings: ModelSettings,
    new_head: bool,
) -> dict[str, Tensor]:
    """Returns weights that may be absent: the pooling norm of some layouts, and a head that is asked for."""
    fresh: dict[str, Tensor] = {}
    may_lack_norm = layout.pretraining or layout.may_lack_pooling_norm
    for key, shape in expected.items():
        if may_lack_norm and key.startswith(_POOLING_NORM) and key not in tensors:
            fresh[key] = torch.ones(shape) if key.endswith(".weight") else torch.zeros(shape)
    # Weight and bias of a layer belong together; a hidden layer that fits stays.
    layers = {key.rpartition(".")[0] for key in _head_misfits(tensors, expected)}
    if new_head and layers:
        head = ClassificationHead(settings)
        initialise_head(head, settings.head_init_scale)
        values = {HEAD_PREFIX + name: tensor for name, tensor in head.state_dict().items()}
        fresh |= {key: tensor for key, tensor in values.items() if key.rpartition(".")[0] in layers}
    return fresh


def _head_misfits(tensors: Mapping[str, Tensor], expected: Mapping[str, torch.Size]) -> list[str]:
    """Returns the head's keys that are missing or have another shape."""
    keys = [key for key in expected if key.startswith(HEAD_PREFIX)]
    return [key for key in keys if key not in tensors or tensors[key].shape != expected[key]]


def check_fit(
    renamed: Renamed,
    tensors: Mapping[str, Tensor],
    expected: Mapping[str, torch.Size],
    origins: Mapping[str, tuple[str, ...]],
) -> None:
    """Raises CheckpointError with three lists (missing, unexpected, wrongly shaped) unless weights fit a network.

    tensors, origins: those of `renamed` as they are to be loaded. expected: the network's keys and shapes.
    """
    misfit = _Misfit(unexpected=list(renamed.unexpected))
    for key, shape in expected.items():
        if key not in tensors:
            misfit.missing.append(_their_name(key, renamed.layout))
        elif tensors[key].shape != shape:
            name = " + ".join(origins.get(key, (key,)))
            misfit.wrongly_shaped.append(f"{name} is {tuple(tensors[key].shape)}, expected {tuple(shape)}")
    misfit.unexpected += [name for key in tensors if key not in expected for name in origins[key]]
    if not (misfit.missing or misfit.unexpected or misfit.wrongly_shaped):
        return
    is_about_head = bool(_head_misfits(tensors, expected))
    advice = " For a fresh head for another set of classes, ask for new_head." if is_about_head else ""
    raise CheckpointError(
        f"The weights, recognised as {renamed.layout.title}, do not fit the network:"
        f"\n- missing: {_listed(misfit.missing)}"
        f"\n- unexpected: {_listed(misfit.unexpected)}"
        f"\n- wrongly shaped: {_listed(misfit.wrongly_shaped)}"
        f"\nCheck that the settings (size, patch, classes, positions) are those of the file.{advice}"
    )


def _their_name(key: str, layout: Layout) -> str:
    """Returns the name that the layout has for our key, ours if it has none."""
    pattern, number = without_block_number(key)
    theirs = layout.names.get(pattern, key)
    return " + ".join(with_block_number(part, number) for part in ([theirs] if isinstance(theirs, str) else theirs))


def _listed(names: list[str]) -> str:
    more = len(names) - _NUM_KEYS_SHOWN
    return (", ".join(names[:_NUM_KEYS_SHOWN]) or "none") + (f" and {more} more" if more > 0 else "")
