"""Sorts a network's parameters into groups of equal learning rate and weight decay. torch only.

Sources: mmcv 1.7.2, runner/optimizer/default_constructor.py; unilm/beit2 optim_factory.py; timm optim/_param_groups.py
and models/beit.py.
"""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from modelscope_beit.checkpoints.key_tables import MMCLS_VIT
from modelscope_beit.errors import SettingsError
from modelscope_beit.names import BACKBONE_PREFIX
from modelscope_beit.network.classifier import BeitClassifier
from modelscope_beit.settings.mm_backbone import is_vision_transformer
from modelscope_beit.settings.optimizer import OptimizerSettings
from modelscope_beit.settings.parameter_rules import CustomKey, DecayRules, LayerDecay, ParamwiseSettings

_NORMS = (_BatchNorm, _InstanceNorm, nn.GroupNorm, nn.LayerNorm)
_BLOCK_NUMBER = re.compile(r"(?<=blocks\.)\d+(?=\.)")
_TOKENS = ("cls_token", "dist_token", "mask_token", "pos_embed")

logger = logging.getLogger(__name__)


def parameter_groups(classifier: nn.Module, settings: OptimizerSettings) -> list[dict[str, Any]]:
    """Returns groups for a torch optimizer: params, lr, weight_decay and names (the parameters' own).

    Every parameter that requires a gradient is in one group, with the learning rate and weight decay that mmcv's
    DefaultOptimizerConstructor gives it; equal ones share a group, in the order of the network. Under layer-wise
    decay lr is multiplied by the factor of the parameter's level too, and what the rules exempt has no weight decay.
    Custom keys of a plain ViT may be written in its names here or in mmcls.
    Raises SettingsError if all parameters are frozen or if layer-wise decay does not fit the network.
    """
    trained = list(_trained_parameters(classifier))
    if not trained:
        raise SettingsError(
            "All parameters are frozen, so there is nothing to train; lower model.mm_model.backbone.frozen_stages."
        )
    rules, layer_decay = settings.parameter_rules, settings.layer_decay
    names = {name: f"{name} {_mmcls_name(name)}" if _is_vit(classifier) else name for name, _, _ in trained}
    depth = 0 if layer_decay is None else _checked_depth(classifier, layer_decay)
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter, module in trained:
        lr_mult, decay_mult = _factors(names[name], module, parameter, rules)
        lr, weight_decay = settings.lr * lr_mult, settings.weight_decay * decay_mult
        if layer_decay is not None:
            lr *= layer_decay.rate ** (depth + 1 - level_of(name, depth, layer_decay.rules))
            weight_decay = 0.0 if _is_exempt(name, parameter, layer_decay.rules) else weight_decay
        empty: dict[str, Any] = {"params": [], "lr": lr, "weight_decay": weight_decay, "names": []}
        group = groups.setdefault((lr, weight_decay), empty)
        group["params"].append(parameter)
        group["names"].append(name.removeprefix("."))
    _note_unmatched(rules.custom_keys, names)
    return list(groups.values())


def level_of(name: str, depth: int, rules: DecayRules) -> int:
    """Returns the level of a parameter for layer-wise decay, from 0 (patches) to depth + 1 (the head).

    depth: the number of blocks. Blocks have the levels 1 to depth. The rules differ in two things: a shared
    relative-position table has level 0 in timm, the last in unilm; the final norm before a class token has the last
    block's level in timm, the last level in unilm.
    """
    own = name.removeprefix(BACKBONE_PREFIX)
    if own in _TOKENS or own.startswith("patch_embed."):
        return 0
    if number := re.match(r"blocks\.(\d+)\.", own):
        return int(number[1]) + 1
    if rules == "timm" and own.startswith("rel_pos_bias."):
        return 0
    if rules == "timm" and own.startswith("norm."):
        return depth
    return depth + 1


def _trained_parameters(network: nn.Module) -> Iterator[tuple[str, nn.Parameter, nn.Module]]:
    """Yields (name, parameter, the module that owns it) of what requires a gradient, each parameter once.

    The name of a parameter of the network itself begins with a dot: so mmcv's custom keys meet it.
    """
    seen = set()
    for prefix, module in network.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and id(parameter) not in seen:
                seen.add(id(parameter))
                yield f"{prefix}.{name}", parameter, module


def _factors(name: str, module: nn.Module, parameter: Tensor, rules: ParamwiseSettings) -> tuple[float, float]:
    """Returns the factors on learning rate and weight decay; the first rule that fits decides, as in mmcv."""
    for custom in rules.custom_keys:
        if custom.key in name:
            return custom.lr_mult, custom.decay_mult
    is_norm = isinstance(module, _NORMS)
    is_bias = name.endswith(".bias")
    lr_mult = rules.bias_lr_mult if is_bias and not is_norm else 1.0
    kind = None
    if is_norm:
        kind = rules.norm_decay_mult
    elif isinstance(module, nn.Conv2d) and module.in_channels == module.groups:
        kind = rules.dwconv_decay_mult
    elif is_bias:
        kind = rules.bias_decay_mult
    if kind is None and parameter.ndim == 1:
        kind = rules.flat_decay_mult
    return lr_mult, 1.0 if kind is None else kind


def _is_exempt(name: str, parameter: Tensor, rules: DecayRules) -> bool:
    """Tells whether a parameter has no weight decay under layer-wise decay."""
    own = name.removeprefix(BACKBONE_PREFIX)
    if parameter.ndim <= 1 or own.endswith(".bias") or own in ("cls_token", "dist_token", "pos_embed"):
        return True
    return rules == "timm" and own.endswith("relative_position_bias_table")


def _checked_depth(classifier: nn.Module, layer_decay: LayerDecay) -> int:
    """Returns the number of blocks, frozen ones too."""
    numbers = [re.match(rf"{BACKBONE_PREFIX}blocks\.(\d+)\.", name) for name, _ in classifier.named_parameters()]
    depth = 1 + max((int(number[1]) for number in numbers if number), default=-1)
    if depth == 0:
        raise SettingsError(
            f"Layer-wise decay needs a network with blocks, but {type(classifier).__name__} has none; "
            "set train.optimizer.constructor to 'DefaultOptimizerConstructor'."
        )
    if layer_decay.num_layers not in (None, depth):
        raise SettingsError(
            f"train.optimizer.paramwise_cfg.num_layers is {layer_decay.num_layers}, but the network has {depth} "
            "blocks; correct it or remove it."
        )
    return depth


def _is_vit(classifier: nn.Module) -> bool:
    return isinstance(classifier, BeitClassifier) and is_vision_transformer(classifier.settings.backbone)


def _mmcls_name(name: str) -> str:
    """Returns the name that a parameter of a plain ViT has in mmcls, where the configurations come from."""
    number = _BLOCK_NUMBER.search(name)
    theirs = MMCLS_VIT.names.get(_BLOCK_NUMBER.sub("{}", name), name)
    assert isinstance(theirs, str), f"mmcls has one name for {name}"
    return theirs.format(number[0]) if number else theirs


def _note_unmatched(custom_keys: Iterable[CustomKey], names: Mapping[str, str]) -> None:
    unmatched = [custom.key for custom in custom_keys if not any(custom.key in name for name in names.values())]
    if unmatched:
        logger.info("train.optimizer.paramwise_cfg.custom_keys: %s match no parameter.", ", ".join(unmatched))
