"""The code in a card that shows how the model is used, run before it is published."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from modelscope_beit.publishing.destination import Destination
from modelscope_beit.publishing.fresh_process import run_python

EXAMPLE = "example.png"

_MODELSCOPE = """{plugin}from modelscope.pipelines import pipeline
from modelscope.utils.constant import Tasks

classify = pipeline(Tasks.image_classification, model="{repo_id}"{trust})
result = classify("{example}")
for label, score in zip(result["labels"], result["scores"]):
    print(f"{{score:.4f}}  {{label}}")
"""
_TRANSFORMERS = """from transformers import pipeline

classify = pipeline("image-classification", model="{repo_id}")
for answer in classify("{example}"):
    print(f"{{answer['score']:.4f}}  {{answer['label']}}")
"""


@dataclass(frozen=True)
class Usage:
    """Code for the card, and what came of running it.

    output: what it printed; "" if it failed. error: the last lines that it said then, else "".
    picture: the place of the picture below the folder, with slashes.
    """

    code: str
    picture: str
    output: str
    error: str


def run_usage(folder: Path, destination: Destination, picture: str, *, self_contained: bool) -> Usage:
    """Returns the code for a model under its id, after running it as it stands, in a new interpreter.

    The id is then that of a folder in the interpreter's working folder, beside a copy of the picture.
    folder: with configuration and weights. picture: below the folder.
    """
    code = usage_code(destination, self_contained=self_contained)
    with TemporaryDirectory() as place:
        model = Path(place) / destination.repo_id
        model.parent.mkdir(parents=True)
        try:
            model.symlink_to(folder.absolute(), target_is_directory=True)
        except OSError:
            # Not every system lets everybody make links.
            shutil.copytree(folder, model)
        shutil.copyfile(folder / picture, Path(place) / EXAMPLE)
        done = run_python(code, folder=Path(place))
    if done.status != 0:
        return Usage(code, picture, "", done.errors or f"exit status {done.status}")
    return Usage(code, picture, done.output.strip("\n"), "")


def usage_code(destination: Destination, *, self_contained: bool) -> str:
    """Returns the code of the card; self_contained: without our import, and with trust in the code of the folder."""
    template = _MODELSCOPE if destination.hub == "modelscope" else _TRANSFORMERS
    return template.format(
        repo_id=destination.repo_id,
        example=EXAMPLE,
        plugin="" if self_contained else "import modelscope_beit\n",
        trust=", trust_remote_code=True" if self_contained else "",
    )
