"""The section `masked` of a configuration <-> MaskedPretrainingSettings, and the classifier that follows from it.

Standard library only. Keys are the fields' names; `size` stands for those of a published architecture.
"""

from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from typing import Any

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.configuration import FolderSettings, write_configuration
from modelscope_beit.settings.masked_image_model import NUM_VISUAL_TOKENS, MaskedImageModelSettings
from modelscope_beit.settings.masked_pretraining import (
    MaskedPretrainingSettings,
    MaskingSettings,
    ViewSettings,
    early_layer_of,
    evaluation_steps_of,
    masked_pretraining_settings,
)
from modelscope_beit.settings.model import ARCHITECTURES, BackboneSettings, ModelSettings
from modelscope_beit.settings.problems import Problems, Section

_WIDTHS = ("width", "depth", "num_heads", "mlp_hidden")
_COUNTS = ("patch_size", *_WIDTHS)


def read_masked_settings(section: Section) -> MaskedPretrainingSettings:
    """Returns the settings that a section gives; what is absent has the value of its size, "base" unless it says so.

    Keys: size (tiny, small, base, large ...), image_size, patch_size, width, depth, num_heads, mlp_hidden,
    layer_scale_init, drop_path, gradient_checkpointing, num_visual_tokens, early_layer, head_layers, masking, views.
    What is wrong goes to the section's problems, keys that nobody knows too. Raises SettingsError for values that do
    not go together.
    """
    default = masked_pretraining_settings(_size(section))
    network = default.model.backbone
    counts = {name: section.integer(name, getattr(network, name)) for name in _COUNTS}
    backbone = {
        "image_size": section.sides("image_size", network.image_size[0]),
        "layer_scale_init": _optional_number(section, "layer_scale_init", network.layer_scale_init),
        "drop_path": section.number("drop_path", network.drop_path),
        "gradient_checkpointing": section.flag("gradient_checkpointing", network.gradient_checkpointing),
    }
    num_visual_tokens = section.integer("num_visual_tokens", NUM_VISUAL_TOKENS)
    early_layer = section.integer("early_layer", early_layer_of(counts["depth"]))
    head_layers = section.integer("head_layers", default.head_layers)
    masking, views = _read_masking(_inner(section, "masking")), _read_views(_inner(section, "views"))
    section.refuse_unknown_keys()
    if section.problems.wrong:
        return default
    built = replace(network, **counts, **backbone)  # type: ignore[arg-type]
    return MaskedPretrainingSettings(
        MaskedImageModelSettings(built, num_visual_tokens), early_layer, head_layers, masking, views
    )


def masked_settings_from(mapping: Mapping[str, object], where: str) -> MaskedPretrainingSettings:
    """Returns what a mapping, such as write_masked_settings gives, says; raises SettingsError that lists all wrong.

    where: the file, for messages.
    """
    problems = Problems()
    settings = read_masked_settings(Section(mapping, "masked", problems))
    problems.raise_if_any(where)
    return settings


def write_masked_settings(settings: MaskedPretrainingSettings) -> dict[str, object]:
    """Returns the settings as JSON takes them; read_masked_settings reads the same back.

    Raises SettingsError for a backbone with something that these settings have no word for.
    """
    backbone = settings.model.backbone
    names = (*_COUNTS, "layer_scale_init", "drop_path", "gradient_checkpointing")
    written: dict[str, Any] = {name: getattr(backbone, name) for name in names}
    said = replace(_plain_backbone(), image_size=backbone.image_size, **written)
    if said != backbone:
        different = [
            field.name for field in fields(backbone) if getattr(said, field.name) != getattr(backbone, field.name)
        ]
        raise SettingsError(
            f"Masked image modelling cannot be written with a backbone of other {', '.join(different)}."
        )
    return {
        "image_size": list(backbone.image_size),
        **written,
        "num_visual_tokens": settings.model.num_visual_tokens,
        "early_layer": settings.early_layer,
        "head_layers": settings.head_layers,
        "masking": asdict(settings.masking),
        "views": {name: _listed(value) for name, value in asdict(settings.views).items()},
    }


def classifier_configuration(settings: MaskedPretrainingSettings) -> dict[str, object]:
    """Returns the configuration of a model folder whose weights are those of masked image modelling.

    The classifier has a table of relative positions in each block, pools by the mean, and gets the head of whatever
    data it is trained on. Pictures are prepared as for the published classifiers.
    """
    backbone = replace(settings.model.backbone, relative_position="per_layer", pooling="mean")
    return write_configuration(FolderSettings(ModelSettings(backbone), evaluation_steps_of(settings)))


def _size(section: Section) -> str:
    size = section.get("size", "base")
    if isinstance(size, str) and size in ARCHITECTURES:
        return size
    section.wrong("size", f"one of {', '.join(ARCHITECTURES)} is expected")
    return "base"


def _plain_backbone() -> BackboneSettings:
    return MaskedPretrainingSettings().model.backbone


def _read_masking(section: Section) -> MaskingSettings:
    default = MaskingSettings()
    found = {
        "ratio": section.number("ratio", default.ratio),
        "num_masked": _optional_integer(section, "num_masked"),
        "min_block": _optional_integer(section, "min_block"),
        "max_block": _optional_integer(section, "max_block"),
        "min_aspect": section.number("min_aspect", default.min_aspect),
    }
    section.refuse_unknown_keys()
    return MaskingSettings(**found)  # type: ignore[arg-type]


def _read_views(section: Section) -> ViewSettings:
    default = ViewSettings()
    has_code_size = section.mapping.get("code_size") is not None
    code_size = section.sides("code_size", 224) if has_code_size else section.get("code_size")
    interpolation = section.get("code_interpolation", default.code_interpolation)
    found = {
        "color_jitter": section.number("color_jitter", default.color_jitter),
        "flip": section.number("flip", default.flip),
        "num_crops": section.integer("num_crops", default.num_crops),
        **{name: _numbers(section, name, getattr(default, name)) for name in ("scale", "ratio", "mean", "std")},
    }
    section.refuse_unknown_keys()
    return ViewSettings(code_size=code_size, code_interpolation=interpolation, **found)  # type: ignore[arg-type]


def _inner(section: Section, name: str) -> Section:
    """Returns the mapping under a name, an empty one where there is none."""
    found = section.get(name, {})
    if not isinstance(found, Mapping):
        section.wrong(name, "a mapping is expected")
    path = f"{section.path}.{name}" if section.path else name
    return Section(found if isinstance(found, Mapping) else {}, path, section.problems)


def _numbers(section: Section, name: str, default: tuple[float, ...]) -> tuple[float, ...]:
    """Returns as many numbers as the default has."""
    values = section.get(name, default)
    if isinstance(values, list | tuple) and len(values) == len(default):
        numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
        if len(numbers) == len(default):
            return tuple(map(float, numbers))
    section.wrong(name, f"a list of {len(default)} numbers is expected")
    return default


def _optional_integer(section: Section, name: str) -> int | None:
    return None if section.get(name) is None else section.integer(name, 1)


def _optional_number(section: Section, name: str, default: float | None) -> float | None:
    return None if section.get(name, default) is None else section.number(name, default or 0.1)


def _listed(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
