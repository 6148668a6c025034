"""An opened model and the parts of the data -> a table of features; computed again only if anything has changed."""

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modelscope_beit.checkpoints.files import file_digest
from modelscope_beit.data.records import Records
from modelscope_beit.features.extracting import POOLED, PictureFeatures, extract_features
from modelscope_beit.features.table import FeatureTable, is_feature_file, read_features, write_features
from modelscope_beit.model_folder.opening import OpenedModel, find_weight_file


@dataclass(frozen=True)
class EmbeddingOptions:
    """feature: see extracting.extract_features. workers: threads that decode."""

    feature: str = POOLED
    batch_size: int = 32
    workers: int = 2


def embed(
    model: OpenedModel,
    parts: Mapping[str, Records],
    options: EmbeddingOptions,
    *,
    on_batch: Callable[[int], None] | None = None,
) -> FeatureTable:
    """Returns the features of all pictures of all parts, in their order; raises as extract_features does.

    parts: name, such as "train" -> records. on_batch: called after each batch with the number of its pictures.
    """
    paths: list[str] = []
    labels: list[str | list[str] | None] = []
    splits: list[str] = []
    features: list[np.ndarray] = []
    errors: dict[int, str] = {}
    for split, records in parts.items():
        found: PictureFeatures = extract_features(
            model,
            records,
            feature=options.feature,
            batch_size=options.batch_size,
            workers=options.workers,
            on_batch=on_batch,
        )
        errors |= {len(paths) + row: reason for row, reason in found.errors.items()}
        paths += names_of(records)
        labels += _labels(records)
        splits += [split] * len(records)
        features.append(found.features)
    facts = facts_of(model, parts, options.feature)
    return FeatureTable(paths, labels, splits, np.concatenate(features), errors, facts)


def embed_once(
    file: Path,
    model: OpenedModel,
    parts: Mapping[str, Records],
    options: EmbeddingOptions,
    *,
    on_batch: Callable[[int], None] | None = None,
) -> FeatureTable:
    """Returns the features that the file holds if they are those of this model and these data; else embeds.

    The new ones are written to the file. Features with errors are not taken from the file: the pictures may be whole
    by now.
    """
    if is_feature_file(file):
        table = read_features(file)
        if not table.errors and table.facts == facts_of(model, parts, options.feature):
            return table
    table = embed(model, parts, options, on_batch=on_batch)
    write_features(file, table)
    return table


def facts_of(model: OpenedModel, parts: Mapping[str, Records], feature: str) -> dict[str, str]:
    """Returns what decides the numbers: the feature, the weights, the preprocessing, and the data.

    Of pictures that are files, their sizes and times of change count; of others, names, labels and the description.
    """
    digest = hashlib.sha256()
    for split, records in parts.items():
        digest.update(repr((split, records.class_names, records.description, records.labels().tolist())).encode())
        for path in records.files() or ():
            digest.update(repr((path, _state(path))).encode())
    return {
        "feature": feature,
        "weights": file_digest(find_weight_file(model.folder)),
        "preprocessing": repr(model.settings.preprocessing),
        "data": f"sha256:{digest.hexdigest()}",
    }


def names_of(records: Records) -> list[str]:
    """Returns the path of every picture, or what the data call it, fit for any file and terminal."""
    names = records.files() or [records[row].name for row in range(len(records))]
    return [name.encode("utf-8", "backslashreplace").decode("utf-8") for name in names]


def _labels(records: Records) -> list[str | list[str] | None]:
    names = records.class_names
    if records.is_multi_label:
        return [[names[number] for number in np.flatnonzero(row)] for row in records.labels()]
    return [names[number] if 0 <= number < len(names) else None for number in records.labels().tolist()]


def _state(path: str) -> tuple[int, int] | None:
    try:
        state = os.stat(path)
    except OSError:
        return None
    return state.st_size, state.st_mtime_ns
