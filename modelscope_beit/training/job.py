"""What a training run is given, and what it gives back. No work is done here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from modelscope_beit.data.records import Records
from modelscope_beit.data.streamed import StreamedRecords
from modelscope_beit.settings.configuration import FolderSettings
from modelscope_beit.settings.recipe import Recipe


@dataclass(frozen=True)
class TrainingJob:
    """Everything about a run, decided and checked before its first step.

    settings: the network to train, with the class names of the data; preprocessing is the evaluation's.
    start_weights: the file that training starts from, of any known layout.
    configuration: the whole configuration as the user made it, written to the run folder.
    source: what is trained, as a person would say it: the hub id or the folder. data: where the data came from.
    timestamp: names the log files. command: what a person would type to do it again.
    notes: what was found before, each worth a line (or several) of the log.
    reopening: plain values that `beit resume` needs to open model and data again; empty for a script's run.
    """

    settings: FolderSettings
    recipe: Recipe
    start_weights: Path
    configuration: dict[str, object]
    train: Records | StreamedRecords
    validation: Records | None
    work_dir: Path
    timestamp: str
    source: str
    data: str
    command: str
    notes: tuple[str, ...] = ()
    reopening: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingResult:
    """How a run ended.

    iterations, epochs: completed ones. was_interrupted: a signal ended the run, and it can go on.
    checkpoint: the newest file that the run can go on from. best_checkpoint: that of the best validation result, whose
    numbers are `best_metrics`; None if nothing was validated. output: the model folder that pipeline() opens.
    stopped_early: a sentence on why the run ended before its length, if early stopping ended it.
    """

    iterations: int
    epochs: int
    was_interrupted: bool
    checkpoint: Path | None
    best_checkpoint: Path | None
    best_metrics: dict[str, float]
    output: Path | None
    stopped_early: str = ""
