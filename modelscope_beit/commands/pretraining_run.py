"""What `tokenizer`, `pretrain` and `resume` share: options, the run of a stage, and how it is told."""

import argparse
import json
import os
import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from modelscope_beit import names
from modelscope_beit.commands.model_argument import local_path
from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.overrides import apply_overrides
from modelscope_beit.settings.problems import plain

INTERRUPTED = 130  # 128 + SIGINT, as shells count.
GATE_SAYS_STOP = 4

# Option -> the key that it sets.
_OPTIONS = {
    "epochs": "run.epochs",
    "iterations": "run.iterations",
    "batch_size": "run.batch_size",
    "lr": "run.lr",
    "workers": "run.workers",
    "device": "run.device",
    "precision": "run.precision",
    "seed": "run.seed",
}


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds DATA, where the run goes, and the settings."""
    add = parser.add_argument
    add("data", metavar="DATA", help="pictures: a folder, parquet files, tar shards (webdataset), or a data set's id")
    add("--out", type=Path, metavar="RUN", help="the run folder (default: runs/STAGE_TIME)")
    add("--config", type=Path, metavar="FILE", help="a configuration as in configs/ (default: as published)")
    add("--labelled", metavar="DATA", help="labelled pictures on which features are measured by k-NN every so often")
    add("--stream", action="store_true", help="read tables row by row, without a copy on the disk; needs --iterations")
    add("--epochs", type=int, help="passes over the pictures")
    add("--iterations", type=int, help="batches, in place of epochs")
    add("--batch-size", type=int, help="pictures a batch and process")
    add("--lr", type=float, help="peak learning rate")
    add("--workers", type=int, help="threads that decode")
    add("--device", help="auto, cpu, cuda, cuda:1 ... (default: auto, a GPU if there is one)")
    add("--precision", choices=["auto", "fp32", "bf16", "fp16"], help="default: auto, bf16 where the hardware has it")
    add("--seed", type=int, help="of everything that is random (default: 0)")
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="any setting by its path, e.g. run.clip=1")
    add("--json", action="store_true", help="print one JSON object instead of a table")


def configuration_of(
    arguments: argparse.Namespace, stage: str, changes: Mapping[str, object]
) -> tuple[dict[str, object], str]:
    """Returns the configuration of a run and what to call it: the file's, then the options, then --set.

    stage: what the configuration has to be of. changes: key path -> value, of the command's own options; None: not
    given. Raises SettingsError for a file that is none, or of another stage.
    """
    configuration: dict[str, object] = {"stage": stage}
    where = "the published configuration with the options given"
    if arguments.config is not None:
        configuration, where = _read(arguments.config), str(arguments.config)
        if (named := configuration.get("stage")) != stage:
            raise SettingsError(f"{where}: a configuration with stage {stage!r} is expected, not {named!r}.")
    given = {"data": _lasting(arguments.data), "labelled": arguments.labelled and _lasting(arguments.labelled)}
    given |= {"stream": True if arguments.stream else None, **changes}
    given |= {key: getattr(arguments, option) for option, key in _OPTIONS.items()}
    lines = [f"{key}={json.dumps(value)}" for key, value in given.items() if value is not None]
    if arguments.iterations is not None and arguments.epochs is None:
        lines.append("run.epochs=null")
    if arguments.epochs is not None and arguments.iterations is None:
        lines.append("run.iterations=null")
    return apply_overrides(configuration, [*lines, *arguments.set]), where


def run_stage(arguments: argparse.Namespace, configuration: Mapping[str, object], where: str) -> int:
    """Trains a stage and returns 0, 130 after an interruption, or 4 if the gate says stop."""
    timestamp = time.strftime("%Y%m%d_%H%M%S")
    if arguments.out is None and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise SettingsError("Several processes need one folder for their run: give --out.")
    out = arguments.out or Path("runs") / f"{configuration['stage']}_{timestamp}"

    # Deferred, so that help and wrong usage are told at once: these bring torch.
    from modelscope_beit.pretraining.opening import RunPlace, open_pretraining_job
    from modelscope_beit.training.reopening import refuse_to_replace

    refuse_to_replace(out)
    place = RunPlace(out, timestamp, shlex.join([names.COMMAND, *sys.argv[1:]]))
    job = open_pretraining_job(configuration, place, where=where, find_model=local_path)
    return _train_and_tell(job, is_json=arguments.json)


def resume_stage(run: Path, overrides: list[str]) -> int:
    """Goes on with a run of a stage from its newest checkpoint; overrides: KEY=VALUE each. Returns as run_stage."""
    # Deferred, so that help and wrong usage are told at once: these bring torch.
    from modelscope_beit.pretraining.opening import RunPlace, open_pretraining_job

    configuration = apply_overrides(_read(run / names.CONFIGURATION_FILE), overrides)
    command = shlex.join([names.COMMAND, *sys.argv[1:]])
    place = RunPlace(run, time.strftime("%Y%m%d_%H%M%S"), command, is_resumed=True)
    job = open_pretraining_job(configuration, place, where=str(run), find_model=local_path)
    return _train_and_tell(job, is_json=False)


def is_pretraining_run(run: Path) -> bool:
    """Tells whether a folder holds a run of a stage of pre-training."""
    file = run / names.CONFIGURATION_FILE
    return file.is_file() and "stage" in _read(file)


def _train_and_tell(job: object, *, is_json: bool) -> int:
    # Deferred, so that help and wrong usage are told at once: these bring torch.
    from modelscope_beit.commands.facts_view import print_facts
    from modelscope_beit.pretraining.job import PretrainingJob
    from modelscope_beit.pretraining.pretrain import pretrain
    from modelscope_beit.training.processes import is_main_process

    assert isinstance(job, PretrainingJob)
    result = pretrain(job)
    if result.was_interrupted or result.verdict is None:
        return INTERRUPTED
    verdict = result.verdict
    if is_main_process():
        facts = {
            "Run": str(job.work_dir),
            "Gate": "go on" if verdict.goes_on else "stop",
            **{f"Why {number}": reason for number, reason in enumerate(verdict.reasons, start=1)},
            **{name: f"{value:.4g}" for name, value in result.gauges.items() if name != "iteration"},
            "Report": str(result.report),
            "Weights": ", ".join(map(str, result.files)),
        }
        if is_json:
            content = {"run": str(job.work_dir), "goes_on": verdict.goes_on, "reasons": verdict.reasons}
            print(json.dumps({**content, "gauges": dict(result.gauges), "files": [str(file) for file in result.files]}))
        else:
            print_facts(f"The {job.stage.name} stage, {result.iterations:,} iterations.", facts)
    return 0 if verdict.goes_on else GATE_SAYS_STOP


def _read(file: Path) -> dict[str, object]:
    try:
        content = plain(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{file}: a configuration in JSON is expected, but reading it failed ({error}).") from error
    if not isinstance(content, dict):
        raise SettingsError(f"{file}: a mapping (a JSON object) is expected.")
    return content


def _lasting(data: str) -> str:
    """Returns a location that means the same from another working directory."""
    path = Path(data).expanduser()
    return str(path.absolute()) if path.exists() else data
