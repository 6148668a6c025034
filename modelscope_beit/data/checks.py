"""Looks at the data before the first step, so that what is wrong is told at once and all together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from modelscope_beit.data.content_overlap import MISSING, file_sizes, find_overlap
from modelscope_beit.data.records import Records
from modelscope_beit.data.streamed import StreamedRecords
from modelscope_beit.data.wording import some_mistakes, some_of
from modelscope_beit.errors import ImageError, SettingsError
from modelscope_beit.images.reading import read_image

# Pictures of each part that are decoded.
_DECODED = 8

# From so many files on the caller is told how far the search for missing ones has come.
_MANY_FILES = 10_000


@dataclass
class DataFindings:
    """What was found in data that can be used: what was looked at, and what it is like."""

    table: list[tuple[str, str]] = field(default_factory=list)

    def rows(self) -> list[tuple[str, str]]:
        """Returns the findings as the rows of a table."""
        return list(self.table)

    def add(self, name: str, text: str) -> None:
        """Adds a row."""
        self.table.append((name, text))


def check_data(
    train: Records | StreamedRecords | None,
    validation: Records | StreamedRecords | None,
    *,
    num_classes: int | None,
    on_files: Callable[[int, int], None] | None = None,
) -> DataFindings:
    """Returns what was found in the data.

    All labels and the existence of all files are checked, a few pictures are decoded, and pictures in both parts are
    searched by their content. A class without a validation picture is a finding; one without a training picture, of
    which there are validation pictures, a mistake. Streams are only decoded in part.
    num_classes: K of the network; None: not known yet. on_files: called with (looked at, all) while more than 10,000
    files are searched.
    Raises SettingsError that lists all mistakes.
    """
    problems: list[str] = []
    findings = DataFindings()
    parts = {"Training": train, "Validation": validation}
    known = {name: part for name, part in parts.items() if isinstance(part, Records)}
    for name, part in parts.items():
        if part is not None:
            findings.add(name, _in_a_line(part))
    _check_classes([part for part in parts.values() if part is not None], num_classes, problems, findings)
    for name, records in known.items():
        _check_labels(name, records, problems, findings)
    if isinstance(train, Records) and isinstance(validation, Records) and train.class_names == validation.class_names:
        _compare_classes(train, validation, problems, findings)
    sizes = _check_files(known, problems, on_files)
    for name, part in parts.items():
        if part is not None and (text := _decode_some(part, sizes.get(name), problems)):
            findings.add(f"{name} sample", text)
    if len(known) == 2 and not problems:
        findings.add("Overlap", _overlap_of(known["Training"], known["Validation"], sizes))
    for note in dict.fromkeys(note for part in parts.values() if part is not None for note in part.notes):
        findings.add("Note", note)
    if problems:
        raise SettingsError("\n- ".join(["The data cannot be used as they are:", *problems]))
    return findings


def _in_a_line(part: Records | StreamedRecords) -> str:
    kind = "multi-label, " if part.is_multi_label else ""
    count = f"{len(part):,} pictures, " if isinstance(part, Records) else ""
    return f"{count}{len(part.class_names):,} classes, {kind}{part.description}"


def _check_classes(
    parts: Sequence[Records | StreamedRecords], num_classes: int | None, problems: list[str], findings: DataFindings
) -> None:
    if len(parts) == 2 and parts[0].class_names != parts[1].class_names:
        problems.append(
            f"the training and the validation data must have the same classes in the same order, but they have "
            f"{some_of(parts[0].class_names)} and {some_of(parts[1].class_names)}"
        )
    if len({part.is_multi_label for part in parts}) == 2:
        problems.append("the training and the validation data must both have one class a picture, or both several")
    for part in parts[:1]:
        count = len(part.class_names)
        findings.add("Class names", some_of(part.class_names))
        if num_classes is not None and num_classes != count:
            problems.append(
                f"model.mm_model.head.num_classes is {num_classes}, but the data have {count} classes "
                f"({part.description}); set it to {count} or remove it"
            )
        if count < 2 and not part.is_multi_label:
            problems.append(f"{part.description}: two classes at least are expected, but it has {count}")


def _check_labels(name: str, records: Records, problems: list[str], findings: DataFindings) -> None:
    if not len(records):
        problems.append(f"{records.description}: has no pictures")
        return
    if problem := records.label_problem():
        problems.append(problem.removesuffix("."))
    counts = records.class_counts()
    used = np.flatnonzero(counts)
    if not len(used):
        return
    least, most = used[np.argmin(counts[used])], used[np.argmax(counts[used])]
    spread = f"{counts[least]:,} ({records.class_names[least]}) to {counts[most]:,} ({records.class_names[most]})"
    findings.add(f"{name} pictures per class", f"{counts[least]:,} each" if counts[least] == counts[most] else spread)


def _compare_classes(train: Records, validation: Records, problems: list[str], findings: DataFindings) -> None:
    in_train, in_validation = train.class_counts(), validation.class_counts()
    names = train.class_names
    untaught = np.flatnonzero((in_train == 0) & (in_validation > 0))
    if len(untaught):
        told = some_mistakes([f"{names[k]} ({in_validation[k]} validation pictures)" for k in untaught])
        problems.append(
            f"{train.description}: has no pictures of {len(untaught)} classes that {validation.description} has: "
            f"{told}; add some, or take these classes out of the validation data"
        )
    unmeasured = np.flatnonzero((in_train > 0) & (in_validation == 0))
    if len(unmeasured):
        findings.add("Not validated", f"{len(unmeasured)} classes: {some_of([names[k] for k in unmeasured])}")
    empty = np.flatnonzero((in_train == 0) & (in_validation == 0))
    if len(empty):
        findings.add("Without pictures", f"{len(empty)} classes: {some_of([names[k] for k in empty])}")


def _check_files(
    known: dict[str, Records], problems: list[str], on_files: Callable[[int, int], None] | None
) -> dict[str, np.ndarray]:
    """Returns the sizes of all files, of those parts that are files."""
    paths = {name: files for name, records in known.items() if (files := records.files()) is not None}
    total, looked_at = sum(map(len, paths.values())), 0

    def count(more: int) -> None:
        nonlocal looked_at
        looked_at += more
        if on_files is not None and total > _MANY_FILES:
            on_files(looked_at, total)

    sizes = {name: file_sizes(files, count) for name, files in paths.items()}
    for name, files in paths.items():
        for size, what in ((MISSING, "do not exist"), (0, "are empty")):
            rows = np.flatnonzero(sizes[name] == size)
            if len(rows):
                told = some_mistakes([files[int(row)] for row in rows])
                problems.append(f"{known[name].description}: {len(rows)} of {len(files)} files {what}: {told}")
    return sizes


def _decode_some(part: Records | StreamedRecords, sizes: np.ndarray | None, problems: list[str]) -> str | None:
    """Decodes pictures spread evenly over the part, or the first one of a stream; returns what they are like."""
    pictures = []
    for row in _spread_rows(part):
        # Files that are missing or empty have been told.
        if sizes is not None and sizes[row] in (MISSING, 0):
            continue
        try:
            record = part[row] if isinstance(part, Records) else next(part.records())
            pictures.append(read_image(record.image).size)
        except ImageError as error:
            problems.append(f"{part.description}, row {row}: {error}".removesuffix("."))
    if not pictures:
        return None
    widths, heights = zip(*pictures, strict=True)
    return (
        f"{len(pictures)} decoded: {min(widths)}-{max(widths)} pixels wide, {min(heights)}-{max(heights)} pixels high"
    )


def _spread_rows(part: Records | StreamedRecords) -> list[int]:
    if not isinstance(part, Records):
        return [0]
    return np.unique(np.linspace(0, len(part) - 1, min(_DECODED, len(part))).astype(np.int64)).tolist()


def _overlap_of(train: Records, validation: Records, sizes: dict[str, np.ndarray]) -> str:
    """Says how many pictures the parts share."""
    both = (sizes["Training"], sizes["Validation"]) if len(sizes) == 2 else None
    overlap = find_overlap(train, validation, both)
    if not overlap.compared:
        return f"not searched: {len(train) + len(validation):,} pictures inside of tables are too many to read"
    searched = f"of {overlap.compared:,} validation pictures"
    if not overlap.pairs:
        return f"none {searched} is in the training data"
    of_train, of_validation = overlap.pairs[0]
    return (
        f"{len(overlap.pairs):,} {searched} are in the training data too, so the result will be too good; the first is "
        f"{validation[of_validation].name} = {train[of_train].name}"
    )
