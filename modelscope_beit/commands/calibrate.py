"""Make a model's scores mean what they say, and let it say that a picture is of none of its classes.

DATA is what `beit evaluate` takes: labelled pictures that the model was not trained on. Two numbers are fitted to them:
a temperature, which all logits are divided by, so that of answers with a score of 80 % four in five are right; and a
threshold below which a picture is called unknown, so that at most the given share of DATA is. Both are stored in
the folder's configuration.json, with the digest of the weights that they are for. predict, evaluate, serve, exports and
ModelScope's pipeline() apply them; no answer changes, only its score, and "unknown" is told beside it.

Examples:
  beit calibrate runs/pets runs/pets/split.jsonl       pictures that the run has not seen; stored in runs/pets/output
  beit calibrate my_model photos/ --false-alarm-rate 0.01
  beit calibrate my_model photos/ --unknown-data other/      how many of those it finds; nothing is fitted to them
  beit calibrate embedded garments/ --out calibrated   the folder stays as it is; a copy is calibrated
"""

import argparse
import json
import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from modelscope_beit import names
from modelscope_beit.commands.model_argument import local_path
from modelscope_beit.commands.output_folder import make_output_folder, short_name, title_of
from modelscope_beit.errors import ModelFolderError, SettingsError

if TYPE_CHECKING:
    from modelscope_beit.data.records import Records
    from modelscope_beit.evaluation.calibrating import Fit
    from modelscope_beit.evaluation.logits import PictureLogits
    from modelscope_beit.model_folder.opening import OpenedModel

SOME_FAILED = 3

_UNUSED_SEED = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds MODEL, DATA, what to fit and measure, and where to store it."""
    add = parser.add_argument
    add("model", metavar="MODEL", help="a model folder or the folder of a run; with --out also a hub id or embedded")
    add("data", metavar="DATA", help="labelled pictures: a folder, a csv, tsv or jsonl file, a data set's id")
    add("--split", choices=("train", "validation"), help="the part to use (default: validation if there is one)")
    add("--false-alarm-rate", type=float, default=0.05, metavar="SHARE",
        help="at most this share of known pictures is called unknown (default: 0.05)")  # fmt: skip
    add("--unknown-data", nargs="+", default=[], metavar="SOURCE",
        help="pictures of other things, to measure how many of them are found")  # fmt: skip
    add("--out", type=Path, metavar="FOLDER", help="calibrate a copy there, and leave MODEL as it is")
    add("--report", type=Path, metavar="DIR", help="where the report goes (default: calibration/MODEL_on_DATA)")
    add("--batch-size", type=int, default=32, help="pictures per pass through the network (default: 32)")
    add("--workers", type=int, default=min(8, os.cpu_count() or 1), metavar="N",
        help="threads that decode (default: one per processor, at most 8)")  # fmt: skip
    add("--device", default="auto", help="cpu, cuda, cuda:1, mps ... (default: a GPU if there is one)")
    add("--json", action="store_true", help="print one JSON object instead of a table")


def run(arguments: argparse.Namespace) -> int:
    """Calibrates, stores it, writes the report, prints the result; returns 0, or 3 if pictures could not be read.

    Raises BeitError before any picture is read if the model, the data or an option cannot be used, and after that if
    what was found means nothing; then nothing is stored.
    """
    folder = _folder(arguments)

    # Deferred, so that help and wrong usage are told at once: these bring torch, numpy and rich.
    from modelscope_beit.commands.calibration_view import calibration_rows
    from modelscope_beit.commands.facts_view import print_facts
    from modelscope_beit.evaluation.calibrating import fit
    from modelscope_beit.evaluation.calibration_report import fit_numbers, write_calibration_report
    from modelscope_beit.evaluation.unknown import check_count
    from modelscope_beit.export.opening import exported_folder
    from modelscope_beit.model_folder.calibrated import check_can_be_calibrated

    if exported_folder(folder) is not None:
        raise ModelFolderError(f"{folder} is an exported network; calibrate its model folder, then export that again.")
    check_can_be_calibrated(folder)
    model, records = _opened(folder, arguments)
    check_count(len(records), arguments.false_alarm_rate)
    unknown_records = _unknown(arguments, model)
    title = title_of(arguments.model, arguments.data)
    report_folder = make_output_folder(arguments.report, Path("calibration"), title)
    found = _logits(model, records, arguments)
    unknown = None if unknown_records is None else _logits(model, unknown_records, arguments)
    fitted = fit(
        found.logits,
        found.labels,
        false_alarm_rate=arguments.false_alarm_rate,
        unknown=None if unknown is None else unknown.logits,
    )
    fitted = _with_note_on_training(fitted, folder, records)
    stored = _store(folder, fitted, arguments)
    unreadable = found.unreadable + ([] if unknown is None else unknown.unreadable)
    report = write_calibration_report(
        report_folder,
        fitted,
        title=title,
        facts=_facts(arguments, model, records, unknown_records),
        unreadable=unreadable,
    )
    if arguments.json:
        told = {**fit_numbers(fitted), "stored": str(stored), "report": str(report), "unreadable": len(unreadable)}
        print(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        print_facts(title, calibration_rows(fitted, arguments.false_alarm_rate, len(unreadable), stored, report))
    return SOME_FAILED if unreadable else 0


def _folder(arguments: argparse.Namespace) -> Path:
    """Returns the model folder; of the folder of a run the one that it has written."""
    problems = [
        f"--{name} must be at least {low}, not {value}"
        for name, value, low in (("batch-size", arguments.batch_size, 1), ("workers", arguments.workers, 0))
        if value < low
    ]
    if problems:
        raise SettingsError("; ".join(problems) + ".")
    # The package's own folder and the hub's cache are not ours to write to.
    if arguments.out is None and not Path(arguments.model).expanduser().exists():
        raise ModelFolderError(
            f"{arguments.model} is no folder of yours, so what is found cannot be stored in it; say by --out FOLDER "
            "where a calibrated copy shall be."
        )
    if arguments.out is not None:
        # Deferred for the same reason: torch.
        from modelscope_beit.model_folder.writing import check_target

        check_target(arguments.out.expanduser().absolute(), overwrite=False)
    return local_path(arguments.model)


def _opened(folder: Path, arguments: argparse.Namespace) -> "tuple[OpenedModel, Records]":
    """Returns the model and the pictures to fit to, with labels that count along its classes."""
    # Deferred for the same reason.
    from modelscope_beit.data.sources import open_data
    from modelscope_beit.model_folder.opening import open_model
    from modelscope_beit.network.device import find_device

    model = open_model(folder, device=str(find_device(arguments.device)))
    data = open_data(arguments.data, seed=_UNUSED_SEED, class_names=model.class_names, divide=False)
    for note in data.notes:
        print(note, file=sys.stderr)
    records = data.part(arguments.split).relabelled(model.class_names)
    if records.is_multi_label != model.network.is_multi_label:
        kinds = {True: "several classes", False: "one class"}
        raise SettingsError(
            f"{records.description} has {kinds[records.is_multi_label]} a picture, but the network in {folder} gives "
            f"scores for {kinds[model.network.is_multi_label]}; take data such as it was trained on."
        )
    return model, records


def _unknown(arguments: argparse.Namespace, model: "OpenedModel") -> "Records | None":
    if not arguments.unknown_data:
        return None
    # Deferred for the same reason.
    from modelscope_beit.features.unlabelled import unlabelled_records
    from modelscope_beit.prediction.sources import expand_sources

    return unlabelled_records(list(expand_sources(arguments.unknown_data)), ", ".join(arguments.unknown_data))


def _logits(model: "OpenedModel", records: "Records", arguments: argparse.Namespace) -> "PictureLogits":
    # Deferred for the same reason.
    from modelscope_beit.commands.evaluation_view import EvaluationProgress
    from modelscope_beit.evaluation.logits import picture_logits

    with EvaluationProgress(len(records)) as progress:
        return picture_logits(
            model,
            records,
            batch_size=arguments.batch_size,
            workers=arguments.workers,
            on_batch=progress.advance,
        )


def _with_note_on_training(fitted: "Fit", folder: Path, records: "Records") -> "Fit":
    # Deferred for the same reason.
    from modelscope_beit.evaluation.trained_on import count_trained_on

    if not (shared := count_trained_on(folder, records)):
        return fitted
    note = (
        f"{shared:,} of the {len(records):,} pictures are among those that the network was trained on. It is surer of "
        "these than of others, so temperature and threshold do not fit others; take pictures that it has not seen "
        f"(those that a run has set aside are in its {names.DIVISION_FILE})."
    )
    return replace(fitted, notes=(*fitted.notes, note))


def _store(folder: Path, fitted: "Fit", arguments: argparse.Namespace) -> Path:
    # Deferred for the same reason.
    from modelscope_beit.checkpoints.files import file_digest
    from modelscope_beit.model_folder.calibrated import copy_with_confidence, store_confidence
    from modelscope_beit.model_folder.opening import find_weight_file
    from modelscope_beit.settings.confidence import Confidence

    confidence = Confidence(
        temperature=fitted.temperature,
        unknown_below=fitted.unknown_below,
        false_alarm_rate=arguments.false_alarm_rate,
        pictures=len(fitted.known),
        data=short_name(arguments.data),
        weights=file_digest(find_weight_file(folder)),
    )
    if arguments.out is not None:
        return copy_with_confidence(folder, arguments.out, confidence)
    store_confidence(folder, confidence)
    return folder


def _facts(
    arguments: argparse.Namespace, model: "OpenedModel", records: "Records", unknown: "Records | None"
) -> dict[str, str]:
    # Deferred for the same reason.
    from modelscope_beit.checkpoints.files import file_digest
    from modelscope_beit.model_folder.opening import find_weight_file

    return {
        "Model": arguments.model,
        "Weights": file_digest(find_weight_file(model.folder)),
        "Data": records.description,
        **({} if unknown is None else {"Unknown": f"{unknown.description}, {len(unknown):,} pictures"}),
        "Device": str(next(model.network.parameters()).device),
        "Command": shlex.join([names.COMMAND, *sys.argv[1:]]),
    }
