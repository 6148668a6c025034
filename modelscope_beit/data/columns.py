"""Which columns of a table hold the picture and its label."""

from collections.abc import Collection

from modelscope_beit.errors import SettingsError

# The hub's names first; a table that has several of them is read by the first.
IMAGE_COLUMNS = ("image:FILE", "image", "img", "path", "file", "filename", "file_name", "filepath", "file_path",
                 "image_path", "picture", "jpg")  # fmt: skip
LABEL_COLUMNS = ("category", "label", "labels", "class", "class_name", "fine_label", "target", "cls")
SPLIT_COLUMNS = ("split",)


def find_columns(columns: Collection[str], source: str) -> tuple[str, str]:
    """Returns the names of the picture's and the label's column, told by their names.

    Raises SettingsError that lists the columns that there are; source: what has them.
    """
    image, label = find_column(columns, IMAGE_COLUMNS), find_column(columns, LABEL_COLUMNS)
    missing = []
    if image is None:
        missing.append("for the picture one of " + ", ".join(map(repr, IMAGE_COLUMNS)))
    if label is None:
        missing.append("for the label one of " + ", ".join(map(repr, LABEL_COLUMNS)))
    if image is None or label is None:
        raise SettingsError(
            f"{source}: these columns are expected: {'; '.join(missing)}; it has the columns "
            f"{', '.join(map(repr, columns))}. Rename the columns."
        )
    return image, label


def find_column(columns: Collection[str], candidates: tuple[str, ...]) -> str | None:
    """Returns the first candidate among the columns, else the first in another case, or None."""
    by_lower_case = {str(column).strip().lower(): column for column in reversed(list(columns))}
    for candidate in candidates:
        if candidate in columns:
            return candidate
    return next((by_lower_case[name.lower()] for name in candidates if name.lower() in by_lower_case), None)
