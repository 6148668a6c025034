"""A small run that has ended, as tests of publishing need it: trained, measured, with paths of this machine in it."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import training_jobs
from modelscope_beit.training.finetune import finetune
from modelscope_beit.training.run_evaluation import report_on_run


def write_run(folder: Path) -> Path:
    """Trains the tiny network for an epoch, writes the report, and returns the run's folder."""
    job = training_jobs.make_job(folder, training_jobs.configuration({"max_epochs": 1}))
    data = folder.parent / "my pets"
    job = dataclasses.replace(job, data=str(data), source=str(folder.parent), command=f"beit train tiny '{data}'")
    finetune(job)
    report_on_run(job)
    return folder


def change_json(path: Path, **changes: Any) -> None:
    """Changes keys of a JSON object in a file."""
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")
