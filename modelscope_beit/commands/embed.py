"""Turn pictures into features: a parquet table with one row a picture, or the nearest pictures of one.

DATA is what `beit evaluate` takes, or a folder of pictures without labels; with --nearest also a table written before.
All parts of the data are embedded; the columns are path, label, split, feature (float32) and error. A picture that
cannot be read costs its own row only, which says why; the exit status is then 3.

Examples:
  beit embed embedded photos/ --out photos.parquet
  beit embed embedded photos.parquet --nearest cat.jpg          without computing anything again
  beit embed my_model photos/ --feature 7 --out block_7.parquet  the mean of the patch tokens after block 7
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from modelscope_beit.commands.feature_arguments import add_feature_arguments, open_named_model
from modelscope_beit.errors import ImageError, SettingsError
from modelscope_beit.names import PICTURE_SUFFIXES
from modelscope_beit.prediction.sources import expand_sources

if TYPE_CHECKING:
    import numpy as np

    from modelscope_beit.data.records import Records
    from modelscope_beit.features.neighbours import Neighbour
    from modelscope_beit.features.table import FeatureTable
    from modelscope_beit.model_folder.opening import OpenedModel

SOME_FAILED = 3

_UNUSED_SEED = 0
_ERRORS_TOLD = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds MODEL, DATA, which features, and what to do with them."""
    add = parser.add_argument
    add("model", metavar="MODEL", help="a model folder, the folder of a run, a hub id, or the word embedded")
    add(
        "data",
        metavar="DATA",
        help="pictures: a folder, a csv, tsv or jsonl file, a data set's id, or a table of --out",
    )
    add("--out", type=Path, metavar="FILE.parquet", help="write the table")
    add("--nearest", metavar="PICTURE", help="show the pictures of DATA with the largest cosine to this one")
    add("--count", type=int, default=10, metavar="N", help="nearest pictures shown (default: 10)")
    add_feature_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Embeds, writes or searches, and returns 0, or 3 if some pictures could not be read.

    Raises BeitError before any picture is read if the model, the data or an option cannot be used.
    """
    _check(arguments)
    model = open_named_model(arguments)

    # Deferred, so that help and wrong usage are told at once: these bring torch.
    from modelscope_beit.features.neighbours import nearest_pictures
    from modelscope_beit.features.table import is_feature_file, read_features, write_features

    stored = Path(arguments.data).expanduser()
    table = read_features(stored) if is_feature_file(stored) else None
    query = None if arguments.nearest is None else _query(arguments, model, table)
    seconds = None
    if table is None:
        start = time.perf_counter()
        table = _embedded(arguments, model)
        seconds = time.perf_counter() - start
    elif query is None:
        raise SettingsError(f"{stored} has features already; give --nearest PICTURE to search in them.")
    if arguments.out is not None:
        write_features(arguments.out, table)
    found = [] if query is None else nearest_pictures(table, query, arguments.count)
    if arguments.json:
        print(json.dumps(_as_json(arguments, table, found), indent=2, ensure_ascii=False))
    else:
        _show(arguments, table, found, seconds)
    return SOME_FAILED if table.errors else 0


def _check(arguments: argparse.Namespace) -> None:
    out: Path | None = arguments.out
    if out is None and arguments.nearest is None:
        raise SettingsError("There is nothing to do with the features; give --out FILE.parquet or --nearest PICTURE.")
    if arguments.count < 1:
        raise SettingsError(f"--count must be at least 1, not {arguments.count}.")
    if out is not None and (out.suffix.lower() != ".parquet" or out.is_dir() or not out.parent.is_dir()):
        raise SettingsError(f"--out must be a file that ends in .parquet, in a folder that exists, not {out}.")


def _embedded(arguments: argparse.Namespace, model: "OpenedModel") -> "FeatureTable":
    from modelscope_beit.commands.evaluation_view import EvaluationProgress
    from modelscope_beit.features.embedding import EmbeddingOptions, embed
    from modelscope_beit.features.extracting import POOLED

    parts = _parts(arguments.data)
    options = EmbeddingOptions(arguments.feature or POOLED, arguments.batch_size, arguments.workers)
    with EvaluationProgress(sum(map(len, parts.values()))) as progress:
        return embed(model, parts, options, on_batch=progress.advance)


def _parts(data: str) -> "dict[str, Records]":
    """Returns the parts of the data; a folder that has pictures and no folders has no labels."""
    from modelscope_beit.data.sources import open_data
    from modelscope_beit.features.unlabelled import unlabelled_records

    folder = Path(data).expanduser()
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")] if folder.is_dir() else []
    has_pictures = any(entry.suffix.lower() in PICTURE_SUFFIXES for entry in entries)
    if has_pictures and not any(entry.is_dir() for entry in entries):
        return {"train": unlabelled_records(list(expand_sources([str(folder)])), f"the folder {folder}")}
    found = open_data(data, seed=_UNUSED_SEED, divide=False)
    for note in found.notes:
        print(note, file=sys.stderr)
    parts = {"train": found.train, "validation": found.validation}
    return {split: records for split, records in parts.items() if records is not None}


def _query(arguments: argparse.Namespace, model: "OpenedModel", table: "FeatureTable | None") -> "np.ndarray":
    """Returns the feature (C,) of the picture to search for, of the table's kind if there is one."""
    from modelscope_beit.features.embedding import facts_of
    from modelscope_beit.features.extracting import POOLED, extract_features
    from modelscope_beit.features.unlabelled import unlabelled_records

    feature = arguments.feature or (POOLED if table is None else table.facts["feature"])
    own = facts_of(model, {}, feature)
    there = own if table is None else table.facts
    if different := [name for name in ("feature", "weights", "preprocessing") if own[name] != there[name]]:
        raise SettingsError(
            f"{arguments.data} has features of another kind than {arguments.model} would give: "
            f"{', '.join(different)} differ. Compute them again from the pictures."
        )
    found = extract_features(model, unlabelled_records([arguments.nearest], "the picture"), feature=feature, workers=0)
    if found.errors:
        raise ImageError(found.errors[0])
    return found.features[0]


def _show(
    arguments: argparse.Namespace, table: "FeatureTable", found: "list[Neighbour]", seconds: float | None
) -> None:
    from modelscope_beit.commands.embed_view import embedding_rows, neighbour_table
    from modelscope_beit.commands.facts_view import print_facts, wide_console

    if arguments.out is not None:
        print_facts(str(arguments.out), embedding_rows(table, seconds))
    if arguments.nearest is not None:
        wide_console().print(neighbour_table(found))
    for row, reason in list(table.errors.items())[:_ERRORS_TOLD]:
        print(f"  {table.paths[row]}: {reason}", file=sys.stderr)


def _as_json(arguments: argparse.Namespace, table: "FeatureTable", found: "list[Neighbour]") -> dict[str, object]:
    return {
        "out": None if arguments.out is None else str(arguments.out),
        "pictures": len(table.paths) - len(table.errors),
        "width": table.features.shape[1],
        "facts": dict(table.facts),
        "unreadable": [{"picture": table.paths[row], "reason": reason} for row, reason in table.errors.items()],
        "nearest": [{"path": one.path, "label": one.label, "cosine": one.cosine} for one in found],
    }
