"""How a stage's run ends: the gate, the files for others, the pictures and the report."""

import base64
import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch

from modelscope_beit import names
from modelscope_beit.checkpoints.files import write_atomically
from modelscope_beit.errors import SettingsError
from modelscope_beit.evaluation.markup import section, table, text
from modelscope_beit.evaluation.report_page import card, document, facts_table
from modelscope_beit.pretraining.gauging import aside_batches
from modelscope_beit.pretraining.job import PretrainingResult
from modelscope_beit.pretraining.run import PretrainingProgress
from modelscope_beit.pretraining.stage import Verdict
from modelscope_beit.training.curves import CURVES_FILE

GATE_FILE, REPORT_FILE = "gate.json", "report.html"
_PICTURES = "pictures"


def conclude(run: PretrainingProgress, *, was_interrupted: bool) -> PretrainingResult:
    """Returns how the run ended; unless a signal ended it, the gate has spoken and the report is written."""
    files = tuple(run.job.work_dir / names.RUN_OUTPUT / name for name in run.job.stage.checkpoint_files())
    gauges = run.history[-1] if run.history else {}
    if was_interrupted:
        return PretrainingResult(run.progress.iterations, True, None, gauges, files, None)
    verdict = run.job.stage.gate(run.history)
    run.log.note("\n".join(["Gate: go on." if verdict.goes_on else "Gate: stop.", *verdict.reasons]))
    report = run.job.work_dir / REPORT_FILE
    with run.processes.together():
        if run.folder is not None:
            _write_json(
                run.job.work_dir / GATE_FILE, {"stage": run.job.stage.name, **asdict(verdict), "gauges": gauges}
            )
            _write_report(run, verdict, report)
            run.folder.finish()
    # What follows in any process may ask for the files of the first one.
    run.accelerator.wait_for_everyone()
    return PretrainingResult(run.progress.iterations, False, verdict, gauges, files, report)


def write_files(run: PretrainingProgress) -> None:
    """Writes the newest weights for others, each file all or nothing, and what makes a model folder of them."""
    folder = run.job.work_dir / names.RUN_OUTPUT
    folder.mkdir(exist_ok=True)
    for name, content in run.job.stage.checkpoint_files().items():
        write_atomically(folder / name, partial(torch.save, content))
    if run.job.output_configuration is not None:
        _write_json(folder / names.CONFIGURATION_FILE, run.job.output_configuration)


def read_gate(folder: Path) -> Verdict | None:
    """Returns what the gate of a run folder said; None if the run has not come to its gate.

    Raises SettingsError if the file is none of ours.
    """
    file = folder / GATE_FILE
    if not file.is_file():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return Verdict(bool(content["goes_on"]), tuple(map(str, content["reasons"])))
    except (ValueError, KeyError, TypeError) as error:
        raise SettingsError(
            f"{file}: what a finished stage wrote is expected, but reading it failed ({error})."
        ) from error


def _write_report(run: PretrainingProgress, verdict: Verdict, file: Path) -> None:
    """Writes report.html: the verdict, gauges, curves, pictures, and what was run."""
    pictures = {"Loss, learning rate and gauges": run.job.work_dir / CURVES_FILE}
    if run.aside is not None:
        folder = run.job.work_dir / _PICTURES
        folder.mkdir(exist_ok=True)
        run.network.eval()
        with torch.no_grad(), run.accelerator.autocast(), closing(aside_batches(run)) as batches:
            pictures |= run.job.stage.pictures(folder, batches)
    title = f"Pre-training, {run.job.stage.name} stage, of {run.job.work_dir.name}"
    run.log.draw()
    body = "\n".join(
        [
            f"<header><h1>{text(title)}</h1><p>{run.progress.iterations:,} iterations</p></header>",
            _verdict(verdict),
            _cards(run),
            *(section(caption, _figure(path)) for caption, path in pictures.items() if path.is_file()),
            section("Gauges over the run", _gauges(run)),
            section("What was run", facts_table(_facts(run))),
        ]
    )
    page = document(title, body)
    write_atomically(file, lambda beside: beside.write_text(page, encoding="utf-8"))


def _verdict(verdict: Verdict) -> str:
    reasons = "".join(f"<li>{text(reason)}</li>" for reason in verdict.reasons)
    kind = "" if verdict.goes_on else ' class="alarm"'
    word = "Go on: the next stage may build on this one." if verdict.goes_on else "Stop: not ready for the next stage."
    return f"<div{kind}><p><b>{word}</b></p><ul>{reasons}</ul></div>"


def _cards(run: PretrainingProgress) -> str:
    last = run.history[-1] if run.history else {}
    cards = [card(f"{value:,.4g}", name, "") for name, value in last.items() if name != "iteration"]
    return f'<div class="cards">{"".join(cards)}</div>'


def _figure(path: Path) -> str:
    content = base64.b64encode(path.read_bytes()).decode()
    return f'<figure><img src="data:image/png;base64,{content}" alt=""></figure>'


def _gauges(run: PretrainingProgress) -> str:
    heads = list(dict.fromkeys(name for row in run.history for name in row))
    rows = [[text(f"{row[name]:,.4g}") if name in row else "" for name in heads] for row in run.history]
    return f'<div class="scrolls">{table(heads, rows, words=0)}</div>'


def _facts(run: PretrainingProgress) -> dict[str, str]:
    return {
        "Command": run.job.command,
        "Data": f"{run.job.data}: {run.pictures.description}",
        "Precision": run.precision,
        "Processes": str(run.accelerator.num_processes),
        "Configuration": json.dumps(run.job.configuration, indent=2, default=str),
    }


def _write_json(path: Path, content: Mapping[str, object]) -> None:
    written = json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n"
    write_atomically(path, lambda beside: beside.write_text(written, encoding="utf-8"))
