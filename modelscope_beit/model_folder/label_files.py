"""Class names: the packaged ones of ImageNet, and text files with one name a line."""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from modelscope_beit.errors import ModelFolderError
from modelscope_beit.settings.class_file import read_class_file


def imagenet_1k_labels() -> tuple[str, ...]:
    """Returns the 1,000 names of ImageNet-1k as the hub's models print them, e.g. "tench, Tinca tinca".

    Two classes (134, the bird, and 517, the machine) are both called "crane".
    """
    return _packaged("imagenet_1k.txt")


def imagenet_1k_wordnet_ids() -> tuple[str, ...]:
    """Returns the WordNet ids of the classes of ImageNet-1k, e.g. "n01440764"."""
    return _packaged("imagenet_1k_wordnet_ids.txt")


def imagenet_22k_wordnet_ids() -> tuple[str, ...]:
    """Returns the WordNet ids of the 21,841 classes of ImageNet-22k in the order of BEiT's 22k heads."""
    return _packaged("imagenet_22k_wordnet_ids.txt")


def known_labels(num_classes: int) -> tuple[str, ...] | None:
    """Returns the names that released checkpoints with so many classes have, or None.

    1,000: the names of ImageNet-1k. 21,841: the WordNet ids of ImageNet-22k.
    """
    if num_classes == 1000:
        return imagenet_1k_labels()
    if num_classes == 21841:
        return imagenet_22k_wordnet_ids()
    return None


def read_labels(file: str | Path, *, num_classes: int | None = None) -> tuple[str, ...]:
    """Returns the class names of a text file: UTF-8, one name a line, in the order of the classes.

    num_classes: how many there must be; None: any number. Equal names are allowed, ImageNet itself has two.
    Raises SettingsError if the file is missing, is not UTF-8 text, or has an empty line before its last name, and
    ModelFolderError if it has another number of names.
    """
    labels = read_class_file(Path(file))
    if num_classes is not None:
        check_label_count(labels, num_classes, str(file))
    return labels


def write_labels(labels: Sequence[str], file: Path) -> None:
    """Writes class names, one a line, so that read_labels reads the same names.

    Raises ModelFolderError for a name that does not survive it: empty, with a line break or a byte order mark,
    or with spaces at its ends.
    """
    # A byte order mark at the start of the file would be taken for no part of the name.
    bad = [label for label in labels if not label or label != label.strip() or {*"\n\r\ufeff"} & {*label}]
    if bad:
        raise ModelFolderError(
            f"Class names are written one a line, so {bad[0]!r} cannot be written; "
            "take out line breaks, byte order marks, and spaces at either end."
        )
    file.write_text("".join(f"{label}\n" for label in labels), encoding="utf-8", newline="\n")


def check_label_count(labels: Sequence[str], num_classes: int, where: str) -> None:
    """Raises ModelFolderError unless there is one name for each row of the head; where: who gave the names."""
    if len(labels) != num_classes:
        raise ModelFolderError(
            f"{where} gives {len(labels)} class names, but the network's head has {num_classes} classes; "
            f"one name for each class is needed."
        )


def _packaged(name: str) -> tuple[str, ...]:
    text = (resources.files("modelscope_beit") / "labels" / name).read_text(encoding="utf-8")
    return tuple(text.splitlines())
