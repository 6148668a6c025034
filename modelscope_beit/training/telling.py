"""Which process tells an error that several have. Standard library only."""

import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path

from modelscope_beit.training.interruption import Interruption

# torchrun's name of a process's own file in <folder of this start of the processes>/<local rank>/.
_TORCHRUN_FILE = "TORCHELASTIC_ERROR_FILE"
_PATIENCE_SECONDS = 2.0
_PAUSE_SECONDS = 0.02


def has_to_tell(text: str) -> bool:
    """Tells whether this process is to print an error: of those that torchrun has started on a machine, one does.

    The first one (local rank 0) always does, at once. Another one waits for that, for two seconds or until torchrun
    tells it to end, and then does so itself: an error that the first process does not have is told too.
    """
    file = os.environ.get(_TORCHRUN_FILE)
    if file is None:
        return True
    digest = hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()
    told = Path(file).parent.parent / f"told_{digest}"
    is_first = os.environ.get("LOCAL_RANK", "0") == "0"
    if not is_first and _appears(told):
        return False
    # Where this fails, the others speak too.
    with suppress(OSError):
        told.touch()
    return True


def _appears(told: Path) -> bool:
    """Waits for a file, and tells whether it has come."""
    end = time.monotonic() + _PATIENCE_SECONDS
    # torchrun sends SIGTERM to the others as soon as one of them has failed.
    with Interruption() as interruption:
        while not (told.exists() or interruption.name or time.monotonic() > end):
            time.sleep(_PAUSE_SECONDS)
    return told.exists()
