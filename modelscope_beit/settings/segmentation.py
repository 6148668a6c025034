"""What a network for semantic segmentation looks like, and the configuration.json that says so. Standard library only.

The network is BEiT with a UPerNet head, as in transformers' BeitForSemanticSegmentation. ModelScope has no words for
it, so the section `model` uses those of this package.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import get_args

from modelscope_beit import names
from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.model import BackboneSettings, RelativePosition
from modelscope_beit.settings.preprocessing import CenterCrop, Step, read_steps, write_steps
from modelscope_beit.settings.problems import Problems, Section, plain

NUM_FEATURE_MAPS = 4


@dataclass(frozen=True)
class SegmentationSettings:
    """Settings of a network for semantic segmentation.

    feature_blocks: the four blocks, from 0, whose patch tokens the head sees; -1 is what enters the first block.
    pool_scales: rows and columns of each pooled map of the pyramid. channels: of the head's maps.
    """

    backbone: BackboneSettings
    feature_blocks: tuple[int, ...]
    num_classes: int
    channels: int
    pool_scales: tuple[int, ...] = (1, 2, 3, 6)

    def __post_init__(self) -> None:
        """Raises SettingsError that lists every contradiction at once."""
        problems = []
        depth = self.backbone.depth
        in_range = all(-1 <= number < depth for number in self.feature_blocks)
        if len(self.feature_blocks) != NUM_FEATURE_MAPS or not in_range:
            problems.append(
                f"feature_blocks are {list(self.feature_blocks)}, but {NUM_FEATURE_MAPS} numbers from -1 "
                f"to {depth - 1} are expected"
            )
        if not self.pool_scales or min(self.pool_scales) < 1:
            problems.append(f"pool_scales are {list(self.pool_scales)}, but numbers of at least 1 are expected")
        for name in ("num_classes", "channels"):
            if getattr(self, name) < 1:
                problems.append(f"{name} must be at least 1, not {getattr(self, name)}")
        if problems:
            raise SettingsError("The segmentation network cannot be built: " + "; ".join(problems) + ".")


@dataclass(frozen=True)
class SegmentationFolderSettings:
    """What the configuration.json of a folder for semantic segmentation says.

    preprocessing: the steps from a picture to the network's input. class_names: one for each class.
    """

    model: SegmentationSettings
    preprocessing: tuple[Step, ...]
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        """Raises SettingsError if there is another number of names, or steps that cut off a part of the picture."""
        problems = []
        if len(self.class_names) != self.model.num_classes:
            problems.append(f"there are {len(self.class_names)} class names for {self.model.num_classes} classes")
        if any(isinstance(step, CenterCrop) for step in self.preprocessing):
            problems.append("the preprocessing crops, so masks could not be laid on the whole picture")
        if problems:
            raise SettingsError("These settings do not fit together: " + "; ".join(problems) + ".")


def is_segmentation_configuration(configuration: object) -> bool:
    """Tells whether the content of a configuration.json is that of a folder for semantic segmentation by us."""
    model = configuration.get("model") if isinstance(configuration, Mapping) else None
    return isinstance(model, Mapping) and model.get("type") == names.SEGMENTATION


def segmentation_advice(where: str) -> str:
    """Returns a sentence for those who take such a configuration for a classifier's; where: its file."""
    return (
        f"{where} describes a network for semantic segmentation, which classifies pixels and not pictures: open its "
        f"folder by pipeline({names.SEGMENTATION_TASKS[0]!r}, model=FOLDER) of modelscope.pipelines."
    )


def read_segmentation_configuration(mapping: Mapping[str, object], where: str) -> SegmentationFolderSettings:
    """Returns the settings that a configuration holds; where: the file it came from, for messages.

    Raises SettingsError that lists every problem.
    """
    problems = Problems()
    root = Section(mapping, "", problems)
    model, dataset, preprocessor = (root.section(name) for name in ("model", "dataset", "preprocessor"))
    network = None if model is None else _read_model(model)
    class_names = () if dataset is None else _read_class_names(dataset)
    steps = () if preprocessor is None else _read_steps(preprocessor)
    problems.raise_if_any(where)
    assert network is not None, "a configuration without problems has a model"
    try:
        return SegmentationFolderSettings(network, steps, class_names)
    except SettingsError as error:
        raise SettingsError(f"{where}: {error}") from error


def write_segmentation_configuration(settings: SegmentationFolderSettings) -> dict[str, object]:
    """Returns the configuration of a model folder; read_segmentation_configuration reads the same settings back."""
    network, backbone = settings.model, settings.model.backbone
    return {
        "framework": "pytorch",
        "task": names.SEGMENTATION_TASKS[0],
        "pipeline": {"type": names.SEGMENTATION},
        "model": {
            "type": names.SEGMENTATION,
            "backbone": {
                "image_size": list(backbone.image_size),
                "patch_size": backbone.patch_size,
                "width": backbone.width,
                "depth": backbone.depth,
                "num_heads": backbone.num_heads,
                "mlp_hidden": backbone.mlp_hidden,
                "relative_position": backbone.relative_position,
                "absolute_position": backbone.absolute_position,
                "layer_scale": backbone.layer_scale_init is not None,
                "layer_norm_eps": backbone.layer_norm_eps,
            },
            "feature_blocks": list(network.feature_blocks),
            "pool_scales": list(network.pool_scales),
            "channels": network.channels,
            "num_classes": network.num_classes,
        },
        "dataset": {"classes": list(settings.class_names)},
        "preprocessor": {"val": write_steps(settings.preprocessing)},
    }


def _read_model(model: Section) -> SegmentationSettings | None:
    model.get("type")
    backbone_section = model.section("backbone")
    feature_blocks, pool_scales = read_numbers(model, "feature_blocks"), read_numbers(model, "pool_scales")
    num_classes, channels = model.integer("num_classes", 0), model.integer("channels", 0)
    model.refuse_unknown_keys()
    if backbone_section is None:
        return None
    try:
        backbone = _read_backbone(backbone_section)
        return SegmentationSettings(backbone, feature_blocks, num_classes, channels, pool_scales)
    except SettingsError as error:
        # What could not be read was told already, and made-up values in its place may not fit.
        if not model.problems.wrong:
            model.problems.wrong.append(f"{model.path}: {error}")
        return None


def _read_backbone(section: Section) -> BackboneSettings:
    kinds = get_args(RelativePosition)
    relative_position = section.get("relative_position", "per_layer")
    if relative_position not in kinds:
        section.wrong("relative_position", f"one of {', '.join(kinds)} is expected")
        relative_position = "none"
    read = beit_backbone(
        image_size=section.sides("image_size", 224),
        patch_size=section.integer("patch_size", 16),
        width=section.integer("width", 768),
        depth=section.integer("depth", 12),
        num_heads=section.integer("num_heads", 12),
        mlp_hidden=section.integer("mlp_hidden", 3072),
        relative_position=relative_position,
        absolute_position=section.flag("absolute_position", False),
        layer_scale_init=0.1 if section.flag("layer_scale", True) else None,
        layer_norm_eps=section.number("layer_norm_eps", 1e-12),
    )
    section.refuse_unknown_keys()
    return read


def beit_backbone(**sizes: object) -> BackboneSettings:
    """Returns the settings of transformers' BEiT as a part of a segmentation network: any field of BackboneSettings.

    Relative-position tables follow another input size as transformers makes them follow.
    """
    return BackboneSettings(table_resize="bilinear", **sizes)  # type: ignore[arg-type]


def read_numbers(section: Section, name: str) -> tuple[int, ...]:
    """Returns a list of whole numbers; an empty one after noting that there is none."""
    value = section.get(name)
    if isinstance(value, list | tuple) and all(type(number) is int for number in value):
        return tuple(value)
    section.wrong(name, "a list of whole numbers is expected")
    return ()


def _read_class_names(dataset: Section) -> tuple[str, ...]:
    value = dataset.get("classes")
    if isinstance(value, list | tuple) and all(isinstance(name, str) for name in value):
        return tuple(value)
    dataset.wrong("classes", "a list of class names is expected")
    return ()


def _read_steps(preprocessor: Section) -> tuple[Step, ...]:
    steps = preprocessor.get("val")
    try:
        return read_steps(plain(steps), "preprocessor.val")  # type: ignore[arg-type]
    except SettingsError as error:
        preprocessor.problems.wrong.append(str(error))
        return ()
