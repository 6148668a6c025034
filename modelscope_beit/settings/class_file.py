"""A text file of class names, such as a model folder's or a data set's classname.txt. Standard library only."""

from pathlib import Path

from modelscope_beit.errors import SettingsError


def read_class_file(file: Path) -> tuple[str, ...]:
    """Returns the names of a text file: UTF-8, one a line, in the order of the classes.

    Raises SettingsError if it is no such file, or if a line before the last name is empty.
    """
    try:
        # Only line feeds end a name (universal newlines make them of the others); splitlines would cut more.
        lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").split("\n")]
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"Class names are expected in a UTF-8 text file, one a line, but {file} cannot be read as one ({error})."
        ) from error
    while lines and not lines[-1]:
        lines.pop()
    empty = [str(number) for number, line in enumerate(lines, 1) if not line]
    if empty or not lines:
        where = f"on line {', '.join(empty[:5])}" if empty else "at all"
        raise SettingsError(f"{file} has no class name {where}; write one name on every line.")
    return tuple(lines)
