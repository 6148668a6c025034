"""What a stage's run is given, and what it gives back. No work is done here."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modelscope_beit.data.records import Records
from modelscope_beit.data.unlabelled import PictureStream
from modelscope_beit.pretraining.stage import Stage, Verdict
from modelscope_beit.settings.pretraining_run import PretrainingRun


@dataclass(frozen=True)
class Labelled:
    """Labelled pictures for the k-NN gauge: those that vote, and those that are asked about."""

    train: Records
    validation: Records


@dataclass(frozen=True)
class PretrainingJob:
    """Everything about a run of one stage, decided before its first step.

    pictures: without labels; of a stream this process's part. labelled: for k-NN; None: it is not measured.
    configuration: the whole of it, written to the run folder. output_configuration: that of the model folder which the
    weights for others make together with it; None: they make none. data: where the pictures came from.
    is_resumed: go on from the newest checkpoint in work_dir. timestamp: names the log files.
    command: what a person would type to do it again. notes: what is worth a line of the log.
    """

    stage: Stage
    recipe: PretrainingRun
    pictures: Records | PictureStream
    labelled: Labelled | None
    configuration: Mapping[str, object]
    work_dir: Path
    timestamp: str
    data: str
    command: str
    output_configuration: Mapping[str, object] | None = None
    is_resumed: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PretrainingResult:
    """How a run ended.

    iterations: completed ones. was_interrupted: a signal ended the run, and it can go on; verdict is then None.
    verdict: the gate's. gauges: the last ones. files: what was written for others, in unilm's layout.
    """

    iterations: int
    was_interrupted: bool
    verdict: Verdict | None
    gauges: Mapping[str, float]
    files: tuple[Path, ...]
    report: Path | None
