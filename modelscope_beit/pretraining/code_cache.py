"""A tokenizer's codes, kept on disk, found by the pixels that they are of. torch only.

Only crops that come again are worth to be kept: see ViewSettings.num_crops.
"""

import hashlib
import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from modelscope_beit.errors import TrainingError

KEY_BYTES = 32


def key_of(pixels: Tensor) -> Tensor:
    """Returns the key (32,) uint8 of a crop (3, H, W) of bytes."""
    digest = hashlib.sha256(pixels.numpy().tobytes()).digest()
    return torch.frombuffer(bytearray(digest), dtype=torch.uint8)


class CodeCache:
    """Codes (P,) of crops, below a folder named after the tokenizer.

    Each cache appends to a file of its own, and finds what all had written when it began: so any number of processes
    and runs may share a folder. A row that a killed process left half written is passed over.
    """

    def __init__(self, folder: Path, tokenizer: str, *, num_patches: int, num_codes: int) -> None:
        """Opens the cache.

        tokenizer: a digest of its weights. num_patches, num_codes: P, and how many codes there are.
        Raises TrainingError if the folder cannot be made or read.
        """
        self.folder = folder / tokenizer.replace(":", "-")
        codes = "<u2" if num_codes <= 1 << 16 else "<u4"
        self._row = np.dtype([("key", f"V{KEY_BYTES}"), ("codes", codes, (num_patches,))])
        self._own = self.folder / f"{uuid.uuid4().hex}.codes"
        self._places: dict[bytes, tuple[np.ndarray, int]] = {}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for path in sorted(self.folder.glob("*.codes")):
                self._read(path)
        except OSError as error:
            raise self._unusable(error) from error

    def __len__(self) -> int:
        return len(self._places)

    def codes(self, keys: Tensor, compute: Callable[[Tensor], Tensor]) -> Tensor:
        """Returns the codes (N, P), int64, of crops with these keys (N, 32), on the keys' device.

        compute: gives the codes (M, P) of those that are not there yet, from their places (M,) in the batch.
        """
        names = [row.tobytes() for row in keys.cpu().numpy()]
        new = [place for place, name in enumerate(names) if name not in self._places]
        if new:
            computed = compute(torch.tensor(new, device=keys.device)).cpu().numpy()
            self._append([names[place] for place in new], computed)
        found = [self._places[name] for name in names]
        rows = np.stack([block["codes"][row] for block, row in found]).astype(np.int64)
        return torch.from_numpy(rows).to(keys.device)

    def _append(self, names: list[bytes], codes: np.ndarray) -> None:
        rows = np.empty(len(names), self._row)
        rows["key"] = np.frombuffer(b"".join(names), f"V{KEY_BYTES}")
        rows["codes"] = codes
        try:
            with self._own.open("ab") as file:
                file.write(rows.tobytes())
        except OSError as error:
            raise self._unusable(error) from error
        self._note(rows)

    def _read(self, path: Path) -> None:
        count = path.stat().st_size // self._row.itemsize
        if count:
            self._note(np.memmap(path, self._row, mode="r", shape=(count,)))

    def _note(self, rows: np.ndarray) -> None:
        for place, key in enumerate(rows["key"]):
            self._places[key.tobytes()] = (rows, place)

    def _unusable(self, error: OSError) -> TrainingError:
        return TrainingError(f"Codes cannot be kept in {self.folder}: {error}. Choose another folder, or do without.")
