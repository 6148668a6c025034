"""Runs a program in an interpreter that has imported nothing of ours, without a way to a hub."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from modelscope_beit.publishing.secrets import is_secret_variable

# Nothing listens there, so that whoever asks the hub gets an error at once: what runs here is to be opened from disk.
_NO_HUB = "http://127.0.0.1:9"
_OFFLINE = {
    "MODELSCOPE_ENDPOINT": _NO_HUB,
    "MODELSCOPE_DOMAIN": "127.0.0.1:9",
    "HF_ENDPOINT": _NO_HUB,
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "MODELSCOPE_API_MAX_RETRIES": "1",
    "PYTHONIOENCODING": "utf-8",
    # On a machine with a GPU, too: answers are compared with those of the processor.
    "CUDA_VISIBLE_DEVICES": "",
}
_TIME_LIMIT_SECONDS = 1800
_TOLD_LINES = 12


@dataclass(frozen=True)
class Finished:
    """What a program did: exit status, what it printed, and the last lines of what it said on stderr."""

    status: int
    output: str
    errors: str


def run_python(code: str, *arguments: str, folder: Path) -> Finished:
    """Runs Python code in a new interpreter, with `folder` as its working folder, and returns what came of it.

    arguments: sys.argv[1:] of the program.
    Tokens, keys and passwords in the environment are not handed on. A program that takes longer than half an hour is
    ended; its status is then -1.
    """
    environment = {name: value for name, value in os.environ.items() if not is_secret_variable(name)}
    # What is installed is found anyway; a checkout is found by its place, as this process has found it.
    home = Path(__file__).parents[2]
    places = [str(home)] if home.name not in ("site-packages", "dist-packages") else []
    places += filter(None, [os.environ.get("PYTHONPATH")])
    environment |= _OFFLINE | {"PYTHONPATH": os.pathsep.join(places)}
    command = [sys.executable, "-c", code, *arguments]
    # ModelScope copies the code of a trusted folder to its cache; nothing of it is to stay there.
    with TemporaryDirectory() as cache:
        environment["MODELSCOPE_CACHE"] = cache
        try:
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", timeout=_TIME_LIMIT_SECONDS
            )
        except subprocess.TimeoutExpired:
            return Finished(-1, "", f"It did not end within {_TIME_LIMIT_SECONDS // 60} minutes.")
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return Finished(done.returncode, done.stdout, "\n".join(lines[-_TOLD_LINES:]))
