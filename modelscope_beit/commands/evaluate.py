"""Measure a model on labelled pictures, and write report.html, which shows what it gets wrong.

DATA is a folder of class folders (split or not), a csv, tsv or jsonl file of paths and labels, a folder of parquet
files, or the id of a data set on the Hugging Face hub. Of data with a validation part that part counts. Classes are
matched by their names, ImageNet's also by WordNet id. Pictures that cannot be read are left out, counted and listed;
the exit status is then 3.

Examples:
  beit evaluate embedded photos/                     photos/cat/1.jpg, photos/dog/2.jpg ...
  beit evaluate runs/pets pets/ --metrics accuracy precision recall f1_score
  beit evaluate damo/cv_beitv2-large_image-classification_patch16_224_pt1k_ft22k_in1k imagenet/val --device cuda
  beit evaluate my_model imagenet-a/ --only-data-classes
  beit evaluate my_model imagenet/val --real real.json --json
"""

import argparse
import json
import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelscope_beit import names
from modelscope_beit.commands.feature_arguments import open_named_model
from modelscope_beit.commands.inference_arguments import (
    add_inference_arguments,
    answering_as_wanted,
    inference_settings,
    needs_processor,
    tell_decoding_difference,
)
from modelscope_beit.commands.output_folder import make_output_folder, title_of
from modelscope_beit.errors import ImageError
from modelscope_beit.settings.evaluation import METRICS, MULTI_LABEL_METRICS

if TYPE_CHECKING:
    from modelscope_beit.data.records import Records
    from modelscope_beit.evaluation.confidence import Interval
    from modelscope_beit.evaluation.of_records import Evaluation
    from modelscope_beit.model_folder.opening import OpenedModel

SOME_FAILED = 3

_UNUSED_SEED = 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds MODEL, DATA, and how to evaluate and where to write."""
    add = parser.add_argument
    add("model", metavar="MODEL", help="a model folder, the folder of a run, a hub id, or the word embedded")
    add("data", metavar="DATA", help="labelled pictures: a folder, a csv, tsv or jsonl file, a data set's id")
    add("--split", choices=("train", "validation"), help="the part to measure (default: validation if there is one)")
    add("--out", type=Path, metavar="DIR", help="where the report goes (default: evaluation/MODEL_on_DATA)")
    add("--metrics", nargs="+", default=[], choices=METRICS + MULTI_LABEL_METRICS, metavar="NAME",
        help=f"{', '.join(METRICS)}; for several labels a picture {', '.join(MULTI_LABEL_METRICS)}")  # fmt: skip
    add("--only-data-classes", action="store_true", help="choose among the classes of the data alone (ImageNet-A, -R)")
    add(
        "--real", type=Path, metavar="real.json", help="also measure with the ReaL labels of ImageNet's validation data"
    )
    add("--batch-size", type=int, default=32, help="pictures per pass through the network (default: 32)")
    add("--workers", type=int, default=min(8, os.cpu_count() or 1), metavar="N",
        help="threads that decode (default: one per processor, at most 8)")  # fmt: skip
    add("--device", default="auto", help="cpu, cuda, cuda:1, mps ... (default: a GPU if there is one)")
    add_inference_arguments(parser)
    add("--json", action="store_true", help="print one JSON object instead of a table")
    add("--trust-remote-code", action="store_true", help="allow a model folder to run code of its own")


def run(arguments: argparse.Namespace) -> int:
    """Evaluates, writes the report, prints the result and returns 0, or 3 if some pictures could not be read.

    Raises BeitError before any picture is read if the model, the data or an option cannot be used.
    """
    inference_settings(arguments)
    if arguments.device == "auto" and needs_processor(arguments):
        arguments.device = "cpu"
    model, records = _opened(arguments)

    # Deferred, so that help and wrong usage are told at once: these bring numpy and rich.
    from modelscope_beit.commands.evaluation_view import EvaluationProgress, result_rows
    from modelscope_beit.commands.facts_view import print_facts
    from modelscope_beit.evaluation.of_records import EvaluationOptions, check_options, evaluate_records
    from modelscope_beit.evaluation.report import write_report
    from modelscope_beit.evaluation.report_content import report_numbers

    options = EvaluationOptions(
        batch_size=arguments.batch_size,
        workers=arguments.workers,
        metrics=tuple(arguments.metrics),
        only_data_classes=arguments.only_data_classes,
        fast_decode=arguments.fast_decode,
        real=arguments.real,
    )
    check_options(options, records)
    model = answering_as_wanted(model, arguments)
    title = title_of(arguments.model, arguments.data)
    out = make_output_folder(arguments.out, Path("evaluation"), title)
    tell_decoding_difference(model, _pictures(records), arguments, with_answers=True)
    with EvaluationProgress(len(records)) as progress:
        found = evaluate_records(model, records, options, on_batch=progress.advance)
    facts = _facts(arguments, model, records, found)
    report = write_report(
        out, found.outcomes, records, title=title, facts=facts, metrics=found.metrics, unreadable=found.unreadable
    )
    intervals = report_numbers(found.outcomes).shares
    if arguments.json:
        print(json.dumps(_as_json(found, intervals, report), indent=2, ensure_ascii=False))
    else:
        print_facts(title, result_rows(found, intervals, report))
    return SOME_FAILED if found.unreadable else 0


def _opened(arguments: argparse.Namespace) -> "tuple[OpenedModel, Records]":
    """Returns the model and the pictures to measure it on; says on stderr what is to be known of them."""
    # Deferred for the same reason: these bring torch.
    from modelscope_beit.data.sources import open_data

    model = open_named_model(arguments)
    # The model's names help data whose labels are numbers; a selection of classes needs the data's own names.
    known_names = None if arguments.only_data_classes else model.class_names
    data = open_data(arguments.data, seed=_UNUSED_SEED, class_names=known_names, divide=False)
    for note in data.notes:
        _tell(note)
    folder = Path(arguments.model).expanduser()
    if data.validation is None and (folder / names.DIVISION_FILE).is_file():
        _tell(
            f"{folder} was trained on a part of its data. To measure the pictures that it has not seen: "
            f"{names.COMMAND} evaluate {arguments.model} {folder / names.DIVISION_FILE}"
        )
    return model, data.part(arguments.split)


def _pictures(records: "Records") -> Iterator[Any]:
    """The pictures that are there, for whoever reads them."""
    for row in range(len(records)):
        with suppress(ImageError):
            yield records[row].image


def _facts(
    arguments: argparse.Namespace, model: "OpenedModel", records: "Records", found: "Evaluation"
) -> dict[str, str]:
    """Returns what a reader of the report wants to know of the run."""
    # Deferred for the same reason: torch.
    from modelscope_beit.checkpoints.files import file_digest
    from modelscope_beit.evaluation.hub_card import hub_card_in_words
    from modelscope_beit.model_folder.opening import find_weight_file

    facts = {
        "Model": f"{arguments.model} ({found.num_parameters:,} parameters)",
        "Weights": file_digest(find_weight_file(model.folder)),
        "Data": records.description,
        "Precision": f"{arguments.precision} by {arguments.backend} on {next(model.network.parameters()).device}",
        **({"Decoding": "fast"} if arguments.fast_decode else {}),
        "Speed": f"{found.seconds:.1f} s, {found.images_per_second:.1f} images/s",
        "Command": shlex.join([names.COMMAND, *sys.argv[1:]]),
    }
    if reference := found.reference():
        facts["Reference"] = hub_card_in_words(reference)
    return facts


def _as_json(found: "Evaluation", intervals: Mapping[str, "Interval"], report: Path) -> dict[str, object]:
    return {
        "metrics": found.metrics,
        "intervals": {key: [100 * share.low, 100 * share.high] for key, share in intervals.items()},
        "reference": found.reference(),
        "pictures": len(found.outcomes),
        "unreadable": [{"picture": picture, "reason": reason} for picture, reason in found.unreadable],
        "seconds": found.seconds,
        "images_per_second": found.images_per_second,
        "report": str(report),
    }


def _tell(line: str) -> None:
    print(line, file=sys.stderr)
