"""Gives memory back that only mirrors a file. Standard library and torch."""

import ctypes
import mmap
import sys
from collections.abc import Iterable

from torch import Tensor

# Linux 5.4: pages are reclaimed now; what is not on disk yet stays, so nothing can be lost.
_PAGE_OUT = 21


def give_back(tensors: Iterable[Tensor]) -> None:
    """Lets the system take the memory of tensors that are mapped from files; what is used again is read again.

    Where the system cannot, nothing happens. Tensors that lie in memory only are left alone.
    """
    if sys.platform != "linux":
        return
    mapped = _mapped_from_files()
    advise = ctypes.CDLL(None).madvise
    for tensor in tensors:
        start = -(-tensor.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
        length = (tensor.data_ptr() + tensor.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE - start
        if length > 0 and any(low <= start and start + length <= high for low, high in mapped):
            # Whether the kernel does it is its affair: the answer is no error here.
            advise(ctypes.c_void_p(start), ctypes.c_size_t(length), ctypes.c_int(_PAGE_OUT))


def _mapped_from_files() -> list[tuple[int, int]]:
    ranges = []
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                place, _, _, _, inode, *_ = line.split()
                if inode != "0":
                    low, high = (int(end, 16) for end in place.split("-"))
                    ranges.append((low, high))
    except OSError:
        return []
    return ranges
