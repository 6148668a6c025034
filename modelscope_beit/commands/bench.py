"""Measure a model on this machine's processor: speed, latency, memory and exactness of each form it can answer in.

Each form, such as bf16 by torch or int8 by OpenVINO, runs in a process of its own; they take turns, one computing at a
time. Answers are compared with those of fp32 by torch, on the pictures that come with the package. Pictures are ready
in memory: decoding is not measured. int8 takes its ranges from each batch by torch, from these pictures elsewhere.

Examples:
  beit bench embedded
  beit bench my_model --batch-size 1 8 32 --precision bf16 int8 --backend torch
  beit bench my_model --seconds 30 --json
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from itertools import product
from typing import TYPE_CHECKING

from modelscope_beit.commands.model_argument import local_path
from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.inference import AUTO, PRECISIONS, PRECISIONS_BY, RUNTIMES, TORCH, InferenceSettings

if TYPE_CHECKING:
    from modelscope_beit.prediction.form_choice import Choice
    from modelscope_beit.prediction.form_speed import FormSpeed, OnStep

_PRECISIONS = tuple(name for name in PRECISIONS if name != AUTO)
_USUAL_PRECISIONS = ("fp32", "bf16", "int8")
_USUAL_BATCHES = (1, 8)
_USUAL_SECONDS = 6.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds MODEL, which forms, and how long."""
    add = parser.add_argument
    add("model", metavar="MODEL", help="a model folder, a hub id, or the word embedded")
    add("--batch-size", type=int, nargs="+", default=_USUAL_BATCHES, metavar="N", help="pictures per pass (1 8)")
    add("--precision", choices=_PRECISIONS, nargs="+", default=_USUAL_PRECISIONS, help="default: fp32 bf16 int8; fp32 "
        "by torch is always measured")  # fmt: skip
    add("--backend", choices=(TORCH, *RUNTIMES), nargs="+", help="default: all that are installed")
    add("--seconds", type=float, default=_USUAL_SECONDS, metavar="S", help="for each form and batch size (6)")
    add("--json", action="store_true", help="print one JSON object in place of a table")
    add("--trust-remote-code", action="store_true", help="allow a model folder to run code of its own")


def run(arguments: argparse.Namespace) -> int:
    """Measures, prints and returns 0. Raises BeitError before anything is measured if the model cannot be opened."""
    missing = [name for name in RUNTIMES if find_spec(name) is None]
    backends = arguments.backend or [TORCH, *(name for name in RUNTIMES if name not in missing)]
    forms = _forms(backends, arguments.precision)
    if not forms:
        asked = f"{', '.join(arguments.precision)} by {', '.join(backends)}"
        raise SettingsError(f"There is nothing to measure: {asked} is not to be had; openvino and onnxruntime run fp32 "
                            "and int8.")  # fmt: skip
    folder = local_path(arguments.model)

    # Deferred, so that help and wrong usage are told at once: these bring torch and rich.
    from modelscope_beit.commands.bench_view import bench_notes, bench_table
    from modelscope_beit.commands.facts_view import wide_console
    from modelscope_beit.model_folder.opening import open_model
    from modelscope_beit.prediction.form_speed import choices_of_auto, measure_forms

    model = open_model(folder, trust_remote_code=arguments.trust_remote_code)
    say = _steps()
    found = measure_forms(
        folder,
        forms,
        batch_sizes=arguments.batch_size,
        seconds=arguments.seconds,
        trust_remote_code=arguments.trust_remote_code,
        on_step=say,
    )
    say("auto", "measures what --precision auto --backend auto takes")
    choices = choices_of_auto(model, arguments.batch_size)
    say("", "")
    if arguments.json:
        print(json.dumps(_as_json(folder.name, found, choices, missing), indent=2))
        return 0
    console = wide_console()
    console.print(bench_table(found))
    for note in bench_notes(found, choices, () if arguments.backend else missing):
        console.print(note, highlight=False, markup=False)
    return 0


def _forms(backends: Sequence[str], precisions: Sequence[str]) -> list[InferenceSettings]:
    """Returns the combinations that exist."""
    found = []
    for backend, precision in product(backends, precisions):
        if precision in PRECISIONS_BY[backend]:
            found.append(InferenceSettings(precision, backend))
    return found


def _steps() -> "OnStep":
    """Returns what says on stderr what is done: every step on one line of a terminal, else only each form's first."""
    told = {""}

    def say(form: str, step: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\033[K{form} {step}", end="", file=sys.stderr, flush=True)
        elif form not in told:
            told.add(form)
            print(form, step, file=sys.stderr, flush=True)

    return say


def _as_json(
    model: str, found: "Sequence[FormSpeed]", choices: "Mapping[int, Choice]", missing: Sequence[str]
) -> dict[str, object]:
    forms = [
        {
            "backend": one.wanted.backend,
            "precision": one.wanted.precision,
            "refusal": one.refusal,
            "batches": {
                str(size): {
                    "images_per_second": passes.images_per_second,
                    "by_turn": passes.by_turn,
                    "p50_seconds": passes.latency(50),
                    "p99_seconds": passes.latency(99),
                    "passes": len(passes.seconds),
                }
                for size, passes in one.passes.items()
            },
            "peak_mib": one.peak_mib,
            "agreement": {"largest": one.largest, "rms": one.rms, "spread": one.spread, "top1": one.top1},
        }
        for one in found
    ]
    auto = {str(size): choice.form for size, choice in choices.items()}
    return {"model": model, "forms": forms, "auto": auto, "not_installed": list(missing)}
