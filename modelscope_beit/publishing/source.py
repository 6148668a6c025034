"""What is to be published: a model folder, with the record of the run that wrote it, where there is one."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from modelscope_beit import names
from modelscope_beit.errors import ModelFolderError
from modelscope_beit.evaluation.report import JSON_FILE
from modelscope_beit.model_folder.finding import find_model_folder
from modelscope_beit.training.curves import CURVES_FILE
from modelscope_beit.training.metrics_table import METRICS_FILE
from modelscope_beit.training.run_folder import RECORD_FILE, RunFolder

# In every card that publishing writes, so that none of them is taken for what a person has written.
CARD_MARK = f"<!-- written by {names.COMMAND} publish -->"

_FRONT_MATTER = re.compile(r"\A---\n(.*?\n)---\n", re.DOTALL)
_WRITTEN_BY_US = (CARD_MARK, f"| Written by | {names.DISTRIBUTION} ", 'model="this/folder")\nprint(classify("picture')
_CELL = re.compile(r"(?<!\\)\|")
_ESCAPED = re.compile(r"\\([\\`*_{}\[\]<>~#|$&!])")


@dataclass(frozen=True)
class Source:
    """A model folder and what lies beside it.

    model: the model folder. run: the folder of the run that wrote it, or None. record: its run.json.
    front_matter: of the folder's card. tables: heading of the run's card -> its rows, unescaped, header first.
    own_words: the card's text, if a person has written it; else "".
    """

    model: Path
    run: Path | None = None
    record: Mapping[str, Any] = field(default_factory=dict)
    front_matter: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, list[list[str]]] = field(default_factory=dict)
    own_words: str = ""

    @property
    def report(self) -> Path | None:
        """The evaluation that the run has written, if it did."""
        return self._of_run(JSON_FILE)

    @property
    def curves(self) -> Path | None:
        """The picture of the run's loss and metrics, if there is one."""
        return self._of_run(CURVES_FILE)

    @property
    def metrics(self) -> Path | None:
        """The table of the run's epochs, if there is one."""
        return self._of_run(METRICS_FILE)

    def rows(self, heading: str) -> dict[str, str]:
        """Returns name -> value of the run card's tables of two columns under a heading; empty if there is none."""
        return {row[0]: row[1] for row in self.tables.get(heading, []) if len(row) == 2 and row[0]}

    def _of_run(self, name: str) -> Path | None:
        return self.run / name if self.run is not None and (self.run / name).is_file() else None


def read_source(folder: Path) -> Source:
    """Returns what a model folder, a run folder, or the output of a run holds.

    Raises ModelFolderError if there is no such folder, or if a run has no output yet.
    """
    folder = find_model_folder(folder).absolute()
    if (folder / RECORD_FILE).is_file():
        run, model = folder, folder / names.RUN_OUTPUT
        if not (model / names.CONFIGURATION_FILE).is_file():
            raise ModelFolderError(
                f"{run} is the folder of a run without a model in {names.RUN_OUTPUT}; end the run first: "
                f"{names.COMMAND} resume {run}"
            )
    elif folder.name == names.RUN_OUTPUT and (folder.parent / RECORD_FILE).is_file():
        run, model = folder.parent, folder
    else:
        return _with_card(Source(folder))
    return _with_card(Source(model, run, RunFolder.open(run).record))


def _with_card(source: Source) -> Source:
    card = source.model / names.CARD_FILE
    if not card.is_file():
        return source
    text = card.read_text(encoding="utf-8", errors="replace")
    is_ours = source.run is not None or any(mark in text for mark in _WRITTEN_BY_US)
    return Source(
        source.model,
        source.run,
        source.record,
        read_front_matter(text),
        {} if source.run is None else _tables(text),
        "" if is_ours else _FRONT_MATTER.sub("", text).strip(),
    )


def read_front_matter(text: str) -> dict[str, Any]:
    """Returns the YAML at the beginning of a card; empty if there is none, or none that can be read."""
    found = _FRONT_MATTER.match(text)
    try:
        content = yaml.safe_load(found[1]) if found else None
    except yaml.YAMLError:
        content = None
    return content if isinstance(content, dict) else {}


def _tables(card: str) -> dict[str, list[list[str]]]:
    """Returns the tables of a card that a run has written, without their lines of dashes, under their headings."""
    found: dict[str, list[list[str]]] = {}
    heading = ""
    for line in card.splitlines():
        if line.startswith("## "):
            heading = line[3:]
        elif line.startswith("| ") and not line.startswith("| ---"):
            cells = [_ESCAPED.sub(r"\1", cell.strip()) for cell in _CELL.split(line)[1:-1]]
            found.setdefault(heading, []).append(cells)
    return found


def read_json(path: Path) -> Any:
    """Returns the content of a JSON file; raises ModelFolderError that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelFolderError(f"{path} must be a JSON file, but it cannot be read as one: {error}") from error
