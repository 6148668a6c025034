"""The configuration of a run of masked image modelling: what is trained, on what, how. Standard library only.

    {"stage": "masked", "data": DATA, "sources": {"tokenizer": FILE_OR_RUN}, "masked": {...}, "run": {...}}

The defaults are the published ones: base, 300 epochs, 16 processes (unilm/beit2 PRETRAINING.md). Keys that begin with
an underscore are comments.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.from_mapping import settings_from
from modelscope_beit.settings.masked_configuration import masked_settings_from
from modelscope_beit.settings.masked_pretraining import MaskedPretrainingSettings
from modelscope_beit.settings.pretraining_run import PretrainingRun
from modelscope_beit.settings.problems import shown

STAGE: Literal["masked"] = "masked"
# Of a run that counts iterations and names no warm-up: 10 of 300 epochs, as published.
_WARM_UP_SHARE = 1 / 30


@dataclass(frozen=True)
class SourcesSection:
    """What the run begins from; paths.

    tokenizer: a file of unilm's or of ours, or the folder of a tokenizer's run. start: a file of masked image
    modelling whose weights are taken. codes: a folder in which codes are kept.
    """

    tokenizer: str
    start: str | None = None
    codes: str | None = None


@dataclass(frozen=True)
class _Pictures:
    """See MaskedRun; what stands beside the sections."""

    data: str
    stream: bool = False
    labelled: str | None = None


@dataclass(frozen=True)
class MaskedRun:
    """All that decides a run.

    data: pictures, labels are passed over. stream: read tables without a copy on the disk. labelled: data for the k-NN
    gauge; None: it is not measured.
    """

    data: str
    stream: bool
    labelled: str | None
    sources: SourcesSection
    masked: MaskedPretrainingSettings
    run: PretrainingRun


def read_masked_run(mapping: Mapping[str, object], where: str) -> MaskedRun:
    """Returns what a configuration says; what it leaves out is as published.

    where: the file, for messages. Raises SettingsError that lists what is wrong in the first section where anything is.
    """
    content = dict(mapping)
    if (stage := content.pop("stage", None)) != STAGE:
        raise SettingsError(f"{where}: stage is {shown(stage)}, but {STAGE!r} is expected.")
    sections = {name: _section(content, name, where) for name in ("sources", "masked", "run")}
    pictures = settings_from(content, _Pictures, where=where)
    return MaskedRun(
        pictures.data,
        pictures.stream,
        pictures.labelled,
        settings_from(sections["sources"], SourcesSection, where=f"{where}, sources"),
        masked_settings_from(sections["masked"], where),
        settings_from(_with_length(sections["run"]), PretrainingRun, where=f"{where}, run"),
    )


def _with_length(run: Mapping[str, object]) -> dict[str, object]:
    """Returns the section with null for epochs where iterations are given, and with a warm-up in proportion."""
    values = dict(run)
    iterations = values.get("iterations")
    if iterations is not None:
        values.setdefault("epochs", None)
        if type(iterations) is int:
            values.setdefault("warm_up_iterations", int(_WARM_UP_SHARE * iterations))
    return values


def _section(content: dict[str, object], name: str, where: str) -> Mapping[str, object]:
    """Takes a mapping out of the content; an empty one where there is none."""
    found = content.pop(name, {})
    if not isinstance(found, Mapping):
        raise SettingsError(f"{where}: {name} is {shown(found)}, but a mapping is expected.")
    return found
