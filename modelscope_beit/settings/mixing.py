"""How the pictures of a batch are mixed: `model.mm_model.train_cfg.augments`. No pixels here.

mmcls's way (BatchMixup, BatchCutMix, BatchResizeMix: a list of which one is drawn per batch) and timm's (TimmMixup).
Source: mmcls 0.25.0, models/utils/augment/; timm 1.0, data/mixup.py. What it does to a batch: images/mixing.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from modelscope_beit.settings.problems import Problems, Section, shown
from modelscope_beit.settings.step_values import is_numbers, nearest, tupled

RESIZING_MODES = ("nearest", "bilinear", "bicubic", "area")
TIMM_MODES = ("batch", "pair", "elem")


@dataclass(frozen=True)
class BatchMixup:
    """The mean of two pictures, with weights from Beta(alpha, alpha). prob: the probability to be drawn."""

    alpha: float
    prob: float = 1.0


@dataclass(frozen=True)
class BatchCutMix:
    """A box of one picture in the other; its area follows Beta(alpha, alpha).

    cutmix_minmax: smallest and largest share of each side instead.
    correct_lam: labels are mixed by the area inside the picture; otherwise by the drawn one.
    prob: the probability to be drawn.
    """

    alpha: float
    prob: float = 1.0
    cutmix_minmax: tuple[float, float] | None = None
    correct_lam: bool = True


@dataclass(frozen=True)
class BatchResizeMix(BatchCutMix):
    """The whole of one picture, made as small as the box, in the other.

    lam_min, lam_max: the drawn share of the other picture is mapped to this range.
    """

    lam_min: float = 0.1
    lam_max: float = 0.8
    interpolation: str = "bilinear"


@dataclass(frozen=True)
class OneOfMixings:
    """One of `choices` for the whole batch; none of them with the probability that their `prob` leave."""

    choices: tuple[BatchMixup | BatchCutMix, ...]


@dataclass(frozen=True)
class TimmMixup:
    """timm's Mixup.

    mixup_alpha, cutmix_alpha: 0 switches either off. cutmix_minmax: as for BatchCutMix; switches CutMix on.
    prob: the probability to mix at all. switch_prob: of CutMix, where both are on.
    mode: the numbers are drawn for the whole batch, for pairs of pictures or for each picture ("elem").
    label_smoothing: share of the label that goes to all classes evenly.
    """

    mixup_alpha: float = 1.0
    cutmix_alpha: float = 0.0
    cutmix_minmax: tuple[float, float] | None = None
    prob: float = 1.0
    switch_prob: float = 0.5
    mode: str = "batch"
    correct_lam: bool = True
    label_smoothing: float = 0.1


MixingSettings = OneOfMixings | TimmMixup


def read_mixing(augments: object, path: str, problems: Problems) -> MixingSettings | None:
    """Returns what the configuration says; None where it mixes nothing.

    augments: one mapping with a "type", or a list of them. path: its key path, for messages.
    "num_classes", which mmcls demands, is read over: the head knows it.
    """
    if augments is None:
        return None
    entries = [augments] if isinstance(augments, Mapping) else augments
    if not isinstance(entries, list | tuple) or not all(isinstance(entry, Mapping) for entry in entries):
        problems.wrong.append(f"{path} is {shown(augments)}: a mapping with a 'type', or a list of them, is expected")
        return None
    places = [path] if isinstance(augments, Mapping) else [f"{path}[{index}]" for index in range(len(entries))]
    sections = [Section(entry, place, problems) for entry, place in zip(entries, places, strict=True)]
    kinds = [str(section.get("type")) for section in sections]
    if "TimmMixup" in kinds:
        if len(kinds) > 1:
            problems.wrong.append(f"{path}: TimmMixup chooses by itself and can only stand alone, not in {kinds}")
        return _read_timm(sections[kinds.index("TimmMixup")])
    choices = [_read_choice(section, kind) for section, kind in zip(sections, kinds, strict=True)]
    total = sum(_probability(section) for section in sections)
    if total > 1 + 1e-9:
        problems.wrong.append(f"{path}: the probabilities (prob) sum to {total:g}, but at most 1 is expected")
    read = tuple(choice for choice in choices if choice is not None)
    return OneOfMixings(read) if read else None


def _read_choice(section: Section, kind: str) -> BatchMixup | BatchCutMix | None:
    """Returns one way of mixing; None for Identity, whose probability is what the others leave."""
    section.get("num_classes")
    read: BatchMixup | BatchCutMix | None = None
    if kind == "BatchMixup":
        read = BatchMixup(_alpha(section), _probability(section))
    elif kind == "BatchCutMix":
        read = BatchCutMix(
            _alpha(section), _probability(section), _sides(section), section.flag("correct_lam", default=True)
        )
    elif kind == "BatchResizeMix":
        read = _read_resize_mix(section)
    elif kind == "Identity":
        _probability(section)
    else:
        known = ("BatchMixup", "BatchCutMix", "BatchResizeMix", "Identity", "TimmMixup")
        section.wrong("type", f"no way of mixing that is known; {nearest(kind, known)}")
    section.refuse_unknown_keys()
    return read


def _read_resize_mix(section: Section) -> BatchResizeMix:
    default = BatchResizeMix(1.0)
    low, high = _share(section, "lam_min", default.lam_min), _share(section, "lam_max", default.lam_max)
    if low > high:
        section.wrong("lam_min", f"at most lam_max, {high:g}, is expected")
    interpolation = section.get("interpolation", default.interpolation)
    if interpolation not in RESIZING_MODES:
        section.wrong("interpolation", f"one of {', '.join(RESIZING_MODES)} is expected")
    return BatchResizeMix(
        _alpha(section),
        _probability(section),
        _sides(section),
        section.flag("correct_lam", default=True),
        low,
        high,
        str(interpolation),
    )


def _read_timm(section: Section) -> TimmMixup:
    section.get("num_classes")
    default = TimmMixup()
    mixup, cutmix = _alpha(section, "mixup_alpha", 1.0), _alpha(section, "cutmix_alpha", 0.0)
    sides = _sides(section)
    if mixup == cutmix == 0 and sides is None:
        section.wrong("mixup_alpha", "0 is possible only with cutmix_alpha above 0 or with cutmix_minmax")
    mode = section.get("mode", default.mode)
    if mode not in TIMM_MODES:
        section.wrong("mode", f"one of {', '.join(TIMM_MODES)} is expected")
    read = TimmMixup(
        mixup,
        cutmix,
        sides,
        _probability(section),
        _share(section, "switch_prob", default.switch_prob),
        str(mode),
        section.flag("correct_lam", default=True),
        _share(section, "label_smoothing", default.label_smoothing),
    )
    section.refuse_unknown_keys()
    return read


def _probability(section: Section) -> float:
    return _share(section, "prob", 1.0)


def _share(section: Section, name: str, default: float) -> float:
    value = section.number(name, default)
    if 0 <= value <= 1:
        return value
    section.wrong(name, "a number from 0 to 1 is expected")
    return default


def _alpha(section: Section, name: str = "alpha", default: float | None = None) -> float:
    """Returns a parameter of the Beta distribution; mmcls's must be there and be above 0, timm's may be 0."""
    if default is None and name not in section.mapping:
        section.wrong(name, "a number above 0 is expected")
        return 1.0
    value = section.number(name, default or 0.0)
    if value < 0 or default is None and value == 0:
        section.wrong(name, "a number above 0 is expected")
        return 1.0
    return value


def _sides(section: Section) -> tuple[float, float] | None:
    value = tupled(section.get("cutmix_minmax"))
    if value is None or is_numbers(value, 2) and 0 <= value[0] < value[1] <= 1:
        return value
    section.wrong("cutmix_minmax", "[smallest, largest], from 0 to 1 and different, are expected")
    return None
