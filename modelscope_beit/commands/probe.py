"""Measure how good a model's features are for labelled pictures, without training the network.

Neighbours vote (k-NN), a linear probe is trained with all strengths of its penalty at once, and both a linear probe
and the nearest class mean get 1, 2, 5, 10 and 20 pictures a class. Data without a validation part are divided. The
features are computed once and kept in the folder of the result, with probe.json and curves.png. Pictures that cannot
be read are left out; the exit status is then 3. MODEL is also the run of `beit pretrain`; --feature both measures the
class token, which patch aggregation has taught there, and the mean of the patch tokens, each in a folder of its own.

Examples:
  beit probe embedded photos/                        photos/cat/1.jpg, photos/dog/2.jpg ...
  beit probe damo/cv_beitv2-base_image-classification_patch16_224_pt1k_ft22k_in1k pets/ --device cuda
  beit probe my_model pets/ --feature 7              of the mean of the patch tokens after block 7
  beit probe runs/pretrained pets/ --feature both    of the class token, and of the mean
"""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from modelscope_beit.commands.feature_arguments import add_feature_arguments, open_named_model
from modelscope_beit.commands.output_folder import make_output_folder, title_of
from modelscope_beit.errors import SettingsError

if TYPE_CHECKING:
    from modelscope_beit.data.records import Records
    from modelscope_beit.features.table import FeatureTable
    from modelscope_beit.model_folder.opening import OpenedModel

SOME_FAILED = 3
# Of features.extracting, which brings torch.
CLASS_TOKEN, MEAN, BOTH = "class_token", "mean", "both"

FEATURES_FILE, PROBE_FILE, CURVES_FILE = "features.parquet", "probe.json", "curves.png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds MODEL, DATA, which features, and where to write."""
    add = parser.add_argument
    add("model", metavar="MODEL", help="a model folder, the folder of a run, a hub id, or the word embedded")
    add("data", metavar="DATA", help="labelled pictures: a folder, a csv, tsv or jsonl file, a data set's id")
    add("--out", type=Path, metavar="DIR", help="where the result goes (default: probe/MODEL_on_DATA)")
    add("--seed", type=int, default=0, help="of the division of the data, the held-out part and the few shots")
    add_feature_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Probes, writes and prints the result, and returns 0, or 3 if some pictures could not be read.

    Raises BeitError before any picture is read if the model, the data or an option cannot be used.
    """
    model = open_named_model(arguments)
    parts = _parts(arguments)
    out = make_output_folder(arguments.out, Path("probe"), title_of(arguments.model, arguments.data))
    if arguments.feature != BOTH:
        content, status = _probe(arguments, model, parts, out, arguments.feature)
    else:
        content, status = {}, 0
        for feature in (CLASS_TOKEN, MEAN):
            (out / feature).mkdir(exist_ok=True)
            content[feature], one_status = _probe(arguments, model, parts, out / feature, feature)
            status = max(status, one_status)
    if arguments.json:
        print(json.dumps(content, indent=2, ensure_ascii=False))
    return status


def _probe(
    arguments: argparse.Namespace, model: "OpenedModel", parts: "dict[str, Records]", out: Path, feature: str | None
) -> tuple[dict[str, object], int]:
    """Probes one feature (None: what the head gets), writes and tells it; returns what was found and the status."""
    # Deferred, so that help and wrong usage are told at once: these bring torch and rich.
    from modelscope_beit.checkpoints.files import write_atomically
    from modelscope_beit.commands.facts_view import print_facts
    from modelscope_beit.commands.probe_view import probe_rows
    from modelscope_beit.features.probe_curves import draw_probe_curves
    from modelscope_beit.features.probing import probe_features

    title = f"features of {title_of(arguments.model, arguments.data)}"
    table = _features(arguments, model, parts, out, feature)
    title += f", {table.facts['feature']}" * (arguments.feature == BOTH)
    device = next(model.network.parameters()).device
    # Decompositions are not there on every accelerator.
    found = probe_features(table, seed=arguments.seed, device=device if device.type == "cuda" else "cpu")
    unreadable = [{"picture": table.paths[row], "reason": reason} for row, reason in table.errors.items()]
    content: dict[str, object] = {
        "title": title,
        "facts": dict(table.facts),
        **found.as_json(),
        "unreadable": unreadable,
    }
    text = json.dumps(content, indent=2, ensure_ascii=False)
    write_atomically(out / PROBE_FILE, lambda beside: beside.write_text(text + "\n", encoding="utf-8"))
    draw_probe_curves(out / CURVES_FILE, found, title=title)
    if not arguments.json:
        print_facts(title, probe_rows(found, unreadable=len(unreadable), folder=out))
    return content, SOME_FAILED if table.errors else 0


def _parts(arguments: argparse.Namespace) -> "dict[str, Records]":
    from modelscope_beit.data.sources import open_data

    data = open_data(arguments.data, seed=arguments.seed)
    for note in data.notes:
        print(note, file=sys.stderr)
    if data.train is None or data.validation is None:
        raise SettingsError(f"{arguments.data}: a training part is needed too, but there is only a validation part.")
    parts = {"train": data.train, "validation": data.validation}
    problems = [problem for records in parts.values() if (problem := records.label_problem())]
    problems += [
        f"{records.description}: one label a picture is needed, but it has several"
        for records in parts.values()
        if records.is_multi_label
    ]
    if problems:
        raise SettingsError("\n".join(problems))
    return parts


def _features(
    arguments: argparse.Namespace, model: "OpenedModel", parts: "dict[str, Records]", out: Path, feature: str | None
) -> "FeatureTable":
    """Returns the features of the file in the folder, which is written if it is not there or of something else."""
    from modelscope_beit.commands.evaluation_view import EvaluationProgress
    from modelscope_beit.features.embedding import EmbeddingOptions, embed_once
    from modelscope_beit.features.extracting import POOLED

    options = EmbeddingOptions(feature or POOLED, arguments.batch_size, arguments.workers)
    with EvaluationProgress(sum(map(len, parts.values()))) as progress:
        return embed_once(out / FEATURES_FILE, model, parts, options, on_batch=progress.advance)
