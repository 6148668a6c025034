"""A model folder's configuration.json <-> FolderSettings: network, preprocessing, class names, and all the rest.

Reading is generous: what is not about the network, the pixels or the class names is kept and not judged. Writing is
strict: the hub's schema, with enough of `train` and `evaluation` for ModelScope's stock trainer to start from.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field

from modelscope_beit import names
from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.any_model import (
    AnyModelSettings,
    collect_any_model,
    part_for_training,
    write_any_model,
)
from modelscope_beit.settings.confidence import CONFIDENCE, Confidence, read_confidence, write_confidence
from modelscope_beit.settings.fine_tuning_defaults import default_loss, fine_tuning_defaults
from modelscope_beit.settings.foreign_models import MmclsModelSettings
from modelscope_beit.settings.foreign_steps import (
    ForeignSteps,
    Preprocessing,
    picture_size,
    read_preprocessing,
    write_preprocessing,
)
from modelscope_beit.settings.model import ModelSettings
from modelscope_beit.settings.preprocessing import Step
from modelscope_beit.settings.problems import Problems, Section, plain, shown
from modelscope_beit.settings.segmentation import is_segmentation_configuration, segmentation_advice

# Top-level keys that ModelScope or this package reads; any other one is kept, but worth a word in the log.
KNOWN_KEYS = frozenset(
    "model dataset preprocessor train evaluation device fp16 seed gpu_ids work_dir find_unused_parameters".split()
    + "plugins allow_remote no_validate deterministic launcher dist_params cudnn_benchmark log_level".split()
    + "opencv_num_threads mp_start_method".split()
    + [CONFIDENCE]
)


@dataclass(frozen=True)
class FolderSettings:
    """What a configuration.json says.

    preprocessing: the steps from a picture to the network's input, when predicting and evaluating.
    class_names: the list under dataset.classes, if there is one; one name per row of the head.
    class_names_file: the text file that dataset.classes names instead, one name a line; relative to the folder.
    pipeline: the registered name of the ModelScope pipeline that opens the folder.
    extra: everything else (losses, training recipe, keys that nobody here knows), as it was found.
    confidence: how scores are to be read, where the folder was calibrated; for the weights that it names only.
    """

    model: AnyModelSettings
    preprocessing: Preprocessing
    class_names: tuple[str, ...] | None = None
    class_names_file: str | None = None
    pipeline: str = names.WRITTEN_PIPELINE
    extra: dict[str, object] = field(default_factory=dict)
    confidence: Confidence | None = None


def read_configuration(mapping: Mapping[str, object], where: str) -> FolderSettings:
    """Returns the settings that a configuration holds.

    mapping: the whole configuration; any Mapping, also ModelScope's own ConfigDict. It is not changed.
    where: the file or object it came from, for messages. Raises SettingsError that lists every problem.
    """
    if not isinstance(mapping, Mapping):
        raise SettingsError(f"{where} must hold a mapping (a JSON object), not {shown(mapping)}.")
    if is_segmentation_configuration(mapping):
        raise SettingsError(segmentation_advice(where))
    problems = Problems()
    settings = collect_configuration(mapping, problems)
    problems.raise_if_any(where)
    assert settings is not None, "a configuration without problems has settings"
    return settings


def collect_configuration(mapping: Mapping[str, object], problems: Problems) -> FolderSettings | None:
    """Reads a configuration as read_configuration does, but adds what is wrong to `problems`.

    Returns None where it cannot be used.
    """
    content = plain(mapping)
    assert isinstance(content, dict)
    root = Section(content, "", problems)
    _check_kind(root)
    model = _read_model(root)
    steps = _read_preprocessing(root)
    class_names, class_names_file = _read_classes(root)
    pipeline = _read_pipeline(root)
    confidence = read_confidence(root)
    if model is None or problems.wrong or problems.foreign:
        return None
    extra = _remove_interpreted(content, model)
    return FolderSettings(model, steps, class_names, class_names_file, pipeline, extra, confidence)


def write_configuration(settings: FolderSettings) -> dict[str, object]:
    """Returns the configuration of a model folder; read_configuration reads the same settings back.

    What `settings.extra` holds is written too; a training recipe is filled in where there is none. Class counts in
    the loss and in the mixing of samples (train_cfg.augments) follow the head.
    """
    steps = write_preprocessing(settings.preprocessing)
    classes: object = settings.class_names_file
    if settings.class_names is not None:
        classes = list(settings.class_names)
    written = _merged(
        deepcopy(settings.extra),
        {
            "framework": "pytorch",
            "task": names.TASK,
            "pipeline": {"type": settings.pipeline},
            "model": {"type": names.MODEL, "mm_model": write_any_model(settings.model)},
            "dataset": {"classes": classes},
            "preprocessor": {"val": steps},
        },
    )
    _fill_in(written, fine_tuning_defaults(picture_size(settings.model.image_size, steps), steps))
    mm_model = _child(_child(written, "model"), "mm_model")
    if not isinstance(settings.model, MmclsModelSettings):
        _child(mm_model, "head").setdefault("loss", default_loss(settings.model.num_classes))
    _set_class_counts(mm_model, settings.model.num_classes)
    if settings.confidence is not None:
        written[CONFIDENCE] = write_confidence(settings.confidence)
    return written


def native_parts(settings: FolderSettings, purpose: str) -> tuple[ModelSettings, tuple[Step, ...]]:
    """Returns network and preprocessing of a folder whose every part is ours.

    purpose: what they are needed for, as a clause after "needed". Raises SettingsError for parts of timm or mmcls.
    """
    if isinstance(settings.model, ModelSettings) and not isinstance(settings.preprocessing, ForeignSteps):
        return settings.model, settings.preprocessing
    raise SettingsError(
        f"A BEiT v2, BEiT, ViT or DeiT with native preprocessing is needed {purpose}, but parts of this model are "
        "built by timm or mmcls."
    )


def unknown_keys(settings: FolderSettings) -> list[str]:
    """Returns the top-level keys of a configuration that neither ModelScope nor this package reads."""
    return [name for name in settings.extra if name not in KNOWN_KEYS and not name.startswith("_")]


def _check_kind(root: Section) -> None:
    for name, expected in (("framework", "pytorch"), ("task", names.TASK)):
        if root.get(name, expected) != expected:
            root.wrong(name, f"{expected!r} is expected")


def _read_model(root: Section) -> AnyModelSettings | None:
    model = root.section("model")
    if model is None:
        return None
    if model.get("type", names.MODEL) != names.MODEL:
        model.wrong("type", f"{names.MODEL!r} is expected; other models are opened by ModelScope itself")
        return None
    mm_model = model.section("mm_model")
    return None if mm_model is None else collect_any_model(mm_model.mapping, mm_model.path, root.problems)


def _read_preprocessing(root: Section) -> Preprocessing:
    preprocessor = root.section("preprocessor")
    if preprocessor is None:
        return ()
    steps = preprocessor.get("val")
    if not isinstance(steps, list) or not steps:
        preprocessor.wrong("val", "a list of mmcls transforms is expected, e.g. [{'type': 'Resize', ...}, ...]")
        return ()
    try:
        return read_preprocessing(steps, "preprocessor.val")
    except SettingsError as error:
        root.problems.wrong.append(str(error))
        return ()


def _read_classes(root: Section) -> tuple[tuple[str, ...] | None, str | None]:
    """Returns the class names, or the file that holds them, or neither."""
    if root.get("dataset") is None:
        return None, None
    dataset = root.section("dataset")
    classes = dataset.get("classes") if dataset else None
    if dataset is None or classes is None:
        return None, None
    if isinstance(classes, str):
        return None, classes
    if isinstance(classes, list) and classes and all(isinstance(name, str) for name in classes):
        return tuple(classes), None
    dataset.wrong("classes", "null, a list of names or the path of a text file is expected")
    return None, None


def _read_pipeline(root: Section) -> str:
    pipeline = root.get("pipeline")
    kind = pipeline.get("type") if isinstance(pipeline, dict) else pipeline
    if kind is None:
        return names.WRITTEN_PIPELINE
    if isinstance(kind, str):
        return kind
    root.wrong("pipeline", "{'type': NAME} is expected")
    return names.WRITTEN_PIPELINE


def _remove_interpreted(content: dict[str, object], settings: AnyModelSettings) -> dict[str, object]:
    """Returns what FolderSettings has no field for, but for `model_dir`, a path that ModelScope adds."""
    fixed = ("framework", "task", "pipeline", "model_dir", CONFIDENCE)
    rest: dict[str, object] = {name: value for name, value in content.items() if name not in fixed}
    for name, interpreted in (("dataset", "classes"), ("preprocessor", "val"), ("model", "type")):
        section = rest.get(name)
        if isinstance(section, dict):
            rest[name] = {key: value for key, value in section.items() if key != interpreted}
    model = rest["model"]
    assert isinstance(model, dict), "a configuration without problems has a model"
    rest["model"] = model | {"mm_model": part_for_training(model["mm_model"], settings)}
    return rest


def _merged(below: Mapping[str, object], above: Mapping[str, object]) -> dict[str, object]:
    """Returns both mappings in one, key by key at every depth; `above` wins, and its keys come first."""
    merged = dict(above)
    for name, value in below.items():
        upper = above.get(name)
        if name not in above:
            merged[name] = value
        elif isinstance(upper, Mapping) and isinstance(value, Mapping):
            merged[name] = _merged(value, upper)
    return merged


def _fill_in(content: dict[str, object], defaults: Mapping[str, object]) -> None:
    """Adds what `train`, `evaluation` and `preprocessor` lack. What stands there is never mixed with a default."""
    for name, section in defaults.items():
        assert isinstance(section, Mapping), "defaults come in sections"
        content[name] = {**section, **_child(content, name)}


def _set_class_counts(mm_model: dict[str, object], num_classes: int) -> None:
    augments = _child(mm_model, "train_cfg").get("augments")
    for counted in (_child(mm_model, "head").get("loss"), *(augments if isinstance(augments, list) else [augments])):
        if isinstance(counted, dict) and "num_classes" in counted:
            counted["num_classes"] = num_classes


def _child(mapping: Mapping[str, object], name: str) -> dict[str, object]:
    """Returns the mapping under a key, or an empty one if there is none."""
    value = mapping.get(name)
    return value if isinstance(value, dict) else {}
