"""A file as a hub lists it, and whether a file on this machine has the same content."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class HubFile:
    """One file of a repository.

    size: in bytes. sha256: of the content. git_id: git's own digest of the content, a SHA-1 with a header. None: the
    hub does not tell; it tells the former of large files, and the latter, or both, of small ones.
    """

    size: int
    sha256: str | None = None
    git_id: str | None = None

    def has_content_of(self, path: Path) -> bool:
        """Tells whether the content is proven to be the same; False if the hub told nothing to compare."""
        if path.stat().st_size != self.size:
            return False
        if self.sha256:
            return _digest(path, hashlib.sha256()) == self.sha256
        if self.git_id:
            return _digest(path, hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False)) == self.git_id
        return False


def _digest(path: Path, digest: "hashlib._Hash") -> str:
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
