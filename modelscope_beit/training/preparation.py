"""From a model folder, a configuration and data to a job whose every part has been checked. No step is made here."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modelscope_beit import names
from modelscope_beit.checkpoints.files import read_weights
from modelscope_beit.data.checks import DataFindings, check_data
from modelscope_beit.data.sources import DataSplits
from modelscope_beit.errors import ModelFolderError, SettingsError
from modelscope_beit.model_folder.label_files import read_labels
from modelscope_beit.model_folder.mm_configuration import run_mm_configuration
from modelscope_beit.model_folder.opening import find_weight_file, read_folder_settings
from modelscope_beit.settings.configuration import FolderSettings, read_configuration
from modelscope_beit.settings.fine_tuning_defaults import fine_tuning_defaults
from modelscope_beit.settings.preprocessing import write_steps
from modelscope_beit.settings.problems import plain
from modelscope_beit.settings.recipe import Recipe, read_recipe
from modelscope_beit.training.job import TrainingJob


@dataclass(frozen=True)
class Start:
    """What a run starts from.

    folder: the model folder. weights: the file that training starts from, unless the configuration says load_from.
    original: the folder's configuration, complete. configuration: the same after everything that the user set.
    where: what to call the configuration in messages.
    """

    folder: Path
    weights: Path
    original: dict[str, object]
    configuration: dict[str, object]
    where: str


@dataclass(frozen=True)
class Prepared:
    """A run that can begin.

    configuration: with the class counts of the data. start_weights: the file that training starts from.
    findings: what was found in the data. notes: what is worth a line each.
    """

    settings: FolderSettings
    recipe: Recipe
    configuration: dict[str, object]
    start_weights: Path
    data: DataSplits
    findings: DataFindings
    notes: tuple[str, ...]


def complete_configuration(folder: Path, *, trust_remote_code: bool = False) -> dict[str, object]:
    """Returns a folder's configuration with everything that a training script may ask for: `train` and so on.

    A config.py is only run with trust, and only counts where configuration.json does not describe the network; so it
    is with ModelScope's stock trainer. Raises BeitError if there is no configuration or the network is not described.
    """
    file = folder / names.CONFIGURATION_FILE
    code = folder / names.MM_CONFIGURATION_FILE
    content = _read_json(file)
    model = content.get("model")
    if code.exists() and not (isinstance(model, Mapping) and "mm_model" in model):
        read_folder_settings(folder, trust_remote_code=trust_remote_code)
        content = {**content, **run_mm_configuration(code)}
    return with_training_sections(content, str(file))


def with_training_sections(configuration: Mapping[str, object], where: str) -> dict[str, object]:
    """Returns a copy with the sections for training that it lacks, and with places for what the hub's scripts set.

    Scripts assign `cfg.train.lr_config.warmup_iters` or `head.loss.num_classes`, so these parents have to be there.
    Raises SettingsError if the network or its preprocessing cannot be read.
    """
    settings = read_configuration(configuration, where)
    content: Any = plain(configuration)
    defaults = fine_tuning_defaults(settings.model.backbone.image_size, write_steps(settings.preprocessing))
    for name, section in defaults.items():
        content[name] = {**dict(section), **(content.get(name) or {})}  # type: ignore[call-overload]
    content["dataset"] = {"classes": None, **(content.get("dataset") or {})}
    for place in (content["train"], content["evaluation"]):
        place["dataloader"] = place.get("dataloader") or {"batch_size_per_gpu": 32, "workers_per_gpu": 2}
    loss = {"type": "LabelSmoothLoss", "label_smooth_val": 0.1, "mode": "original"}
    content["model"]["mm_model"]["head"].setdefault("loss", loss | {"num_classes": settings.model.num_classes})
    return dict(content)


def prepare(start: Start, open_data: Callable[[], DataSplits]) -> Prepared:
    """Opens and checks the data, fits the classes to them, and reads the recipe.

    If the classes of the data are those of the weights in another order, they take over that order.
    Raises SettingsError that lists what is wrong: with the settings, with the data, or between the two.
    """
    # Wrong settings are told before any data are opened, which may take long.
    settings, recipe = read_recipe(start.configuration, where=start.where, original=start.original)
    start_weights = _start_weights(start, recipe)
    known_names = class_names_of(start.folder, start_weights)
    data = _with_class_names(open_data(), known_names, _count_that_was_set(start))
    assert data.train is not None, "data without a training part have been refused"
    class_names = data.train.class_names
    configuration = with_class_count(start.configuration, start.original, class_names)
    settings, recipe = read_recipe(configuration, where=start.where, original=start.original)
    settings = replace(settings, class_names=class_names, class_names_file=None)
    findings = check_data(data.train, data.validation, num_classes=settings.model.num_classes)
    notes = [*data.notes, *_head_note(start, class_names, known_names)]
    if recipe.validates and data.validation is None:
        notes.append("There are no validation data, so nothing is validated and the newest weights are the output.")
    return Prepared(settings, recipe, configuration, start_weights, data, findings, tuple(notes))


def make_job(
    prepared: Prepared,
    *,
    work_dir: Path,
    timestamp: str,
    source: str,
    command: str,
    reopening: Mapping[str, object],
) -> TrainingJob:
    """Returns the job of a prepared run; see TrainingJob for what the words mean."""
    train = prepared.data.train
    assert train is not None, "a prepared run has training data"
    return TrainingJob(
        settings=prepared.settings,
        recipe=prepared.recipe,
        start_weights=prepared.start_weights,
        configuration=prepared.configuration,
        train=train,
        validation=prepared.data.validation,
        work_dir=work_dir,
        timestamp=timestamp,
        source=source,
        data=train.description,
        command=command,
        notes=(findings_text(prepared.findings), *prepared.notes),
        reopening=reopening,
    )


def findings_text(findings: DataFindings) -> str:
    """Returns what was found in the data as lines of a log: a name and a text on each."""
    rows = findings.rows()
    width = max(len(name) for name, _ in rows)
    return "\n".join(["The data:", *(f"  {name:<{width}}  {text}" for name, text in rows)])


def class_names_of(folder: Path, weights: Path) -> tuple[str, ...] | None:
    """Returns the class names that come with weights: their own, or those beside them; None if nobody named them."""
    in_weights = read_weights(weights).meta.get("CLASSES")
    if isinstance(in_weights, list | tuple) and in_weights:
        return tuple(str(name) for name in in_weights)
    file = folder / names.CLASS_NAMES_FILE
    if weights.parent == folder and file.is_file():
        return read_labels(file)
    return None


def with_class_count(
    configuration: Mapping[str, object], original: Mapping[str, object], class_names: Sequence[str]
) -> dict[str, object]:
    """Returns a copy in which head, loss and augmentations have as many classes as the data.

    A count that the user has set, so one that is not the original's, has to be right: SettingsError tells both.
    """
    content: Any = plain(configuration)
    counted = _counted_sections(content)
    before = {path: section.get("num_classes") for path, section in _counted_sections(plain(original)).items()}
    number = len(class_names)
    problems = []
    for path, section in counted.items():
        count = section.get("num_classes")
        if count not in (None, number, before.get(path)):
            problems.append(f"{path}.num_classes is {count}, but the data have {number} classes ({_some(class_names)})")
        if count is not None or path.endswith(".head"):
            section["num_classes"] = number
    if problems:
        advice = f"Set it to {number} or leave it out: it follows the data."
        raise SettingsError("\n- ".join(["The settings and the data do not fit together:", *problems, advice]))
    return dict(content)


def _start_weights(start: Start, recipe: Recipe) -> Path:
    if recipe.load_from is None:
        return start.weights
    path = Path(recipe.load_from).expanduser()
    return find_weight_file(path) if path.is_dir() else path


def _count_that_was_set(start: Start) -> int | None:
    """Returns the number of classes that the user has set; None for the folder's own number."""
    counts = [
        _counted_sections(plain(configuration))["model.mm_model.head"].get("num_classes")
        for configuration in (start.configuration, start.original)
    ]
    return None if counts[0] == counts[1] else counts[0]


def _with_class_names(data: DataSplits, known_names: Sequence[str] | None, set_count: int | None) -> DataSplits:
    """Returns the data with the class names that the run uses for them.

    set_count: the number of classes that the user has set. Data whose labels are numbers without names have that many,
    even if the last ones have no picture.
    """
    train = data.train
    if train is None:
        raise SettingsError("There are no training data; give some.")
    wanted = own = train.class_names
    if known_names is not None and sorted(own) == sorted(known_names):
        wanted = tuple(known_names)
    elif set_count is not None and set_count > len(own) and own == _numbers(len(own)):
        wanted = _numbers(set_count)
    validation = data.validation
    return replace(
        data,
        train=train.relabelled(wanted),
        validation=None if validation is None else validation.relabelled(wanted),
    )


def _head_note(start: Start, class_names: Sequence[str], known_names: Sequence[str] | None) -> list[str]:
    """Returns a line about a head whose rows are kept although they stood for other classes."""
    if known_names is None or len(known_names) != len(class_names) or tuple(known_names) == tuple(class_names):
        return []
    return [
        f"The weights and the data have {len(class_names)} classes each, of different names ({_some(known_names)}; "
        f"{_some(class_names)}): the head's weights are kept as a start."
    ]


def _counted_sections(content: Any) -> dict[str, dict[str, Any]]:
    """Returns path -> each section of a configuration that has, or may have, a class count."""
    mm_model = content["model"]["mm_model"]
    found = {"model.mm_model.head": mm_model["head"], "model.mm_model.head.loss": mm_model["head"].get("loss")}
    train_cfg = mm_model.get("train_cfg")
    augments = train_cfg.get("augments") if isinstance(train_cfg, dict) else None
    for index, augment in enumerate(augments if isinstance(augments, list) else [augments]):
        found[f"model.mm_model.train_cfg.augments[{index}]"] = augment
    return {path: section for path, section in found.items() if isinstance(section, dict)}


def _read_json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelFolderError(
            f"{file} must be a JSON file that describes the model, but it cannot be read as one: {error}"
        ) from error
    if not isinstance(content, dict):
        raise SettingsError(f"{file} must hold a JSON object, not {type(content).__name__}.")
    return content


def _numbers(count: int) -> tuple[str, ...]:
    return tuple(map(str, range(count)))


def _some(class_names: Sequence[str], count: int = 5) -> str:
    return ", ".join([*class_names[:count], *(["..."] if len(class_names) > count else [])])
