"""A csv, tsv, jsonl or txt file with paths and labels -> records.

A row has the picture's path, relative to the file's folder or absolute, its label and, if the file has all parts of
the data, the part ("split"). Labels are names, numbers, or several of them: "cat;dog" in csv, a list in jsonl.
txt files are mmcls's annotations: a path and a label a line, without a head line.
"""

import csv
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from modelscope_beit.data.columns import SPLIT_COLUMNS, find_column, find_columns
from modelscope_beit.data.labelling import label_pictures
from modelscope_beit.data.pictures import FilePictures
from modelscope_beit.data.records import Records
from modelscope_beit.data.wording import some_mistakes
from modelscope_beit.errors import SettingsError
from modelscope_beit.names import CLASS_NAMES_FILE, PICTURE_SUFFIXES

ANNOTATION_SUFFIXES = (".csv", ".tsv", ".jsonl", ".txt")

_BETWEEN_LABELS = ";"


@dataclass(frozen=True)
class _Row:
    """line: its number in the file, the first being 1. columns: name -> value."""

    line: int
    columns: Mapping[str, Any]


def read_annotation_file(file: Path, *, class_names: Sequence[str] | None = None) -> dict[str, Records]:
    """Returns the records of each part that the column "split" names; without that column one part called "".

    file: UTF-8, with or without a byte order mark; a csv or tsv file has a head line, or pictures' paths in its first
        column and labels in its second.
    class_names: used unless a classname.txt lies beside the file or near its first picture.
    Raises SettingsError that tells the lines on which a path or label is missing or cannot be used.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(_rows(stream, file))
    except UnicodeDecodeError as error:
        raise SettingsError(f"{file}: UTF-8 text is expected ({error}); save it as UTF-8.") from error
    except (OSError, csv.Error) as error:
        raise SettingsError(f"{file} cannot be read as {file.suffix[1:]}: {error}.") from error
    if not rows:
        raise SettingsError(f"{file}: rows with a path and a label are expected, but it has none.")
    image, label = find_columns(_columns(rows), str(file))
    _refuse_gaps(rows, image, label, file)
    paths = [os.path.join(file.parent, row.columns[image]) for row in rows]
    values = [row.columns[label] for row in rows]
    beside = file.parent / CLASS_NAMES_FILE
    everything = label_pictures(
        FilePictures(paths),
        values if file.suffix.lower() == ".jsonl" else _several(values, class_names),
        class_names=class_names,
        near=str(beside) if beside.is_file() else paths[0],
        description=f"the file {file}",
        place=lambda number: f"line {rows[number].line}",
    )
    return _parts(everything, rows)


def _rows(stream: TextIO, file: Path) -> Iterator[_Row]:
    if file.suffix.lower() == ".jsonl":
        yield from _json_rows(stream, file)
    elif file.suffix.lower() == ".txt":
        for number, line in enumerate(stream, 1):
            if line.strip():
                path, _, label = line.strip().rpartition(" " if "\t" not in line else "\t")
                yield _Row(number, {"path": path.strip(), "label": label})
    else:
        yield from _table_rows(stream, file)


def _json_rows(stream: TextIO, file: Path) -> Iterator[_Row]:
    mistakes = []
    for number, line in enumerate(stream, 1):
        if not line.strip():
            continue
        try:
            columns = json.loads(line)
        except json.JSONDecodeError as error:
            mistakes.append(f"line {number}: {error}")
            continue
        if isinstance(columns, dict):
            yield _Row(number, columns)
        else:
            mistakes.append(f"line {number}: {columns!r:.40}")
    if mistakes:
        raise SettingsError(f"{file}: one JSON object a line is expected, but {some_mistakes(mistakes)}.")


def _table_rows(stream: TextIO, file: Path) -> Iterator[_Row]:
    reader = csv.reader(stream, delimiter="\t" if file.suffix.lower() == ".tsv" else ",")
    head = [name.strip() for name in next(reader, [])]
    if len(head) > 1 and os.path.splitext(head[0])[1].lower() in PICTURE_SUFFIXES:
        yield _Row(1, dict(zip(["path", "label"], head, strict=False)))
        head = ["path", "label"]
    for values in reader:
        if any(value.strip() for value in values):
            # Too short a row has gaps, which are told together; what is beyond the columns belongs to none.
            yield _Row(reader.line_num, {name: value.strip() for name, value in zip(head, values, strict=False)})


def _columns(rows: Sequence[_Row]) -> list[str]:
    """All columns, in the order of their appearance; objects of a jsonl file may have different ones."""
    return list(dict.fromkeys(name for row in rows for name in row.columns))


def _refuse_gaps(rows: Sequence[_Row], image: str, label: str, file: Path) -> None:
    gaps = []
    for row in rows:
        path, classes = row.columns.get(image), row.columns.get(label)
        if not isinstance(path, str) or not path or "\0" in path:
            gaps.append(f"line {row.line} has {path!r} as {image}")
        if classes is None or classes == "":
            gaps.append(f"line {row.line} has no {label}")
    if gaps:
        raise SettingsError(f"{file}: a path and a label are expected on every line, but {some_mistakes(gaps)}.")


def _several(texts: list[str], class_names: Sequence[str] | None) -> list[Any]:
    """The labels as lists if one of them is several, written "cat;dog"; a class may also be called so."""
    known = set(class_names or ())
    if not any(_BETWEEN_LABELS in text and text not in known for text in texts):
        return texts
    return [[part.strip() for part in text.split(_BETWEEN_LABELS) if part.strip()] for text in texts]


def _parts(everything: Records, rows: Sequence[_Row]) -> dict[str, Records]:
    column = find_column(_columns(rows), SPLIT_COLUMNS)
    if column is None:
        return {"": everything}
    splits = np.array([str(row.columns.get(column, "")).strip().lower() for row in rows])
    return {
        str(split): everything.select(np.flatnonzero(splits == split), f"{everything.description}, part {split}")
        for split in dict.fromkeys(splits)
    }
