"""The configuration of a stage of pre-training, one JSON file each: what is trained, on what, and how.

    {"stage": "tokenizer", "teacher": "transformers:openai/clip-vit-base-patch16", "tokenizer": {...}, "crops": {...},
     "features": FOLDER, "data": DATA, "labelled": DATA, "run": {...}}
    {"stage": "masked", "sources": {"tokenizer": FILE_OR_RUN, "start": FILE, "codes": FOLDER}, "masked": {...},
     "data": DATA, "labelled": DATA, "run": {...}}

What is absent has the published value of its stage. Keys that begin with an underscore are comments. Standard library
only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.from_mapping import mapping_of, settings_from
from modelscope_beit.settings.masked_configuration import masked_settings_from
from modelscope_beit.settings.masked_pretraining import MaskedPretrainingSettings
from modelscope_beit.settings.pretraining_run import PretrainingRun
from modelscope_beit.settings.problems import shown
from modelscope_beit.settings.teacher import PUBLISHED_TEACHER
from modelscope_beit.settings.tokenizer import CropSettings, TokenizerSettings, tokenizer_settings_from
from modelscope_beit.settings.tokenizer_recipe import with_tokenizer_rules

StageName = Literal["tokenizer", "masked"]
TOKENIZER: StageName = "tokenizer"
MASKED: StageName = "masked"

# unilm/beit2 TOKENIZER.md: 8 GPUs; PRETRAINING.md, 300 epochs: 16 GPUs.
PUBLISHED_RUNS: dict[StageName, PretrainingRun] = {
    TOKENIZER: PretrainingRun(
        epochs=100, batch_size=64, lr=2e-4, weight_decay=1e-4, betas=(0.9, 0.99), clip=None, gauge_interval=2500
    ),
    MASKED: PretrainingRun(),
}
# In masked image modelling: 10 of 300 epochs, and 10 of 1600.
_RUN_OF_ONE_WARM_UP = 30


@dataclass(frozen=True)
class Pictures:
    """Where pictures come from.

    data: see data.unlabelled.open_pictures. stream: read tables row by row. labelled: labelled pictures for k-NN, see
    data.sources.open_data; None: it is not measured.
    """

    data: str = ""
    stream: bool = False
    labelled: str | None = None


@dataclass(frozen=True)
class TokenizerStageSettings:
    """The first stage. teacher, teacher_image_size: see settings.teacher.read_teacher.

    features: a folder in which the teacher's features are kept; only with fixed crops.
    """

    teacher: str = PUBLISHED_TEACHER
    teacher_image_size: int | None = None
    features: str | None = None
    crops: CropSettings = field(default_factory=CropSettings)


@dataclass(frozen=True)
class MaskedSources:
    """What the second stage begins from; see pretraining.masked_job.MaskedSources, whose paths these are."""

    tokenizer: str
    start: str | None = None
    codes: str | None = None


@dataclass(frozen=True)
class PretrainingConfiguration:
    """A whole configuration, checked.

    tokenizer and teaching are there in the first stage, masked and sources in the second. has_target_width: whether
    the configuration says how wide the teacher's features are; else the teacher tells. has_num_codes: whether it says
    how many codes are guessed; else the tokenizer tells.
    """

    stage: StageName
    pictures: Pictures
    run: PretrainingRun
    tokenizer: TokenizerSettings | None = None
    teaching: TokenizerStageSettings | None = None
    has_target_width: bool = False
    masked: MaskedPretrainingSettings | None = None
    sources: MaskedSources | None = None
    has_num_codes: bool = False


def read_pretraining(
    configuration: Mapping[str, object], where: str, *, num_processes: int = 1
) -> PretrainingConfiguration:
    """Returns what a configuration says.

    Without a learning rate or a warm-up, that of a tokenizer is as settings.tokenizer_recipe says; masked image
    modelling has its warm-up in a thirtieth of the run, but in no more than 10 epochs, as published.
    where: the file or object it came from, for messages. Raises SettingsError that lists what is wrong in the first
    section in which anything is.
    """
    name = configuration.get("stage")
    if name != TOKENIZER and name != MASKED:
        raise SettingsError(
            f"{where}: stage is {shown(name)}, but one of {', '.join(get_args(StageName))} is expected; a "
            "configuration for fine-tuning has none."
        )
    content = {key: value for key, value in configuration.items() if key != "stage" and not key.startswith("_")}
    run = read_run(_section(content, "run", where), TOKENIZER if name == TOKENIZER else MASKED, where, num_processes)
    if name == TOKENIZER:
        section = _section(content, "tokenizer", where)
        pictures, rest = _pictures(content, where)
        return PretrainingConfiguration(
            TOKENIZER,
            pictures,
            run,
            tokenizer=tokenizer_settings_from(section, where),
            teaching=settings_from(rest, TokenizerStageSettings, where=where),
            has_target_width="target_width" in section,
        )
    section = _section(content, "masked", where)
    masked = masked_settings_from(section, where)
    sources = settings_from(_section(content, "sources", where), MaskedSources, where=f"{where}, sources")
    pictures, rest = _pictures(content, where)
    if rest:
        settings_from(rest, Pictures, where=where)
    has_num_codes = "num_visual_tokens" in section
    return PretrainingConfiguration(MASKED, pictures, run, masked=masked, sources=sources, has_num_codes=has_num_codes)


def read_run(section: Mapping[str, object], stage: StageName, where: str, num_processes: int) -> PretrainingRun:
    """Returns the recipe that a section gives over the published one; see read_pretraining."""
    given = dict(section) if stage == MASKED else with_tokenizer_rules(section, num_processes)
    for length, other in (("iterations", "epochs"), ("epochs", "iterations")):
        if (count := given.get(length)) is not None:
            given.setdefault(other, None)
            if type(count) is int:
                share = count // _RUN_OF_ONE_WARM_UP
                most = PUBLISHED_RUNS[MASKED].warm_up_epochs if length == "epochs" else share
                given.setdefault(f"warm_up_{length}", min(share, most))
    return settings_from(mapping_of(PUBLISHED_RUNS[stage]) | given, PretrainingRun, where=f"{where}, run")


def with_target_width(settings: TokenizerSettings, width: int) -> TokenizerSettings:
    """Returns the settings of a tokenizer that learns features of so many channels."""
    return replace(settings, target_width=width)


def _pictures(content: dict[str, object], where: str) -> tuple[Pictures, dict[str, object]]:
    """Returns what is said about pictures, and the other keys."""
    keys = ("data", "stream", "labelled")
    pictures = settings_from({key: content.pop(key) for key in keys if key in content}, Pictures, where=where)
    return pictures, content


def _section(content: dict[str, object], name: str, where: str) -> Mapping[str, object]:
    """Takes a mapping out of the content; an empty one where there is none."""
    found = content.pop(name, {})
    if not isinstance(found, Mapping):
        raise SettingsError(f"{where}: {name} is {shown(found)}, but a mapping is expected.")
    return found
