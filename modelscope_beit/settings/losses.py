"""`model.mm_model.head.loss`: the losses of mmcls 0.x by their names, keys and defaults. Standard library only.

What they compute: training/losses.py. Source: mmcls 0.25.0, models/losses.
"""

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeGuard, cast

from modelscope_beit.settings.problems import Section, plain

# mmcls's words for class_weight are a list of numbers or null; this one is ours.
BALANCED = "balanced"
# mmcls has the first three; the last one is ours too.
SMOOTHING_MODES = ("original", "classy_vision", "multi_label", "mindspore")
_REDUCTIONS = ("mean", "none")


@dataclass(frozen=True, kw_only=True)
class CrossEntropyLoss:
    """Cross entropy after softmax, or, with use_sigmoid, one binary cross entropy for each class.

    class_weight: a factor for each class; "balanced": from the class counts of the training data.
    pos_weight: with use_sigmoid, a factor for each class where the label is 1.
    reduction: how the K losses of one sample become one under use_sigmoid: "mean" adds them up, "none" averages them.
        That is what mmcls's head makes of these words, because it divides by N, not by N K, when it is "mean".
    """

    use_sigmoid: bool = False
    class_weight: tuple[float, ...] | str | None = None
    pos_weight: tuple[float, ...] | None = None
    loss_weight: float = 1.0
    reduction: str = "mean"


@dataclass(frozen=True, kw_only=True)
class LabelSmoothLoss:
    """Cross entropy with softened labels.

    mode: with y the label of a class and e the smoothing, "original" is (1 - e) y + e / K; "classy_vision" the same
        with e / (1 + e) for e; "multi_label" is 1 - e where y > 0, otherwise e, under binary cross entropies added up;
        "mindspore" is (1 - e) y + e (1 - y) / (K - 1), as CrossEntropySmooth of MindSpore's recipes has it.
    """

    label_smooth_val: float
    mode: str = "original"
    loss_weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class FocalLoss:
    """Binary cross entropies, weighted down where the network is right already (arXiv 1708.02002).

    alpha: weight of the label's own class; the others have 1 - alpha. reduction: as CrossEntropyLoss's.
    """

    gamma: float = 2.0
    alpha: float = 0.25
    loss_weight: float = 1.0
    reduction: str = "mean"


@dataclass(frozen=True, kw_only=True)
class AsymmetricLoss:
    """A focal loss with other exponents for present and absent classes (arXiv 2009.14119).

    clip: absent classes below this probability cost nothing. reduction: as CrossEntropyLoss's.
    """

    gamma_pos: float = 0.0
    gamma_neg: float = 4.0
    clip: float = 0.05
    use_sigmoid: bool = True
    eps: float = 1e-8
    loss_weight: float = 1.0
    reduction: str = "mean"


@dataclass(frozen=True)
class ForeignLoss:
    """A loss that mmcls makes, or its users have registered there; config: all that was said about it."""

    config: dict[str, object]


LossSettings = CrossEntropyLoss | LabelSmoothLoss | FocalLoss | AsymmetricLoss | ForeignLoss


# What mmcls 0.25 has and we do not. Other names are its users' own losses, or slips of the pen.
_LOSSES_OF_MMCLS = frozenset(("SeesawLoss",))
# How alike a name must be to one of ours to be taken for a slip of the pen; of 1.
_ALIKE = 0.75


def read_loss(section: Section) -> LossSettings:
    """Returns the loss that a section describes; what is wrong with it goes to the section's problems.

    num_classes in it is passed over, whatever it says: a loss has the classes of the head.
    """
    kind = section.get("type")
    if not isinstance(kind, str):
        section.wrong("type", f"expected: {', '.join(_READERS)}, or another loss of mmcls")
        return CrossEntropyLoss()
    if kind not in _READERS:
        if kind not in _LOSSES_OF_MMCLS and (alike := difflib.get_close_matches(kind, _READERS, n=1, cutoff=_ALIKE)):
            section.wrong("type", f"did you mean {alike[0]}?")
            return CrossEntropyLoss()
        return ForeignLoss(cast(dict[str, object], plain(section.mapping)))
    loss = _READERS[str(kind)](section)
    section.note_unknown_keys()
    return loss


def _read_cross_entropy(section: Section) -> CrossEntropyLoss:
    use_sigmoid = section.flag("use_sigmoid", False)
    # Soft labels are recognised by their shape, so use_soft says nothing new.
    if section.flag("use_soft", False) and use_sigmoid:
        section.wrong("use_soft", "it cannot be combined with use_sigmoid; remove one of the two")
    pos_weight = None if section.get("pos_weight") is None else _class_factors(section, "pos_weight")
    if pos_weight is not None and not use_sigmoid:
        section.wrong("pos_weight", "only use_sigmoid: true has a use for it")
    balanced = section.get("class_weight") in (None, BALANCED)
    class_weight = (
        section.get("class_weight") if balanced else _class_factors(section, "class_weight", f" or {BALANCED!r}")
    )
    assert class_weight is None or isinstance(class_weight, str | tuple)
    return CrossEntropyLoss(
        use_sigmoid=use_sigmoid,
        class_weight=class_weight,
        pos_weight=pos_weight,
        loss_weight=_number(section, "loss_weight", 1.0),
        reduction=_reduction(section),
    )


def _read_label_smoothing(section: Section) -> LabelSmoothLoss:
    section.get("num_classes")
    # mmcls passes LabelSmoothLoss.reduction on to nobody.
    _reduction(section)
    mode = section.get("mode", "original")
    if mode not in SMOOTHING_MODES:
        section.wrong("mode", f"expected: {', '.join(SMOOTHING_MODES)}")
        mode = "original"
    smoothing = _number(section, "label_smooth_val", None, below=1.0)
    return LabelSmoothLoss(label_smooth_val=smoothing, mode=str(mode), loss_weight=_number(section, "loss_weight", 1.0))


def _read_focal(section: Section) -> FocalLoss:
    return FocalLoss(
        gamma=_number(section, "gamma", 2.0),
        alpha=_number(section, "alpha", 0.25, upper=1.0),
        loss_weight=_number(section, "loss_weight", 1.0),
        reduction=_reduction(section),
    )


def _read_asymmetric(section: Section) -> AsymmetricLoss:
    no_clip = section.get("clip", 0.05) is None
    return AsymmetricLoss(
        gamma_pos=_number(section, "gamma_pos", 0.0),
        gamma_neg=_number(section, "gamma_neg", 4.0),
        clip=0.0 if no_clip else _number(section, "clip", 0.05, upper=1.0),
        use_sigmoid=section.flag("use_sigmoid", True),
        eps=_number(section, "eps", 1e-8, upper=1.0),
        loss_weight=_number(section, "loss_weight", 1.0),
        reduction=_reduction(section),
    )


_READERS: dict[str, Callable[[Section], LossSettings]] = {
    "CrossEntropyLoss": _read_cross_entropy,
    "LabelSmoothLoss": _read_label_smoothing,
    "FocalLoss": _read_focal,
    "AsymmetricLoss": _read_asymmetric,
}


def _reduction(section: Section) -> str:
    reduction = section.get("reduction", "mean")
    if reduction in _REDUCTIONS:
        return str(reduction)
    section.wrong("reduction", f"expected: {' or '.join(_REDUCTIONS)} (mmcls's heads refuse a sum)")
    return "mean"


def _class_factors(section: Section, name: str, hint: str = "") -> tuple[float, ...] | None:
    values = section.get(name)
    if isinstance(values, list | tuple) and values and all(_is_number(value) and value >= 0 for value in values):
        return tuple(float(value) for value in values)
    section.wrong(name, f"a list of numbers from 0 up, one for each class,{hint} is expected")
    return None


def _number(
    section: Section,
    name: str,
    default: float | None,
    *,
    upper: float = math.inf,
    below: float = math.inf,
) -> float:
    """Returns a number from 0 to `upper` and less than `below`; default None: it must be there."""
    value = section.get(name, default)
    if _is_number(value) and 0 <= value <= upper and value < below:
        return float(value)
    limit = f"below {below:g}" if below < math.inf else f"to {upper:g}" if upper < math.inf else "up"
    section.wrong(name, f"a number from 0 {limit} is expected")
    return 0.0 if default is None else default


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
