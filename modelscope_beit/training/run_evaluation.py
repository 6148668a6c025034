"""Measures weights that a run has written, or would start from: exactly, in any number of processes."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from modelscope_beit.data.batches import evaluation_batches
from modelscope_beit.data.class_names import match_names
from modelscope_beit.data.records import Records
from modelscope_beit.data.streamed import StreamedRecords
from modelscope_beit.errors import CheckpointError, ModelFolderError
from modelscope_beit.evaluation.hub_card import hub_card_in_words, hub_card_numbers
from modelscope_beit.evaluation.measuring import measure
from modelscope_beit.evaluation.metrics import metrics_of
from modelscope_beit.evaluation.of_records import LikePipeline
from modelscope_beit.evaluation.outcomes import Outcomes
from modelscope_beit.evaluation.report import HTML_FILE, write_report
from modelscope_beit.model_folder.card import some_names
from modelscope_beit.model_folder.label_files import imagenet_1k_labels
from modelscope_beit.model_folder.networks import evaluation_transform, load_network
from modelscope_beit.settings.configuration import FolderSettings
from modelscope_beit.settings.problems import plain
from modelscope_beit.settings.recipe import Recipe, read_recipe
from modelscope_beit.training.acceleration import choose_precision, open_accelerator
from modelscope_beit.training.job import TrainingJob
from modelscope_beit.training.preparation import class_names_of
from modelscope_beit.training.processes import Processes
from modelscope_beit.training.run_folder import RunFolder

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Trained:
    """Weights and what they stand for. settings: with their class names, and the head that goes with these."""

    weights: Path
    settings: FolderSettings


@dataclass(frozen=True)
class Evaluation:
    """What was measured; metrics: mmcls's keys, in percent. is_main: this process is the one that writes.

    reference: what the hub's card says of this model on these data, in words; None if it says nothing.
    """

    outcomes: Outcomes
    metrics: dict[str, float | np.ndarray]
    is_main: bool
    reference: str | None


@dataclass(frozen=True)
class RunReport:
    """What report_on_run measured; page: report.html."""

    metrics: dict[str, float | np.ndarray]
    page: Path

    def in_words(self) -> dict[str, str]:
        """Returns name -> value of the metrics that are one number, in percent."""
        return {name: f"{value:.2f}" for name, value in self.metrics.items() if isinstance(value, float)}


def read_for_evaluation(
    configuration: Mapping[str, object], *, where: str, original: Mapping[str, object]
) -> tuple[FolderSettings, Recipe]:
    """Returns what read_recipe does, but without looking at what concerns training only: it may be anything.

    Raises SettingsError if the network, the preprocessing or the evaluation cannot be read.
    """
    return read_recipe(_without_training(configuration), where=where, original=_without_training(original))


def trained_weights(work_dir: Path) -> Path | None:
    """Returns the best checkpoint of the run in a folder, else its newest, or None if there is neither.

    What the run's record names counts, so a file that an earlier run left there is never taken. A folder of the stock
    trainer has no record: there it is the best checkpoint that was written last, else the one of the latest epoch.
    """
    try:
        record = RunFolder.open(work_dir).record
    except ModelFolderError:
        return _weights_of_stock_run(work_dir)
    newest = [entry["file"] for entry in record["checkpoints"][::-1]]
    wanted = [record["best"]["file"], *newest] if record["best"] else newest
    present = [work_dir / name for name in wanted if (work_dir / name).is_file()]
    if wanted and not present:
        raise CheckpointError(f"The checkpoints of the run in {work_dir} are gone: {', '.join(wanted)}.")
    if wanted and present[0].name != wanted[0]:
        _logger.warning("%s is gone; %s takes its place.", work_dir / wanted[0], present[0].name)
    return present[0] if present else None


def describe_weights(weights: Path, folder: Path, settings: FolderSettings) -> Trained:
    """Returns the weights with the class names that they stand for.

    folder: the model folder that the weights belong to or were trained from. Raises CheckpointError if nobody says
    what the classes are called, unless they are as many as ImageNet-1k has: then its names are used, with a warning.
    """
    class_names = class_names_of(folder, weights)
    if class_names is None and settings.class_names is not None:
        class_names = settings.class_names
    if class_names is None:
        class_names = imagenet_1k_labels()
        if settings.model.num_classes != len(class_names):
            raise CheckpointError(
                f"{weights} does not say what its {settings.model.num_classes} classes are called (meta.CLASSES is "
                f"missing), and {folder} has no classname.txt. Add one with one name a line."
            )
        _logger.warning("%s has no class names; those of ImageNet-1k are taken for them.", weights)
    model = settings.model.with_num_classes(len(class_names))
    return Trained(weights, replace(settings, model=model, class_names=class_names, class_names_file=None))


def evaluate(
    trained: Trained,
    records: Records | StreamedRecords,
    recipe: Recipe,
    *,
    on_batch: Callable[[int], None] | None = None,
) -> Evaluation:
    """Measures weights as `pipeline` would use them: the same network form, the same pixels, float32 unless told.

    recipe: its device, loader, precision and final_evaluation count. on_batch: called with the pictures of each batch.
    Classes of data and weights are matched by name. Data that share not one name with the weights but have as many
    classes (the same ones in another language) are taken to have their order, with a warning, as in the stock trainer.
    Raises BeitError if the weights cannot be opened or a label is no class of theirs.
    """
    class_names = trained.settings.class_names or ()
    records = _matched(records, class_names)
    accelerator = open_accelerator(recipe)
    network = load_network(trained.settings.model, trained.weights).to(accelerator.device)
    batches = evaluation_batches(
        records,
        evaluation_transform(trained.settings.preprocessing),
        batch_size=recipe.evaluation_batch_size,
        workers=recipe.evaluation_workers,
        rank=accelerator.process_index,
        world_size=accelerator.num_processes,
    )
    precision = "fp32" if recipe.precision == "auto" else choose_precision(recipe.precision, accelerator.device)
    outcomes = measure(
        LikePipeline(network),
        Processes(accelerator.num_processes).each(batches),
        class_names=class_names,
        device=accelerator.device,
        precision=precision,
        on_batch=on_batch,
    )
    wanted = recipe.final_evaluation
    metrics = metrics_of(outcomes, wanted.metrics, wanted.options)
    card = hub_card_numbers(
        num_parameters=sum(parameter.numel() for parameter in network.parameters()),
        class_names=class_names,
        pictures=len(outcomes),
    )
    return Evaluation(outcomes, metrics, accelerator.is_main_process, hub_card_in_words(card) if card else None)


def _matched(records: Records | StreamedRecords, class_names: tuple[str, ...]) -> Records | StreamedRecords:
    has_common_name = bool((match_names(records.class_names, class_names) >= 0).any())
    if has_common_name or len(records.class_names) != len(class_names):
        return records.relabelled(class_names)
    _logger.warning(
        "%s: not one of its class names is among those of the weights (%s; %s). There are %d of both, so they are "
        "taken to be in the same order.",
        records.description,
        some_names(records.class_names),
        some_names(class_names),
        len(class_names),
    )
    return records


def _without_training(configuration: Mapping[str, object]) -> dict[str, object]:
    content: Any = plain(configuration)
    content.pop("train", None)
    content.get("preprocessor", {}).pop("train", None)
    mm_model = content.get("model", {}).get("mm_model", {})
    mm_model.pop("train_cfg", None)
    mm_model.get("head", {}).pop("loss", None)
    return dict(content)


def report_on_run(job: TrainingJob) -> RunReport | None:
    """Measures what a run has trained on its validation data and writes report.html and report.json beside it.

    Returns None if there are no validation data, or no checkpoint. Every process has to call it.
    """
    weights = trained_weights(job.work_dir)
    if weights is None or job.validation is None:
        return None
    trained = Trained(weights, job.settings)
    found = evaluate(trained, job.validation, job.recipe)
    page = job.work_dir / HTML_FILE
    if found.is_main:
        write_evaluation(job.work_dir, trained, found, job.validation, source=job.source, command=job.command)
    return RunReport(found.metrics, page)


def write_evaluation(
    folder: Path, trained: Trained, found: Evaluation, records: Records, *, source: str, command: str
) -> Path:
    """Writes the report of an evaluation into a folder and returns its page; source: the model, as a person says it."""
    facts = {"Model": source, "Weights": str(trained.weights), "Data": records.description, "Command": command}
    if found.reference is not None:
        facts["The hub's card says"] = found.reference
    return write_report(folder, found.outcomes, records, title=f"{source} on {records.description}", facts=facts)


def _weights_of_stock_run(work_dir: Path) -> Path | None:
    best = sorted(work_dir.glob("best_*_*.pth"), key=lambda path: path.stat().st_mtime)
    regular = [path for path in work_dir.glob("epoch_*.pth") if path.stem.removeprefix("epoch_").isdecimal()]
    regular.sort(key=lambda path: int(path.stem.removeprefix("epoch_")))
    found = best or regular
    return found[-1] if found else None
