"""A teacher's features, kept on disk: float16, mapped into memory, found by the pixels that they are of. torch only.

Only fixed crops come again, so only these are worth to be kept; a random crop would never be found.
"""

import hashlib
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from modelscope_beit.errors import TrainingError
from modelscope_beit.pretraining.teachers import Teacher

_KEY_BYTES = 32


class FeatureCache:
    """Features (P, E) of crops, below a folder of their teacher's digest.

    Every cache writes two files of its own, keys and features, and finds what all had written when it began: so any
    number of processes and runs may share a folder. What a killed process left half written is passed over.
    """

    def __init__(self, folder: Path, teacher: Teacher) -> None:
        """Raises TrainingError if the folder cannot be made or read."""
        self._shape = (teacher.grid[0] * teacher.grid[1], teacher.width)
        self._bytes = 2 * self._shape[0] * self._shape[1]
        self.folder = folder / teacher.digest()
        own = uuid.uuid4().hex
        self._keys, self._features = (self.folder / f"{own}.{kind}" for kind in ("keys", "features"))
        self._own_rows = 0
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._places: dict[bytes, tuple[Path, int]] = {}
            for keys in sorted(self.folder.glob("*.keys")):
                self._read(keys)
        except OSError as error:
            raise self._unusable(error) from error
        self._maps: dict[Path, np.memmap] = {}

    def __len__(self) -> int:
        return len(self._places)

    def features(self, pixels: Tensor, compute: Callable[[Tensor], Tensor]) -> Tensor:
        """Returns the features (N, P, E), float32, of crops (N, 3, H, W), bytes.

        compute: gives the features (M, P, E) of those that are not there yet, from their places (M,) in the batch.
        What it gives is rounded to float16 at once, so that a crop has the same features in every epoch.
        """
        keys = [hashlib.sha256(row.tobytes()).digest() for row in pixels.cpu().numpy()]
        new = [place for place, key in enumerate(keys) if key not in self._places]
        if new:
            computed = compute(torch.tensor(new, device=pixels.device)).to(torch.float16).cpu().numpy()
            self._append([keys[place] for place in new], computed)
        rows = np.stack([self._row(key) for key in keys])
        return torch.from_numpy(rows).to(pixels.device).float()

    def _append(self, keys: list[bytes], features: np.ndarray) -> None:
        try:
            # Features first: a key without them would promise what is not there.
            for file, content in ((self._features, features.tobytes()), (self._keys, b"".join(keys))):
                with file.open("ab") as opened:
                    opened.write(content)
        except OSError as error:
            raise self._unusable(error) from error
        for number, key in enumerate(keys, start=self._own_rows):
            self._places.setdefault(key, (self._features, number))
        self._own_rows += len(keys)

    def _row(self, key: bytes) -> np.ndarray:
        file, number = self._places[key]
        mapped = self._maps.get(file)
        if mapped is None or len(mapped) <= number:
            rows = file.stat().st_size // self._bytes
            mapped = self._maps[file] = np.memmap(file, np.float16, "r", shape=(rows, *self._shape))
        found: np.ndarray = mapped[number]
        return found

    def _read(self, keys: Path) -> None:
        content, features = keys.read_bytes(), keys.with_suffix(".features")
        whole = min(len(content) // _KEY_BYTES, features.stat().st_size // self._bytes if features.exists() else 0)
        for number in range(whole):
            self._places[content[number * _KEY_BYTES : (number + 1) * _KEY_BYTES]] = (features, number)

    def _unusable(self, error: OSError) -> TrainingError:
        return TrainingError(
            f"The teacher's features cannot be kept in {self.folder} ({error}). One crop takes {self._bytes:,} bytes; "
            "name a folder with more space, or do without."
        )
