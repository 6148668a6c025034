"""How much memory this process has held at most."""

import re
import sys
from pathlib import Path


def peak_resident_mib() -> int | None:
    """Returns the most memory that was resident so far, in MiB, mapped files included; None where no one tells."""
    if sys.platform.startswith("linux"):
        # Not getrusage, which counts the memory of the program that started this one.
        found = re.search(r"^VmHWM:\s*(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
        return int(found.group(1)) // 1024 if found else None
    if sys.platform == "win32":
        return None
    # The module does not exist on Windows.
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1 << 20 if sys.platform == "darwin" else 1024)
