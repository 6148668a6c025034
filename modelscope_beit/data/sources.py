"""Whatever a person calls their data (a folder, a file, a data set's id) -> training and validation records."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from modelscope_beit.data.annotation_file import ANNOTATION_SUFFIXES, read_annotation_file
from modelscope_beit.data.hub_dataset import records_of
from modelscope_beit.data.image_folder import read_image_folder
from modelscope_beit.data.records import Records
from modelscope_beit.data.splitting import VALIDATION_SHARE, split_records
from modelscope_beit.errors import SettingsError
from modelscope_beit.names import PICTURE_SUFFIXES

# What the parts are called; of several validation parts the first is taken.
TRAIN_PARTS = ("train", "training")
VALIDATION_PARTS = ("validation", "val", "valid", "dev", "eval", "test", "testing")

_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")

# Opens a part with these class names, None for its own.
_Opener = Callable[[Sequence[str] | None], Records]


@dataclass(frozen=True)
class DataSplits:
    """The parts of the data, with the same class names; notes: sentences on how they came about.

    is_divided: the data came in one part and were divided here.
    """

    train: Records | None
    validation: Records | None
    notes: tuple[str, ...] = ()
    is_divided: bool = False

    def part(self, split: str | None) -> Records:
        """Returns "train" or "validation"; None: the latter, if there is one. Raises SettingsError without it."""
        parts = {"validation": self.validation, "train": self.train}
        for name in parts if split is None else [split]:
            if (records := parts[name]) is not None:
                return records
        there = ", ".join(name for name, records in parts.items() if records is not None)
        raise SettingsError(f"The data have no part {split} ({there or 'nothing'} is there); leave out --split.")


def open_data(
    location: str | Path, *, seed: int, class_names: Sequence[str] | None = None, divide: bool = True
) -> DataSplits:
    """Returns the training and the validation records.

    location: a folder with the parts train and val (or validation, valid, dev, eval, test), each a folder of class
        folders or a csv, tsv, jsonl or txt file; a folder of class folders; a folder of parquet files; one such file;
        or, if there is no such path, the id of a data set on the Hugging Face hub.
    seed, divide: data without a validation part are divided by this seed; or not, and are all for training.
    class_names: used where the data, or a classname.txt near them, have none.
    Raises SettingsError naming what was found if it is none of these. Existing paths never touch the network.
    """
    path = Path(location).expanduser()
    if path.is_dir():
        openers = _parts_of_folder(path)
    elif path.is_file():
        openers = _parts_of_file(path, class_names)
    elif path.suffix.lower() not in (*ANNOTATION_SUFFIXES, ".parquet") and _ID.fullmatch(str(location)):
        openers = _parts_of_tables(_loaded(str(location), str(location)), str(location))
    else:
        raise SettingsError(f"{path} does not exist (looked from {Path.cwd()}); give a folder, a file or an id.")
    return _split(openers, str(location), seed=seed, class_names=class_names, divide=divide)


def _parts_of_folder(folder: Path) -> dict[str, _Opener]:
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    folders = {entry.name: entry for entry in entries if entry.is_dir()}
    named = {name: entry for name, entry in folders.items() if _is_part(name) and _has_class_folders(entry)}
    # Beside "train" other folders hold something else; without it they are classes, one of which is called "test".
    if any(name.lower() in TRAIN_PARTS for name in named) or named and len(named) == len(folders):
        return {name: partial(_open_image_folder, entry) for name, entry in named.items()}
    files = [entry for entry in entries if entry.suffix.lower() in ANNOTATION_SUFFIXES and _is_part(entry.stem)]
    if files:
        return {file.stem: partial(_open_annotations, file) for file in files}
    if any(folder.glob("**/*.parquet")):
        return _parts_of_tables(_loaded("parquet", str(folder), data_dir=str(folder)), str(folder))
    return {"": partial(_open_image_folder, folder)}


def _parts_of_file(file: Path, class_names: Sequence[str] | None) -> dict[str, _Opener]:
    if file.suffix.lower() == ".parquet":
        return _parts_of_tables(_loaded("parquet", str(file), data_files=str(file)), str(file))
    if file.suffix.lower() in ANNOTATION_SUFFIXES:
        parts = read_annotation_file(file, class_names=class_names)
        return {name: partial(_already_open, records) for name, records in parts.items()}
    raise SettingsError(f"{file}: a folder or one of {', '.join(ANNOTATION_SUFFIXES)}, .parquet is expected.")


def _parts_of_tables(tables: Mapping[Any, Any], name: str) -> dict[str, _Opener]:
    return {str(part): partial(_open_table, table, f"{name}, part {part}") for part, table in tables.items()}


def _open_image_folder(folder: Path, class_names: Sequence[str] | None) -> Records:
    return read_image_folder(folder, class_names=class_names)


def _open_annotations(file: Path, class_names: Sequence[str] | None) -> Records:
    parts = read_annotation_file(file, class_names=class_names)
    if list(parts) != [""]:
        raise SettingsError(f"{file}: its name says that it is one part, but it has {', '.join(parts)} as split.")
    return parts[""]


def _open_table(table: Any, description: str, class_names: Sequence[str] | None) -> Records:
    records = records_of(table, class_names=class_names)
    assert isinstance(records, Records), "tables that are not streamed have a length"
    records.description = description
    return records


def _already_open(records: Records, class_names: Sequence[str] | None) -> Records:
    return records


def _loaded(path: str, name: str, **options: str) -> Mapping[Any, Any]:
    """Returns the parts of a data set that the package datasets can load."""
    # Loading datasets takes a second, which folders and files of annotations do not need.
    import datasets

    try:
        loaded = datasets.load_dataset(path, **options)
    # Whatever it says, from a missing network to a broken file, is told with what was tried.
    except Exception as error:
        tried = f"no path seen from {Path.cwd()}, and no data set that the Hugging Face hub would give"
        raise SettingsError(
            f"{name}: {tried if path == name else 'cannot be read'} ({type(error).__name__}: {error})."
            + " A data set of ModelScope is given to the trainer by a script: train_dataset=MsDataset.load(...)."
            * (path == name)
        ) from error
    return loaded


def _is_part(name: str) -> bool:
    return name.lower() in (*TRAIN_PARTS, *VALIDATION_PARTS)


def _has_class_folders(folder: Path) -> bool:
    """Whether it has folders in it, and no pictures of its own, as the folder of one class would."""
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    pictures = any(entry.suffix.lower() in PICTURE_SUFFIXES for entry in entries)
    return not pictures and any(entry.is_dir() for entry in entries)


def _split(
    openers: Mapping[str, _Opener], location: str, *, seed: int, class_names: Sequence[str] | None, divide: bool
) -> DataSplits:
    by_name = {name.strip().lower(): opener for name, opener in openers.items()}
    train_name = next((name for name in TRAIN_PARTS if name in by_name), None)
    validation_name = next((name for name in VALIDATION_PARTS if name in by_name), None)
    if train_name is None and validation_name is None:
        if len(by_name) != 1:
            expected = ", ".join((*TRAIN_PARTS, *VALIDATION_PARTS))
            raise SettingsError(f"{location}: parts called {expected} are expected, but it has {', '.join(openers)}.")
        train_name = next(iter(by_name))
    unused = [name for name in by_name if name not in (train_name, validation_name)]
    notes = [f"{location}: the parts {', '.join(unused)} are not used"] if unused else []
    train = None if train_name is None else by_name[train_name](class_names)
    validation = None
    is_divided = validation_name is None and divide
    if validation_name is not None:
        validation = by_name[validation_name](class_names if train is None else train.class_names)
        validation = validation if train is None else validation.relabelled(train.class_names)
    elif divide:
        assert train is not None, "one of the parts is there"
        train, validation = split_records(train, seed=seed)
        notes.append(
            f"{location} has no validation part: {len(validation)} of its {len(train) + len(validation)} pictures, "
            f"{VALIDATION_SHARE:.0%} of each class drawn by the seed {seed}, are set aside for validation"
        )
    return DataSplits(train, validation, tuple(notes), is_divided)
