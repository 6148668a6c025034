"""How much memory this process has used at most."""

import re
import sys
from pathlib import Path

import torch

MIB = 1 << 20


def peak_memory_mib() -> int | None:
    """Returns the most memory used so far, in MiB: allocated on the GPU, or resident where there is no GPU.

    mmcv logs the first of these. None where the system does not tell (Windows without a GPU).
    """
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() // MIB
    if sys.platform.startswith("linux"):
        # Not getrusage, which counts the memory of the program that started this one.
        found = re.search(r"^VmHWM:\s*(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
        return int(found.group(1)) // 1024 if found else None
    if sys.platform == "win32":
        return None
    # The module does not exist on Windows.
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (MIB if sys.platform == "darwin" else 1024)
