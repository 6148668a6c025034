"""`train.optimizer.paramwise_cfg`: factors on learning rate and weight decay, parameter by parameter.

Keys are those of mmcv 1.7.2's DefaultOptimizerConstructor and, for layer-wise decay, of mmpretrain's and
mmsegmentation's constructors. Standard library only; which parameter a rule meets: training/parameter_groups.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from modelscope_beit.settings.intervals import NOT_NEGATIVE, POSITIVE_SHARE, count_from, number_in, optional_number_in
from modelscope_beit.settings.problems import Section

DecayRules = Literal["unilm", "timm"]

_DECAY_FACTORS = ("bias_decay_mult", "norm_decay_mult", "dwconv_decay_mult", "flat_decay_mult")


@dataclass(frozen=True)
class CustomKey:
    """Factors for the parameters whose name contains `key`."""

    key: str
    lr_mult: float = 1.0
    decay_mult: float = 1.0


@dataclass(frozen=True)
class ParamwiseSettings:
    """Factors for kinds of parameters; None: the rule is not there.

    A parameter gets the first of: its custom key; norm; depth-wise convolution; bias; flat (one dimension). The bias
    of a norm counts as norm. bias_lr_mult: factor on the learning rate of biases that belong to no norm.
    custom_keys: in the order in which they are tried, longest first, then alphabetical.
    """

    bias_lr_mult: float = 1.0
    bias_decay_mult: float | None = None
    norm_decay_mult: float | None = None
    dwconv_decay_mult: float | None = None
    flat_decay_mult: float | None = None
    custom_keys: tuple[CustomKey, ...] = ()


@dataclass(frozen=True)
class LayerDecay:
    """Learning rates that fall from the head to the patches, by `rate` a level.

    rules: whose numbering of levels, and whose list of parameters without weight decay. num_layers: the number of
    blocks as the configuration states it; None: it does not.
    """

    rate: float
    rules: DecayRules = "unilm"
    num_layers: int | None = None


def read_paramwise(section: Section) -> ParamwiseSettings:
    """Returns the factors of a `paramwise_cfg`; what is wrong goes to the section's problems."""
    # The network has no deformable convolutions, and no parameter is met twice.
    number_in(section, "dcn_offset_lr_mult", 1.0, NOT_NEGATIVE)
    section.flag("bypass_duplicate", False)
    settings = ParamwiseSettings(
        bias_lr_mult=number_in(section, "bias_lr_mult", 1.0, NOT_NEGATIVE),
        custom_keys=_read_custom_keys(section),
        **{name: optional_number_in(section, name, NOT_NEGATIVE) for name in _DECAY_FACTORS},
    )
    section.note_unknown_keys()
    return settings


def read_layer_decay(section: Section) -> LayerDecay:
    """Returns the layer-wise decay that a `paramwise_cfg` describes, in mmpretrain's or mmsegmentation's words."""
    spellings = [name for name in ("layer_decay_rate", "decay_rate") if name in section.mapping]
    for spelling in spellings[1:]:
        section.wrong(spelling, f"{spellings[0]} says the same; remove one of the two")
        section.get(spelling)
    rate = number_in(section, (spellings or ["layer_decay_rate"])[0], None, POSITIVE_SHARE)
    if section.get("decay_type", "layer_wise") != "layer_wise":
        section.wrong("decay_type", "the network has blocks, no stages, so 'layer_wise' is expected")
    rules: DecayRules = "timm" if section.get("layer_decay_rules", "unilm") == "timm" else "unilm"
    if section.get("layer_decay_rules", rules) != rules:
        section.wrong("layer_decay_rules", "'unilm' or 'timm' is expected")
    has_count = section.get("num_layers") is not None
    return LayerDecay(rate, rules, count_from(section, "num_layers", 1, 1) if has_count else None)


def asks_for_decay(paramwise: Mapping[str, object]) -> bool:
    """Tells whether a `paramwise_cfg` multiplies the weight decay of any parameter."""
    custom_keys = paramwise.get("custom_keys")
    custom = custom_keys.values() if isinstance(custom_keys, Mapping) else ()
    return any(paramwise.get(name) is not None for name in _DECAY_FACTORS) or any(
        isinstance(factors, Mapping) and "decay_mult" in factors for factors in custom
    )


def _read_custom_keys(section: Section) -> tuple[CustomKey, ...]:
    if section.get("custom_keys") is None or (keys := section.section("custom_keys")) is None:
        return ()
    read = []
    for key in sorted(map(str, keys.mapping), key=lambda key: (-len(key), key)):
        factors = keys.section(key)
        if factors is not None:
            lr_mult = number_in(factors, "lr_mult", 1.0, NOT_NEGATIVE)
            read.append(CustomKey(key, lr_mult, number_in(factors, "decay_mult", 1.0, NOT_NEGATIVE)))
            factors.note_unknown_keys()
    return tuple(read)
