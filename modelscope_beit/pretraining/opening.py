"""A configuration of pre-training -> a job whose parts have been opened and checked. No step is made here."""

from collections.abc import Callable, Mapping
from pathlib import Path

from modelscope_beit.data.records import Records
from modelscope_beit.data.sources import open_data
from modelscope_beit.data.unlabelled import open_pictures
from modelscope_beit.errors import SettingsError
from modelscope_beit.pretraining.ending import read_gate
from modelscope_beit.pretraining.job import Labelled, PretrainingJob
from modelscope_beit.pretraining.masked_job import MaskedSources, masked_stage
from modelscope_beit.pretraining.tokenizer_job import Occasion, tokenizer_job
from modelscope_beit.settings import masked_run, tokenizer_configuration
from modelscope_beit.settings.masked_configuration import classifier_configuration
from modelscope_beit.settings.masked_run import SourcesSection, read_masked_run
from modelscope_beit.settings.problems import shown

STAGES = (tokenizer_configuration.STAGE, masked_run.STAGE)


def open_pretraining_job(
    mapping: Mapping[str, object],
    occasion: Occasion,
    where: str,
    *,
    find_model: Callable[[str], Path] | None = None,
) -> PretrainingJob:
    """Returns the job of a configuration of either stage.

    where: what to call the configuration in messages. find_model: see tokenizer_job.
    Raises BeitError for settings, a teacher, a tokenizer or data that cannot be used.
    """
    content = {key: value for key, value in mapping.items() if not key.startswith("_")}
    if content.get("stage") not in STAGES:
        raise SettingsError(
            f"{where}: stage is {shown(content.get('stage'))}, but one of {', '.join(STAGES)} is expected; a "
            "configuration for fine-tuning has none."
        )
    if content["stage"] == masked_run.STAGE:
        return masked_job(content, occasion, where)
    return tokenizer_job(content, occasion, where, find_model=find_model)


def masked_job(mapping: Mapping[str, object], occasion: Occasion, where: str) -> PretrainingJob:
    """Returns the job of a configuration of masked image modelling; raises as open_pretraining_job does."""
    settings = read_masked_run(mapping, where)
    sources, notes = _sources(settings.sources)
    pictures = open_pictures(settings.data, stream=settings.stream, rank=occasion.rank, world_size=occasion.world_size)
    return PretrainingJob(
        stage=masked_stage(settings.masked, sources, seed=settings.run.seed, process=occasion.rank),
        recipe=settings.run,
        pictures=pictures,
        labelled=None if settings.labelled is None else _labelled(settings.labelled, settings.run.seed),
        configuration=mapping,
        output_configuration=classifier_configuration(settings.masked),
        work_dir=occasion.work_dir,
        timestamp=occasion.timestamp,
        data=settings.data,
        command=occasion.command,
        is_resumed=occasion.is_resumed,
        notes=(*notes, *(pictures.notes if isinstance(pictures, Records) else ())),
    )


def _sources(section: SourcesSection) -> tuple[MaskedSources, tuple[str, ...]]:
    """Returns what the run begins from, and a note if the tokenizer's gate said stop."""
    tokenizer = Path(section.tokenizer).expanduser()
    start, codes = (None if path is None else Path(path).expanduser() for path in (section.start, section.codes))
    verdict = read_gate(tokenizer) if tokenizer.is_dir() else None
    if verdict is None or verdict.goes_on:
        return MaskedSources(tokenizer, start, codes), ()
    return MaskedSources(tokenizer, start, codes), (f"The gate of {tokenizer} said stop: {verdict.reasons[0]}",)


def _labelled(location: str, seed: int) -> Labelled:
    found = open_data(location, seed=seed)
    if found.train is None or found.validation is None:
        raise SettingsError(f"{location}: k-NN needs labelled pictures that vote, and others to be asked about.")
    return Labelled(found.train, found.validation)
