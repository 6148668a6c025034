"""From a model folder, a configuration and data to a job whose every part has been checked. No step is made here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from modelscope_beit import names
from modelscope_beit.checkpoints.files import read_weights
from modelscope_beit.data.checks import DataFindings, check_data
from modelscope_beit.data.records import Records
from modelscope_beit.data.streamed import StreamedRecords
from modelscope_beit.errors import SettingsError
from modelscope_beit.model_folder.card import some_names
from modelscope_beit.model_folder.label_files import read_labels
from modelscope_beit.model_folder.networks import evaluation_transform, training_transform
from modelscope_beit.model_folder.opening import find_weight_file
from modelscope_beit.recipe_rules.applying import RuledRecipe, apply_rule, user_settings
from modelscope_beit.settings.configuration import FolderSettings
from modelscope_beit.settings.losses import ForeignLoss
from modelscope_beit.settings.problems import plain
from modelscope_beit.settings.recipe import Recipe, read_recipe
from modelscope_beit.training.job import TrainingJob
from modelscope_beit.training.losses import build_loss
from modelscope_beit.training.recipe_facts import gather_facts
from modelscope_beit.training.start_configuration import counted_sections, with_class_count

# Keys, at the top and in `train`, that say where one run took place, and what it did not take from its start.
_OF_ONE_RUN = frozenset(("work_dir", "resume_from", "load_from", "device", "gpu_ids", "no_validate", "head_init"))


@dataclass(frozen=True)
class Start:
    """What a run starts from.

    folder: the model folder, or the weight file where there is none. weights: the file that training starts from,
    unless the configuration says load_from.
    original: the folder's configuration, complete. configuration: the same after everything that the user set.
    where: what to call the configuration in messages. rule: what makes the recipe out of start, data and device
    ("auto", "bit"); None: the recipe is that of the configuration. named: key paths that the user has set, where the
    two configurations may not tell.
    """

    folder: Path
    weights: Path
    original: dict[str, object]
    configuration: dict[str, object]
    where: str
    rule: str | None = None
    named: tuple[str, ...] = ()

    @property
    def seed(self) -> int:
        """The seed that data without a division of their own are divided with."""
        seed = self.configuration.get("seed")
        return seed if isinstance(seed, int) and seed >= 0 else 0


@dataclass(frozen=True)
class TrainingData:
    """The data of a run, opened. notes: sentences on how they came about.

    is_divided: they came in one part and were divided by chance.
    """

    train: Records | StreamedRecords
    validation: Records | None
    notes: tuple[str, ...] = ()
    is_divided: bool = False


@dataclass(frozen=True)
class Prepared:
    """A run that can begin.

    configuration: with the class counts of the data. start_weights: the file that training starts from.
    findings: what was found in the data. notes: what is worth a line each. ruled: what a rule made of the recipe.
    """

    settings: FolderSettings
    recipe: Recipe
    configuration: dict[str, object]
    start_weights: Path
    data: TrainingData
    findings: DataFindings
    notes: tuple[str, ...]
    ruled: RuledRecipe | None = None


def prepare(start: Start, open_data: Callable[[], TrainingData]) -> Prepared:
    """Opens and checks the data, fits the classes to them, and reads the recipe.

    If the classes of the data are those of the weights in another order, they take over that order.
    Raises SettingsError that lists what is wrong: with the settings, with the data, or between the two.
    """
    # Wrong settings are told before any data are opened, which may take long.
    settings, recipe = read_recipe(start.configuration, where=start.where, original=start.original)
    _check_foreign_parts(settings, recipe)
    start_weights = _start_weights(start, recipe)
    known_names = class_names_of(start.folder, start_weights)
    data = _with_class_names(open_data(), known_names, _count_that_was_set(start))
    class_names = data.train.class_names
    ruled = None
    if start.rule is not None:
        given = user_settings(start.configuration, start.original, start.named)
        facts = gather_facts(settings, recipe, start_weights, known_names, data.train, given)
        ruled = apply_rule(start.rule, start.configuration, facts)
    configuration = with_class_count(ruled.configuration if ruled else start.configuration, start.original, class_names)
    settings, recipe = read_recipe(configuration, where=start.where, original=start.original)
    extra = _without_places(settings.extra)
    settings = replace(settings, class_names=class_names, class_names_file=None, extra=extra)
    findings = check_data(data.train, data.validation, num_classes=settings.model.num_classes)
    notes = [*data.notes, *([ruled.in_words()] if ruled else [])]
    if not recipe.zero_head:
        notes += _head_note(start, class_names, known_names)
    if recipe.early_stopping is not None and data.validation is None:
        raise SettingsError(
            f"train.early_stopping watches the validation, but {data.train.description} comes without validation data. "
            "Add a validation part, or remove early_stopping."
        )
    if recipe.validates and data.validation is None:
        notes.append("There are no validation data, so nothing is validated and the newest weights are the output.")
    return Prepared(settings, recipe, configuration, start_weights, data, findings, tuple(notes), ruled)


def make_job(
    prepared: Prepared,
    *,
    work_dir: Path,
    timestamp: str,
    source: str,
    data: str,
    command: str,
    reopening: Mapping[str, object],
) -> TrainingJob:
    """Returns the job of a prepared run; see TrainingJob for what the words mean."""
    return TrainingJob(
        settings=prepared.settings,
        recipe=prepared.recipe,
        start_weights=prepared.start_weights,
        configuration=prepared.configuration,
        train=prepared.data.train,
        validation=prepared.data.validation,
        work_dir=work_dir,
        timestamp=timestamp,
        source=source,
        data=data,
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


def _check_foreign_parts(settings: FolderSettings, recipe: Recipe) -> None:
    """Lets mmcls say what it thinks of the parts that only it can make; SettingsError or MissingPackageError."""
    evaluation_transform(settings.preprocessing)
    training_transform(recipe.training_steps)
    if isinstance(recipe.loss, ForeignLoss):
        build_loss(recipe.loss, settings.model.num_classes)


def _without_places(extra: Mapping[str, object]) -> dict[str, object]:
    """Returns the rest of a configuration as it goes into the model folder: without paths and devices of this run."""
    kept = {name: value for name, value in extra.items() if name not in _OF_ONE_RUN}
    train = kept.get("train")
    if isinstance(train, dict):
        kept["train"] = {name: value for name, value in train.items() if name not in _OF_ONE_RUN}
    return kept


def _start_weights(start: Start, recipe: Recipe) -> Path:
    if recipe.load_from is None:
        return start.weights
    path = Path(recipe.load_from).expanduser()
    return find_weight_file(path) if path.is_dir() else path


def _count_that_was_set(start: Start) -> int | None:
    """Returns the number of classes that the user has set; None for the folder's own number."""
    counts = [
        counted_sections(plain(configuration))["model.mm_model.head"].get("num_classes")
        for configuration in (start.configuration, start.original)
    ]
    return None if counts[0] == counts[1] else counts[0]


def _with_class_names(data: TrainingData, known_names: Sequence[str] | None, set_count: int | None) -> TrainingData:
    """Returns the data with the class names that the run uses for them.

    set_count: the number of classes that the user has set. Data whose labels are numbers without names have that many,
    even if the last ones have no picture.
    """
    wanted = own = data.train.class_names
    if known_names is not None and sorted(own) == sorted(known_names):
        wanted = tuple(known_names)
    elif set_count is not None and set_count > len(own) and own == _numbers(len(own)):
        wanted = _numbers(set_count)
    validation = data.validation
    return replace(
        data,
        train=data.train.relabelled(wanted),
        validation=None if validation is None else validation.relabelled(wanted),
    )


def _head_note(start: Start, class_names: Sequence[str], known_names: Sequence[str] | None) -> list[str]:
    """Returns a line about a head whose rows are kept although they stood for other classes."""
    if known_names is None or len(known_names) != len(class_names) or tuple(known_names) == tuple(class_names):
        return []
    return [
        f"The weights and the data have {len(class_names)} classes each, of different names "
        f"({some_names(tuple(known_names))}; {some_names(tuple(class_names))}): the head's weights are kept as a start."
    ]


def _numbers(count: int) -> tuple[str, ...]:
    return tuple(map(str, range(count)))
