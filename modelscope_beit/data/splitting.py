"""Divides data that come in one part into training and validation, and keeps the division for later runs."""

import json
from pathlib import Path

import numpy as np

from modelscope_beit.data.records import Records
from modelscope_beit.errors import SettingsError

VALIDATION_SHARE = 0.2


def split_records(records: Records, *, seed: int) -> tuple[Records, Records]:
    """Returns (training, validation), a fifth of each class for validation, drawn by the seed.

    Every class with two pictures or more has one in both parts; single pictures are for training. Multi-label data
    are divided by chance alone. Both parts keep the order of the records.
    Raises SettingsError if a part would be empty.
    """
    rng = np.random.default_rng(seed)
    labels = np.zeros(len(records), np.int64) if records.is_multi_label else records.labels()
    chosen = np.zeros(len(records), bool)
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        count = min(max(1, round(VALIDATION_SHARE * len(rows))), len(rows) - 1)
        chosen[rows[:count]] = True
    if not chosen.any():
        raise SettingsError(
            f"{records.description}: {len(records)} pictures, no two of one class, cannot be divided into training "
            "and validation; add pictures, or give validation data of their own."
        )
    return (
        records.select(np.flatnonzero(~chosen), f"{records.description} (training part)"),
        records.select(np.flatnonzero(chosen), f"{records.description} (validation part)"),
    )


def write_split(train: Records, validation: Records, file: Path) -> bool:
    """Writes which picture is in which part: a jsonl file (path, label, split) that data.annotation_file reads back.

    Returns whether it was written: only pictures that are files can be told by their path.
    """
    parts = {"train": train, "validation": validation}
    if any(records.files() is None for records in parts.values()):
        return False
    with file.open("w", encoding="utf-8", newline="\n") as stream:
        for split, records in parts.items():
            for row in range(len(records)):
                record = records[row]
                label = (
                    [records.class_names[number] for number in record.label]
                    if isinstance(record.label, tuple)
                    else records.class_names[record.label]
                )
                line = {"path": str(Path(record.image).absolute()), "label": label, "split": split}
                # Escaped, a name that is no UTF-8 survives.
                stream.write(json.dumps(line) + "\n")
    return True
