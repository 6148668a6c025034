"""What a folder that is ready to be published holds, and what was checked about it."""

from dataclasses import dataclass
from pathlib import Path

from modelscope_beit.checkpoints.files import file_digest
from modelscope_beit.publishing.destination import Destination


@dataclass(frozen=True)
class Check:
    """One thing that was looked at before anything leaves the machine.

    finding: what was seen and, if it is not right, what to do.
    """

    name: str
    finding: str
    is_right: bool


@dataclass(frozen=True)
class StagedFolder:
    """A folder as it is to be on the hub.

    files: path below the folder, with slashes -> bytes. digests: path -> digest of the content, as it was checked.
    checks: all of them, also those that failed.
    """

    folder: Path
    destination: Destination
    files: dict[str, int]
    digests: dict[str, str]
    checks: tuple[Check, ...]

    @property
    def is_right(self) -> bool:
        """Whether it may leave the machine."""
        return all(check.is_right for check in self.checks)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(self.files.values())


def files_below(folder: Path) -> dict[str, int]:
    """Returns path below the folder, with slashes -> bytes, of every file, sorted."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}


def digests_below(folder: Path) -> dict[str, str]:
    """Returns path below the folder, with slashes -> digest of the content, of every file, sorted."""
    return {name: file_digest(folder / name) for name in files_below(folder)}
