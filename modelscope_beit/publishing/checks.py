"""What is looked at before anything leaves the machine. Every check is of the folder as it lies there."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from modelscope_beit import names
from modelscope_beit.checkpoints.pickled import read_pickled
from modelscope_beit.errors import BeitError
from modelscope_beit.publishing.answers import ANSWERS_FILE, Answer, largest_difference, read_answers
from modelscope_beit.publishing.destination import Destination
from modelscope_beit.publishing.file_texts import texts_below
from modelscope_beit.publishing.fresh_process import run_python
from modelscope_beit.publishing.front_matter import missing_keys
from modelscope_beit.publishing.local_paths import find_local_paths
from modelscope_beit.publishing.secrets import secrets_in_json, secrets_in_text
from modelscope_beit.publishing.self_contained import (
    ALLOW_REMOTE,
    CODE_KEYS,
    EXTRAS,
    REQUIREMENTS_FILE,
    WRAPPER,
    WRAPPER_FILE,
    requirements,
)
from modelscope_beit.publishing.source import read_front_matter
from modelscope_beit.publishing.staged_folder import Check, files_below

# Rounding of float32 through a deep network, with another number of threads.
EXACT = 1e-4
# Where the published format resizes pictures by another library.
RESIZED_OTHERWISE = 0.05

_MOST_TOLD = 5
_PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".joblib")
_CODE = (".py", ".pyc", ".pyd", ".so", ".dll", ".sh", ".whl", ".ipynb", ".npy", ".npz")
# What a self-contained folder may hold, byte for byte.
_WRAPPING = {WRAPPER_FILE: [WRAPPER], REQUIREMENTS_FILE: [requirements(extra) for extra in EXTRAS]}
_OPENING = """import json, sys
{plugin}
classify = pipeline("image-classification", model=sys.argv[1]{options})
answers = [classify(picture, {topk}=10) for picture in sys.argv[2:]]
print()
print(json.dumps({rows}))
"""


def check_folder(
    folder: Path, destination: Destination, *, known_paths: Sequence[str] = (), tolerance: float = EXACT
) -> list[Check]:
    """Returns all checks of a staged folder, also the failed ones; it takes as long as opening the model.

    known_paths: local paths that none of its texts may hold, besides those that look like one.
    tolerance: largest difference between a golden score and the one that the folder gives in a new interpreter.
    """
    self_contained = bool(_configuration(folder).get(ALLOW_REMOTE))
    return [
        check_answers(folder, destination, self_contained=self_contained, tolerance=tolerance),
        check_front_matter(folder, destination),
        check_secrets(folder),
        check_local_paths(folder, known_paths),
        check_code(folder, self_contained=self_contained),
        check_size(folder),
    ]


def check_answers(folder: Path, destination: Destination, *, self_contained: bool, tolerance: float) -> Check:
    """Opens the folder with the hub's own pipeline() in a new interpreter, and compares with the golden answers."""
    name = "golden answers"
    try:
        expected = read_answers(folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Check(name, f"{ANSWERS_FILE} cannot be read ({error!r}); stage the folder again.", is_right=False)
    program = _opening_program(destination, self_contained=self_contained)
    pictures = [str(folder / answer.picture) for answer in expected]
    # An absolute path is never taken for an id of the hub.
    done = run_python(program, str(folder.absolute()), *pictures, folder=folder.parent)
    if done.status != 0 or not done.output.strip():
        why = f"pipeline() cannot open the folder in a new interpreter (exit status {done.status}): {done.errors}"
        return Check(name, why, is_right=False)
    rows = json.loads(done.output.splitlines()[-1])
    found = [
        Answer(answer.picture, tuple(labels), tuple(scores))
        for answer, (labels, scores) in zip(expected, rows, strict=True)
    ]
    difference, picture = largest_difference(expected, found)
    told = f"{len(expected)} pictures answered by pipeline() in a new interpreter; scores differ by {difference:.1g}"
    if difference <= tolerance:
        return Check(name, f"{told} (let pass: {tolerance:g})", is_right=True)
    finding = f"{told}, most for {picture}, but only {tolerance:g} is let pass: the folder answers otherwise than the "
    return Check(name, finding + "source. Stage it again, and report it if it stays.", is_right=False)


def check_front_matter(folder: Path, destination: Destination) -> Check:
    """Reads the card's front matter with a YAML reader."""
    name = "front matter"
    card = folder / names.CARD_FILE
    found = read_front_matter(card.read_text(encoding="utf-8")) if card.is_file() else {}
    required, useful = missing_keys(found, destination)
    if required:
        finding = f"{names.CARD_FILE} lacks {', '.join(required)} in the YAML between its two lines of ---."
        return Check(name, f"{finding} Stage the folder again.", is_right=False)
    told = f"{', '.join(found)}"
    return Check(name, f"{told}; nobody said {', '.join(useful)}" if useful else told, is_right=True)


def check_secrets(folder: Path) -> Check:
    """Looks for tokens, keys and passwords in every file."""
    found = []
    for name, text in texts_below(folder):
        found += [f"{name}: {what}" for what in secrets_in_text(text)]
        if name.endswith(".json"):
            found += [f"{name}: {what}" for what in secrets_in_json(text)]
    advice = "Remove it from the source, stage again, and revoke it if others have seen it."
    return _none_found("secrets", found, advice)


def check_local_paths(folder: Path, known: Sequence[str] = ()) -> Check:
    """Looks for paths of this or another machine in every file."""
    found = []
    for name, text in texts_below(folder):
        found += [f"{name}: {path}" for path in find_local_paths(text, known)]
    return _none_found("local paths", found, "Edit that file in the source, and stage again.")


def check_code(folder: Path, *, self_contained: bool) -> Check:
    """Looks for pickles that could run code, for program files, and for requests to run them.

    self_contained: the wrapper, as it was written, is let pass.
    """
    found = []
    for name in files_below(folder):
        path = folder / name
        is_wrapper = self_contained and path.read_bytes().decode("utf-8", "replace") in _WRAPPING.get(name, ())
        if name.endswith(_PICKLES):
            found += _complaints(path, name)
        elif name.endswith(_CODE) and not is_wrapper:
            found.append(f"{name}: a file of code")
        elif "requirement" in name and not is_wrapper:
            found.append(f"{name}: makes ModelScope install packages")
    allowed = ALLOW_REMOTE if self_contained else None
    asked = [key for key, value in _configuration(folder).items() if key in CODE_KEYS and value and key != allowed]
    found += [f"{names.CONFIGURATION_FILE}: asks for code by {key!r}" for key in asked]
    advice = "Remove it; weights are to be tensors and plain values."
    checked = _none_found("code", found, advice)
    if checked.is_right and self_contained:
        return Check("code", f"none but {WRAPPER_FILE}, which imports the package and nothing else", is_right=True)
    return checked


def check_size(folder: Path) -> Check:
    """Says how much there is to be uploaded."""
    files = files_below(folder)
    return Check("size", f"{len(files)} files, {sum(files.values()):,} bytes", is_right=True)


def _none_found(name: str, found: Iterable[str], advice: str) -> Check:
    found = list(dict.fromkeys(found))
    if not found:
        return Check(name, "none found", is_right=True)
    more = f" and {len(found) - _MOST_TOLD} more" if len(found) > _MOST_TOLD else ""
    return Check(name, f"{'; '.join(found[:_MOST_TOLD])}{more}. {advice}", is_right=False)


def _complaints(pickle: Path, name: str) -> list[str]:
    try:
        read_pickled(pickle)
    except BeitError as error:
        return [f"{name}: {error}"]
    return []


def _configuration(folder: Path) -> dict[str, object]:
    """Returns configuration.json; empty if there is none that can be read, which the golden answers then show."""
    try:
        content = json.loads((folder / names.CONFIGURATION_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _opening_program(destination: Destination, *, self_contained: bool) -> str:
    if destination.hub == "huggingface":
        rows = "[[[row['label'] for row in answer], [row['score'] for row in answer]] for answer in answers]"
        return _OPENING.format(plugin="from transformers import pipeline", options="", topk="top_k", rows=rows)
    plugin = "" if self_contained else "import modelscope_beit\n"
    return _OPENING.format(
        plugin=f"{plugin}from modelscope.pipelines import pipeline",
        options=", device='cpu', trust_remote_code=True" if self_contained else ", device='cpu'",
        topk="topk",
        rows="[[answer['labels'], [float(score) for score in answer['scores']]] for answer in answers]",
    )
