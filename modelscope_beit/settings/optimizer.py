"""`train.optimizer`: the optimizer by its torch name, and which parameter gets which learning rate and weight decay.

Keys are those of mmcv 1.7.2 (runner/optimizer) and of torch.optim, for Lamb of mmcls 0.25; layer-wise decay is spelled
as in mmpretrain and mmsegmentation. Standard library only; what comes of it: training/parameter_groups.py.
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from modelscope_beit.settings.intervals import BELOW_ONE, NOT_NEGATIVE, POSITIVE, SHARE, is_number_in, number_in
from modelscope_beit.settings.parameter_rules import (
    LayerDecay,
    ParamwiseSettings,
    asks_for_decay,
    read_layer_decay,
    read_paramwise,
)
from modelscope_beit.settings.problems import Section

DEFAULT_CONSTRUCTOR = "DefaultOptimizerConstructor"
LAYER_DECAY_CONSTRUCTORS = (
    "LearningRateDecayOptimizerConstructor",
    "LayerDecayOptimizerConstructor",
    "LearningRateDecayOptimWrapperConstructor",
)


@dataclass(frozen=True)
class OptimizerSettings:
    """An optimizer before it meets a network.

    kind: a class of torch.optim, or Lamb. options: its further arguments, only those that were given.
    parameter_rules and layer_decay: factors on lr and weight_decay, parameter by parameter; None: no layer-wise decay.
    """

    kind: str
    lr: float
    weight_decay: float = 0.0
    options: Mapping[str, object] = field(default_factory=dict)
    parameter_rules: ParamwiseSettings = field(default_factory=ParamwiseSettings)
    layer_decay: LayerDecay | None = None


def read_optimizer(section: Section) -> OptimizerSettings:
    """Returns the optimizer that `train.optimizer` describes; what is wrong goes to the section's problems."""
    name = section.get("type")
    if not isinstance(name, str) or name not in _KINDS:
        _refuse_kind(section, str(name))
        return OptimizerSettings("AdamW", _KINDS["AdamW"].lr)
    kind = _KINDS[name]
    options = {key: read(section, key) for key, read in kind.options.items() if section.get(key) is not None}
    if options.get("nesterov") and (not options.get("momentum") or options.get("dampening")):
        section.wrong("nesterov", "it needs a momentum above 0 and a dampening of 0")
    if section.flag("maximize", False):
        section.wrong("maximize", "training makes the loss smaller; remove it")
    for computation in ("foreach", "fused", "capturable", "differentiable"):
        # How an optimizer computes is chosen for the device; it changes no result.
        section.get(computation)
    rules, layer_decay = _read_rules(section)
    settings = OptimizerSettings(
        kind=name,
        lr=number_in(section, "lr", kind.lr, NOT_NEGATIVE),
        weight_decay=number_in(section, "weight_decay", kind.weight_decay, NOT_NEGATIVE),
        options=options,
        parameter_rules=rules,
        layer_decay=layer_decay,
    )
    section.note_unknown_keys()
    return settings


def _read_rules(section: Section) -> tuple[ParamwiseSettings, LayerDecay | None]:
    constructor = section.get("constructor", DEFAULT_CONSTRUCTOR)
    if constructor not in (DEFAULT_CONSTRUCTOR, *LAYER_DECAY_CONSTRUCTORS):
        section.wrong("constructor", _expected(constructor, (DEFAULT_CONSTRUCTOR, *LAYER_DECAY_CONSTRUCTORS)))
    paramwise = Section({}, f"{section.path}.paramwise_cfg", section.problems)
    if section.get("paramwise_cfg") is not None:
        paramwise = section.section("paramwise_cfg") or paramwise
    layer_decay = None
    if constructor in LAYER_DECAY_CONSTRUCTORS:
        layer_decay = read_layer_decay(paramwise)
    elif "layer_decay_rate" in paramwise.mapping:
        paramwise.get("layer_decay_rate")
        hint = f"it has an effect only with {section.path}.constructor={LAYER_DECAY_CONSTRUCTORS[0]!r}"
        section.problems.unknown[f"{paramwise.path}.layer_decay_rate"] = hint
    rules = read_paramwise(paramwise)
    if asks_for_decay(paramwise.mapping) and section.get("weight_decay") is None:
        section.wrong("weight_decay", "paramwise_cfg multiplies it, so a number is expected")
    return rules, layer_decay


def _refuse_kind(section: Section, name: str) -> None:
    if name in _UNSUITABLE:
        section.wrong("type", f"{_UNSUITABLE[name]}; expected: {', '.join(_KINDS)}")
    else:
        section.wrong("type", _expected(name, tuple(_KINDS)))


def _expected(name: object, known: tuple[str, ...]) -> str:
    """Returns the nearest known name, whatever the case, or all of them."""
    lower = {candidate.lower(): candidate for candidate in known}
    nearest = difflib.get_close_matches(str(name).lower(), lower, n=1)
    return f"did you mean {lower[nearest[0]]}?" if nearest else f"expected: {', '.join(known)}"


def _flag(section: Section, name: str) -> bool:
    return section.flag(name, False)


def _not_negative(section: Section, name: str) -> float:
    return number_in(section, name, None, NOT_NEGATIVE)


def _positive(section: Section, name: str) -> float:
    return number_in(section, name, None, POSITIVE)


def _share(section: Section, name: str) -> float:
    return number_in(section, name, None, SHARE)


def _not_positive(section: Section, name: str) -> float:
    value = section.number(name, 0.0)
    if value > 0:
        section.wrong(name, "a number of 0 or less is expected")
    return value


def _betas(section: Section, name: str) -> tuple[float, float]:
    value = section.get(name)
    if isinstance(value, list | tuple) and len(value) == 2 and all(is_number_in(beta, BELOW_ONE) for beta in value):
        return float(value[0]), float(value[1])
    section.wrong(name, f"two numbers are expected, each {BELOW_ONE.words}")
    return 0.9, 0.999


@dataclass(frozen=True)
class _Kind:
    """lr, weight_decay: the optimizer's own defaults. options: name -> how its value is read."""

    lr: float
    weight_decay: float
    options: Mapping[str, Callable[[Section, str], object]]


_ADAM: dict[str, Callable[[Section, str], object]] = {"betas": _betas, "eps": _not_negative}
_KINDS = {
    "AdamW": _Kind(1e-3, 1e-2, _ADAM | {"amsgrad": _flag}),
    "Adam": _Kind(1e-3, 0.0, _ADAM | {"amsgrad": _flag}),
    "SGD": _Kind(1e-3, 0.0, {"momentum": _not_negative, "dampening": _not_negative, "nesterov": _flag}),
    "RMSprop": _Kind(
        1e-2, 0.0, {"alpha": _not_negative, "eps": _not_negative, "momentum": _not_negative, "centered": _flag}
    ),
    "NAdam": _Kind(2e-3, 0.0, _ADAM | {"momentum_decay": _not_negative, "decoupled_weight_decay": _flag}),
    "RAdam": _Kind(1e-3, 0.0, _ADAM | {"decoupled_weight_decay": _flag}),
    "Adamax": _Kind(2e-3, 0.0, _ADAM),
    "Adagrad": _Kind(
        1e-2, 0.0, {"lr_decay": _not_negative, "initial_accumulator_value": _not_negative, "eps": _not_negative}
    ),
    "Adadelta": _Kind(1.0, 0.0, {"rho": _share, "eps": _not_negative}),
    "Lamb": _Kind(1e-3, 1e-2, _ADAM | {"max_grad_norm": _positive, "trust_clip": _flag, "always_adapt": _flag}),
    "Adafactor": _Kind(1e-2, 0.0, {"beta2_decay": _not_positive, "d": _not_negative}),
    "ASGD": _Kind(1e-2, 0.0, {"lambd": _not_negative, "alpha": _not_negative, "t0": _not_negative}),
}
_UNSUITABLE = {
    "LBFGS": "it asks for the loss several times a step, which mini-batches cannot give",
    "Rprop": "it is made for whole data sets, not for mini-batches, and has no weight decay",
    "SparseAdam": "it takes sparse gradients only, and the network has none",
    "Muon": "it takes matrices only, and the network has biases and norms",
}
