"""The section `masked` of a configuration <-> MaskedPretrainingSettings, and the classifier that follows from it.

Standard library only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Literal

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.configuration import FolderSettings, write_configuration
from modelscope_beit.settings.from_mapping import mapping_of, settings_from
from modelscope_beit.settings.masked_image_model import NUM_VISUAL_TOKENS, MaskedImageModelSettings
from modelscope_beit.settings.masked_pretraining import (
    MaskedPretrainingSettings,
    MaskingSettings,
    ViewSettings,
    early_layer_of,
    evaluation_steps_of,
    masked_pretraining_settings,
)
from modelscope_beit.settings.model import ModelSettings

_PUBLISHED: Literal["published"] = "published"


@dataclass(frozen=True)
class MaskedSection:
    """What a person writes; see BackboneSettings and MaskedPretrainingSettings for the fields.

    size: a key of ARCHITECTURES, whose numbers count wherever a field is None, or "published".
    """

    size: str = "base"
    image_size: int | tuple[int, int] = 224
    patch_size: int | None = None
    width: int | None = None
    depth: int | None = None
    num_heads: int | None = None
    mlp_hidden: int | None = None
    layer_scale_init: float | Literal["published"] | None = _PUBLISHED
    drop_path: float = 0.0
    gradient_checkpointing: bool = False
    num_visual_tokens: int = NUM_VISUAL_TOKENS
    early_layer: int | None = None
    head_layers: int = 2
    masking: MaskingSettings = field(default_factory=MaskingSettings)
    views: ViewSettings = field(default_factory=ViewSettings)


_OF_THE_SIZE = ("patch_size", "width", "depth", "num_heads", "mlp_hidden")
_OF_ANY_SIZE = ("drop_path", "gradient_checkpointing")


def masked_settings_from(mapping: Mapping[str, object], where: str) -> MaskedPretrainingSettings:
    """Returns the settings that a section gives; what is absent has the value of its size, "base" unless it says so.

    where: the file, for messages. Raises SettingsError that lists all that is wrong, keys that nobody knows too.
    """
    section = settings_from(mapping, MaskedSection, where=f"{where}, masked")
    published = masked_pretraining_settings(section.size).model.backbone
    size = section.image_size
    given = {name: value for name in _OF_THE_SIZE if (value := getattr(section, name)) is not None}
    given |= {name: getattr(section, name) for name in _OF_ANY_SIZE}
    if section.layer_scale_init != _PUBLISHED:
        given["layer_scale_init"] = section.layer_scale_init
    backbone = replace(published, image_size=(size, size) if isinstance(size, int) else size, **given)
    early_layer = early_layer_of(backbone.depth) if section.early_layer is None else section.early_layer
    return MaskedPretrainingSettings(
        MaskedImageModelSettings(backbone, section.num_visual_tokens),
        early_layer=early_layer,
        head_layers=section.head_layers,
        masking=section.masking,
        views=section.views,
    )


def write_masked_settings(settings: MaskedPretrainingSettings) -> dict[str, object]:
    """Returns the settings as JSON takes them; masked_settings_from reads the same back.

    Raises SettingsError for a backbone with something that a section has no word for.
    """
    backbone = settings.model.backbone
    names = ("image_size", *_OF_THE_SIZE, "layer_scale_init", *_OF_ANY_SIZE)
    section = MaskedSection(
        **{name: getattr(backbone, name) for name in names},
        num_visual_tokens=settings.model.num_visual_tokens,
        early_layer=settings.early_layer,
        head_layers=settings.head_layers,
        masking=settings.masking,
        views=settings.views,
    )
    written = mapping_of(section)
    said = masked_settings_from(written, "what was written").model.backbone
    if said != backbone:
        different = [part.name for part in fields(said) if getattr(said, part.name) != getattr(backbone, part.name)]
        raise SettingsError(f"Masked image modelling cannot be written with another {', '.join(different)}.")
    return written


def classifier_configuration(settings: MaskedPretrainingSettings) -> dict[str, object]:
    """Returns the configuration of a model folder whose weights are those of masked image modelling.

    The classifier has a table of relative positions in each block, pools by the mean, and gets the head of whatever
    data it is trained on. Pictures are prepared as for the published classifiers.
    """
    model = settings.model.backbone
    positions = "per_layer" if model.relative_position == "shared" else model.relative_position
    backbone = replace(model, relative_position=positions, pooling="mean")
    return write_configuration(FolderSettings(ModelSettings(backbone), evaluation_steps_of(settings)))
