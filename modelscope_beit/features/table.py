"""Features of labelled pictures as a parquet file, which also says what they were computed from."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet

from modelscope_beit.checkpoints.files import write_atomically
from modelscope_beit.errors import SettingsError

_FACTS = b"modelscope_beit.features"


@dataclass(frozen=True)
class FeatureTable:
    """One row a picture.

    paths: paths, or what the data call their rows. labels: names of classes, None where the data have no labels; of
    multi-label data a list each. splits: "train" or "validation". features: (N, C) float32, NaN in rows with an
    error. errors: row -> why there is no feature. facts: what decides the numbers, texts; see embedding.facts_of.
    """

    paths: Sequence[str]
    labels: Sequence[str | list[str] | None]
    splits: Sequence[str]
    features: np.ndarray
    errors: Mapping[int, str]
    facts: Mapping[str, str]


def write_features(path: Path, table: FeatureTable) -> None:
    """Writes the columns path, label, split, feature (a list of C float32, null in case of an error) and error.

    All or nothing; raises CheckpointError if the disk refuses.
    """
    rows, width = table.features.shape
    is_missing = np.zeros(rows, bool)
    is_missing[list(table.errors)] = True
    feature = pyarrow.FixedSizeListArray.from_arrays(
        pyarrow.array(table.features.ravel()), width, mask=pyarrow.array(is_missing)
    )
    columns = {
        "path": pyarrow.array(table.paths, pyarrow.string()),
        "label": pyarrow.array(table.labels, None if any(label is not None for label in table.labels) else "string"),
        "split": pyarrow.array(table.splits, pyarrow.string()),
        "feature": feature,
        "error": pyarrow.array([table.errors.get(row) for row in range(rows)], pyarrow.string()),
    }
    content = pyarrow.table(columns).replace_schema_metadata({_FACTS: json.dumps(dict(table.facts))})
    write_atomically(path, lambda beside: pyarrow.parquet.write_table(content, beside))


def read_features(path: Path) -> FeatureTable:
    """Returns what write_features has written; raises SettingsError if the file is none of its."""
    if not is_feature_file(path):
        raise SettingsError(f"{path}: a table written by beit embed is expected, but this is none.")
    content = pyarrow.parquet.read_table(path)
    feature = content["feature"].combine_chunks()
    width = feature.type.list_size
    is_there = feature.is_valid().to_numpy(zero_copy_only=False)
    features = np.full((len(content), width), np.nan, np.float32)
    features[is_there] = feature.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
    errors = {row: error for row, error in enumerate(content["error"].to_pylist()) if error is not None}
    return FeatureTable(
        paths=content["path"].to_pylist(),
        labels=content["label"].to_pylist(),
        splits=content["split"].to_pylist(),
        features=features,
        errors=errors,
        facts=json.loads(content.schema.metadata[_FACTS]),
    )


def is_feature_file(path: Path) -> bool:
    """Tells whether write_features has written the file."""
    try:
        return path.is_file() and _FACTS in (pyarrow.parquet.read_schema(path).metadata or {})
    except (pyarrow.ArrowInvalid, OSError):
        return False
