"""Opens folders of transformers' BeitForSemanticSegmentation, and gives weights to our network. torch only.

Their names in files are those of transformers 4, which 5 writes too; the names that 5 has in memory are read as well.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from modelscope_beit.checkpoints.files import file_digest, read_weights
from modelscope_beit.checkpoints.foreign_folders import CONFIG_FILE, read_json, read_transformers_folder
from modelscope_beit.checkpoints.image_processors import ProcessorRecipe
from modelscope_beit.checkpoints.key_tables import TRANSFORMERS_BEIT, TRANSFORMERS_BEIT_MEMORY, Theirs
from modelscope_beit.checkpoints.recognise import with_block_number, without_block_number
from modelscope_beit.errors import CheckpointError
from modelscope_beit.network.segmentation import SegmentationNetwork
from modelscope_beit.settings.preprocessing import Step
from modelscope_beit.settings.problems import Problems, Section
from modelscope_beit.settings.segmentation import SegmentationSettings, beit_backbone, read_numbers

ARCHITECTURE = "BeitForSemanticSegmentation"

# Our prefix -> theirs, of layers with a bias, and of convolutions with batch norm; `{}` is a number.
_BIASED = {"neck.up4_first": "fpn1.0", "neck.up4_last": "fpn1.3", "neck.up2": "fpn2.0"}
_BIASED_MEMORY = {
    "neck.up4_first": "fpn.fpn1.conv_transpose1",
    "neck.up4_last": "fpn.fpn1.conv_transpose2",
    "neck.up2": "fpn.fpn2",
}
_CONVOLUTIONS = {
    "head.pooled.{}": "decode_head.psp_modules.{}.1",
    "head.top": "decode_head.bottleneck",
    "head.lateral.{}": "decode_head.lateral_convs.{}",
    "head.smooth.{}": "decode_head.fpn_convs.{}",
    "head.fusion": "decode_head.fpn_bottleneck",
}
_CONVOLUTIONS_MEMORY = _CONVOLUTIONS | {
    "head.pooled.{}": "decode_head.psp_modules.blocks.{}.conv",
    "head.top": "decode_head.psp_bottleneck",
}
_BATCH_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
# Patterns of keys that the logits do not depend on. The auxiliary head is one for training.
_NOT_NEEDED = (
    "*relative_position_index",
    "beit.embeddings.mask_token",
    "beit.layernorm.*",
    "auxiliary_head.convs.*",
    "auxiliary_head.conv_cat.*",
    "auxiliary_head.classifier.*",
)
# A key that only a file with the names of memory has.
_MEMORY_MARK = "fpn.fpn2.weight"
_NUM_KEYS_SHOWN = 12


@dataclass(frozen=True)
class SegmentationSource:
    """A folder of transformers, opened.

    weights: the file, or the index of several. tensors: complete, under our names. class_names: None where they are
    only numbered. preprocessing: what the folder's own processor does. mapped, dropped: keys of the file. title: one
    line for people. digest: of the weights.
    """

    path: Path
    weights: Path
    settings: SegmentationSettings
    tensors: dict[str, Tensor]
    class_names: tuple[str, ...] | None
    preprocessing: tuple[Step, ...]
    mapped: tuple[str, ...]
    dropped: tuple[str, ...]
    title: str
    digest: str


def is_transformers_segmentation(path: Path) -> bool:
    """Tells whether a folder is one of transformers with a BEiT for semantic segmentation."""
    if not (path / CONFIG_FILE).is_file():
        return False
    return ARCHITECTURE in (read_json(path / CONFIG_FILE).get("architectures") or ())


def open_segmentation_source(folder: Path) -> SegmentationSource:
    """Returns what a folder of transformers' BeitForSemanticSegmentation holds.

    Raises CheckpointError for files that are missing or do not fit each other, SettingsError that lists everything in
    config.json that our network cannot express, UntrustedCodeError for pickles with code.
    """
    settings = read_segmentation_config(read_json(folder / CONFIG_FILE), str(folder / CONFIG_FILE))
    beside = read_transformers_folder(folder)
    assert isinstance(beside.recipe, ProcessorRecipe), "a folder of transformers has a processor's recipe"
    file = read_weights(beside.weights)
    tensors, mapped, dropped = from_transformers(file.tensors, settings, str(beside.weights))
    return SegmentationSource(
        path=folder,
        weights=beside.weights,
        settings=settings,
        tensors=tensors,
        class_names=beside.class_names,
        preprocessing=beside.recipe.own_steps,
        mapped=mapped,
        dropped=dropped,
        title=f"transformers {ARCHITECTURE}",
        digest=file_digest(beside.weights),
    )


def read_segmentation_config(config: Mapping[str, Any], where: str) -> SegmentationSettings:
    """Returns the settings of the network that a config.json of transformers describes; absent keys have its defaults.

    where: the file, for messages. Raises SettingsError that lists every problem.
    """
    problems = Problems()
    root = Section(config, "", problems)
    patch, other_side = root.sides("patch_size", 16)
    image_size = root.sides("image_size", 224)
    per_layer, shared = (root.flag(f"use_{kind}relative_position_bias", False) for kind in ("", "shared_"))
    if patch != other_side:
        root.wrong("patch_size", "only square patches can be cut")
    if image_size[0] != image_size[1]:
        root.wrong("image_size", "only square pictures: transformers mixes up the sides of others' positions")
    if per_layer and shared:
        root.wrong("use_shared_relative_position_bias", "positions are shared or per layer here, not both")
    if root.get("hidden_act", "gelu") != "gelu":
        root.wrong("hidden_act", "only 'gelu' can be computed")
    # Files of transformers before 4.31 have the first name only.
    indices = "out_indices" if "out_indices" in config else "segmentation_indices"
    width, depth = root.integer("hidden_size", 768), root.integer("num_hidden_layers", 12)
    out_indices = read_numbers(root, indices)
    if not all(-depth - 1 <= index <= depth for index in out_indices):
        root.wrong(indices, f"numbers from 0 to num_hidden_layers, {depth}, are expected")
    values = {
        "image_size": image_size,
        "patch_size": patch,
        "in_channels": root.integer("num_channels", 3),
        "width": width,
        "depth": depth,
        "num_heads": root.integer("num_attention_heads", 12),
        "mlp_hidden": root.integer("intermediate_size", 3072),
        "relative_position": "per_layer" if per_layer else "shared" if shared else "none",
        "absolute_position": root.flag("use_absolute_position_embeddings", False),
        "layer_scale_init": root.number("layer_scale_init_value", 0.1) or None,
        "layer_norm_eps": root.number("layer_norm_eps", 1e-12),
    }
    pool_scales = read_numbers(root, "pool_scales") if "pool_scales" in config else (1, 2, 3, 6)
    problems.raise_if_any(where)
    # Their list of hidden states begins with what enters the first block, and they take number i - 1 of it.
    feature_blocks = tuple((index - 1) % (depth + 1) - 1 for index in out_indices)
    labels = config.get("id2label")
    num_classes = len(labels) if isinstance(labels, Mapping) else root.integer("num_labels", 2)
    return SegmentationSettings(beit_backbone(**values), feature_blocks, num_classes, width, pool_scales)


def from_transformers(
    tensors: Mapping[str, Tensor], settings: SegmentationSettings, where: str
) -> tuple[dict[str, Tensor], tuple[str, ...], tuple[str, ...]]:
    """Returns weights under our names, and the file's keys that went into them and those that are not needed.

    where: the file, for messages. Raises CheckpointError with three lists (missing, unexpected, of another shape).
    """
    table = _table(in_memory=_MEMORY_MARK in tensors)
    found: dict[str, Tensor] = {}
    missing, wrongly_shaped, mapped = [], [], []
    for ours, expected in _meta_network(settings).state_dict().items():
        theirs = _their_names(ours, table)
        absent = [key for key in theirs if key not in tensors]
        missing += absent
        mapped += [key for key in theirs if key in tensors]
        if absent:
            continue
        tensor = tensors[theirs[0]] if len(theirs) == 1 else torch.cat([tensors[key] for key in theirs])
        if tensor.shape == expected.shape:
            found[ours] = tensor.to(expected.dtype).contiguous()
        else:
            shapes = f"{tuple(tensor.shape)}, expected {tuple(expected.shape)}"
            wrongly_shaped.append(f"{' + '.join(theirs)} is {shapes}")
    used = set(mapped)
    left = [key for key in tensors if key not in used]
    dropped = [key for key in left if any(fnmatchcase(key, pattern) for pattern in _NOT_NEEDED)]
    unexpected = [key for key in left if key not in dropped]
    _refuse_misfits(where, missing, unexpected, wrongly_shaped)
    return found, tuple(mapped), tuple(dropped)


def segmentation_network_with(
    settings: SegmentationSettings, tensors: Mapping[str, Tensor], where: str
) -> SegmentationNetwork:
    """Returns a network in eval mode that uses these very tensors (our names) as its weights; no copy is made.

    where: the file that they come from, for messages. Raises CheckpointError with the same three lists.
    """
    network = _meta_network(settings)
    expected = network.state_dict()
    shapes = [
        f"{key} is {tuple(tensors[key].shape)}, expected {tuple(value.shape)}"
        for key, value in expected.items()
        if key in tensors and tensors[key].shape != value.shape
    ]
    _refuse_misfits(where, [*(expected.keys() - tensors.keys())], [*(tensors.keys() - expected.keys())], shapes)
    network.load_state_dict(dict(tensors), strict=True, assign=True)
    return network.eval()


def _meta_network(settings: SegmentationSettings) -> SegmentationNetwork:
    with torch.device("meta"):
        return SegmentationNetwork(settings)


def _table(*, in_memory: bool) -> dict[str, Theirs]:
    """Returns our pattern -> their name, or three of them whose rows stand one below the other in our weight."""
    backbone = TRANSFORMERS_BEIT_MEMORY if in_memory else TRANSFORMERS_BEIT
    table = {ours: theirs for ours, theirs in backbone.names.items() if ours.startswith("backbone.")}
    biased = (_BIASED_MEMORY if in_memory else _BIASED) | {"head.classifier": "decode_head.classifier"}
    for ours, theirs in biased.items():
        table |= {f"{ours}.{kind}": f"{theirs}.{kind}" for kind in ("weight", "bias")}
    kernel, norm = ("convolution", "normalization") if in_memory else ("conv", "bn")
    for ours, theirs in (_CONVOLUTIONS_MEMORY if in_memory else _CONVOLUTIONS).items():
        table[f"{ours}.kernel.weight"] = f"{theirs}.{kernel}.weight"
        table |= {f"{ours}.norm.{kind}": f"{theirs}.{norm}.{kind}" for kind in _BATCH_NORM}
    up4_norm = "fpn.fpn1.normalization" if in_memory else "fpn1.1"
    return table | {f"neck.up4_norm.{kind}": f"{up4_norm}.{kind}" for kind in _BATCH_NORM}


def _their_names(ours: str, table: Mapping[str, Theirs]) -> tuple[str, ...]:
    pattern, number = without_block_number(ours)
    theirs = table[pattern]
    return tuple(with_block_number(part, number) for part in ((theirs,) if isinstance(theirs, str) else theirs))


def _refuse_misfits(where: str, missing: list[str], unexpected: list[str], wrongly_shaped: list[str]) -> None:
    if missing or unexpected or wrongly_shaped:
        raise CheckpointError(
            f"The weights in {where} do not fit the segmentation network that stands in the configuration beside them:"
            f"\n- missing: {_listed(sorted(missing))}"
            f"\n- unexpected: {_listed(sorted(unexpected))}"
            f"\n- of another shape: {_listed(wrongly_shaped)}"
        )


def _listed(keys: list[str]) -> str:
    more = len(keys) - _NUM_KEYS_SHOWN
    return (", ".join(keys[:_NUM_KEYS_SHOWN]) or "none") + (f" and {more} more" if more > 0 else "")
