"""Reads and writes any `model.mm_model`, and says who builds its network: we, timm or mmcls."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, cast

from modelscope_beit.settings.foreign_models import (
    TIMM_BACKBONE,
    MmclsModelSettings,
    TimmModelSettings,
    head_has_layers,
    read_timm_model,
    write_timm_model,
)
from modelscope_beit.settings.mm_model import CLASSIFIER, collect_mm_model, training_part, write_mm_model
from modelscope_beit.settings.model import ModelSettings
from modelscope_beit.settings.problems import Problems, Section, plain

AnyModelSettings = ModelSettings | TimmModelSettings | MmclsModelSettings


def collect_any_model(mm_model: Mapping[str, object], path: str, problems: Problems) -> AnyModelSettings | None:
    """Returns the settings of the network that an mm_model describes; what is wrong goes to `problems`.

    path: the keys that lead to it. What we cannot build is left to mmcls, which is asked for its opinion when the
    network is built, not here. Returns None where there is nothing to build.
    """
    own = Problems()
    settings: AnyModelSettings | None = collect_mm_model(mm_model, path, own)
    if own.foreign and _has_timm_backbone(mm_model):
        reasons, own = own.foreign, Problems()
        settings = _collect_timm_model(mm_model, path, own)
        own.foreign += reasons if own.foreign else []
    if own.foreign:
        # What our readers think of the keys of a part that they do not know means nothing.
        return _collect_mmcls_model(mm_model, path, problems, tuple(own.foreign))
    problems.wrong += own.wrong
    problems.unknown |= own.unknown
    return None if own.wrong else settings


def write_any_model(settings: AnyModelSettings) -> dict[str, object]:
    """Returns the mm_model of a network; collect_any_model reads the same settings back."""
    if isinstance(settings, ModelSettings):
        return write_mm_model(settings)
    if isinstance(settings, TimmModelSettings):
        return write_timm_model(settings)
    return deepcopy(settings.mm_model)


def part_for_training(mm_model: Mapping[str, object], settings: AnyModelSettings) -> dict[str, object]:
    """Returns what an mm_model holds that its settings do not: losses, mixing of samples, comments."""
    return {} if isinstance(settings, MmclsModelSettings) else training_part(mm_model)


def _has_timm_backbone(mm_model: Mapping[str, object]) -> bool:
    backbone = mm_model.get("backbone")
    return isinstance(backbone, Mapping) and backbone.get("type") == TIMM_BACKBONE


def _collect_timm_model(mm_model: Mapping[str, object], path: str, problems: Problems) -> TimmModelSettings | None:
    classifier = Section(mm_model, path, problems)
    backbone, head = classifier.section("backbone"), classifier.section("head")
    num_classes = _num_classes(mm_model, path, problems)
    neck = classifier.get("neck")
    if backbone is None or head is None or num_classes is None:
        return None
    return read_timm_model(backbone, head, neck if isinstance(neck, Mapping) else None, num_classes)


def _collect_mmcls_model(
    mm_model: Mapping[str, object], path: str, problems: Problems, reasons: tuple[str, ...]
) -> MmclsModelSettings | None:
    classifier = Section(mm_model, path, problems)
    if classifier.get("type", CLASSIFIER) != CLASSIFIER:
        classifier.wrong("type", f"{CLASSIFIER!r} is expected")
        return None
    backbone, head = classifier.section("backbone"), classifier.section("head")
    if backbone is None or head is None:
        return None
    # Scripts for all models of the hub write the number into the head, whatever head that is.
    is_in_head = head_has_layers(mm_model) or "num_classes" in head.mapping
    num_classes = _count(head if is_in_head else backbone)
    if num_classes is None:
        return None
    whole = cast(dict[str, Any], plain(mm_model)) | {"type": CLASSIFIER}
    if not head_has_layers(mm_model):
        whole["head"].pop("num_classes", None)
    return MmclsModelSettings(whole, num_classes, reasons).with_num_classes(num_classes)


def _num_classes(mm_model: Mapping[str, object], path: str, problems: Problems) -> int | None:
    """Returns the class count of the head; None after noting that there is none."""
    head = Section(mm_model, path, problems).section("head")
    return None if head is None else _count(head)


def _count(section: Section) -> int | None:
    count = section.integer("num_classes", 0)
    if count < 1 and type(section.mapping.get("num_classes", 0)) is int:
        section.wrong("num_classes", "a number of at least 1 is expected")
    return count if count >= 1 else None
