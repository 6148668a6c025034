"""Runs programs in interpreters that have imported nothing of ours, without paying for torch in each of them."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence

import helpers

# What ModelScope's pipelines import of others, without OpenCV.
BEHIND_THE_PIPELINES = (
    "torch",
    "torchvision",
    "transformers.modeling_utils",
    "datasets",
    "accelerate",
    "modelscope_hub",
    "scipy.optimize",
)

# One interpreter imports the heavy packages of others; each program then runs in a fork of it. Where there is no
# fork (Windows) nothing here can run.
PARENT = """
import json, os, sys, traceback
for name in json.loads(sys.argv[1]):
    __import__(name)
for program in json.loads(sys.argv[2]):
    sys.stdout.flush(), sys.stderr.flush()
    child = os.fork()
    if child == 0:
        status = 0
        try:
            exec(compile(program, "<program>", "exec"), {"__name__": "__main__"})
        except BaseException:
            traceback.print_exc()
            status = 1
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    for stream in (sys.stdout, sys.stderr):
        print(f"\\n<end {status}>", file=stream, flush=True)
"""


def outcomes(programs: Sequence[str], imported: Sequence[str] = ("torch",)) -> list[tuple[int, str, str]]:
    """Returns (status, output, errors) of each program; `imported` is there when it starts."""
    command = [sys.executable, "-c", PARENT, json.dumps(imported), json.dumps(programs)]
    environment = os.environ | {"PYTHONPATH": str(helpers.ROOT)}
    finished = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    parts = []
    for stream in (finished.stdout, finished.stderr):
        pieces = stream.split("\n<end ")
        # The piece after the n-th mark begins with the status of program n and a line end.
        statuses = [int(piece.partition(">")[0]) for piece in pieces[1:]]
        texts = [pieces[0], *(piece.partition(">\n")[2] for piece in pieces[1:-1])]
        parts.append((statuses, texts))
    (statuses, output), (_, errors) = parts
    return list(zip(statuses, output, errors, strict=True))


def output_of(program: str, imported: Sequence[str] = ("torch",)) -> str:
    """Returns what a program prints; asserts that it ends well."""
    ((status, output, errors),) = outcomes([program], imported)
    assert status == 0, errors
    return output
