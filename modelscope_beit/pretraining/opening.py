"""A configuration of pre-training -> a job whose parts have been opened and checked. No step is made here."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from modelscope_beit.data.records import Records
from modelscope_beit.data.sources import open_data
from modelscope_beit.data.unlabelled import PictureStream, open_pictures
from modelscope_beit.errors import SettingsError
from modelscope_beit.pretraining.ending import read_gate
from modelscope_beit.pretraining.feature_cache import FeatureCache
from modelscope_beit.pretraining.job import Labelled, PretrainingJob
from modelscope_beit.pretraining.masked_job import MaskedSources, masked_stage
from modelscope_beit.pretraining.stage import Stage
from modelscope_beit.pretraining.teacher_networks import open_teacher
from modelscope_beit.pretraining.tokenizer_stage import TokenizerStage
from modelscope_beit.pretraining.vq_kd import Tokenizer
from modelscope_beit.settings.masked_configuration import classifier_configuration
from modelscope_beit.settings.pretraining_configuration import (
    Pictures,
    PretrainingConfiguration,
    read_pretraining,
    with_target_width,
)
from modelscope_beit.settings.teacher import read_teacher


@dataclass(frozen=True)
class RunPlace:
    """Where a run goes, and how it came about; see PretrainingJob."""

    work_dir: Path
    timestamp: str
    command: str
    is_resumed: bool = False


def open_pretraining_job(
    configuration: Mapping[str, object],
    place: RunPlace,
    *,
    where: str,
    pictures: Records | PictureStream | None = None,
    find_model: Callable[[str], Path] | None = None,
) -> PretrainingJob:
    """Returns the job of a configuration.

    where: what to call the configuration in messages. pictures: they take the place of configuration["data"].
    find_model: gives the folder of a teacher that our pipeline opens, by its hub id too; None: only folders are known.
    Raises BeitError for settings, a teacher, a tokenizer or data that cannot be used.
    """
    rank, world_size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    settings = read_pretraining(configuration, where, num_processes=world_size)
    if pictures is None and not settings.pictures.data:
        raise SettingsError(f"{where}: data is missing: pictures to train on are expected (a folder, shards, an id).")
    source = settings.pictures
    found = pictures or open_pictures(source.data, stream=source.stream, rank=rank, world_size=world_size)
    if settings.tokenizer is not None:
        stage, notes = _tokenizer_stage(settings, find_model)
    else:
        stage, notes = _masked_stage(settings)
    return PretrainingJob(
        stage=stage,
        recipe=settings.run,
        pictures=found,
        labelled=_labelled(source, settings.run.seed),
        configuration=configuration,
        output_configuration=None if settings.masked is None else classifier_configuration(settings.masked),
        work_dir=place.work_dir,
        timestamp=place.timestamp,
        data=source.data,
        command=place.command,
        is_resumed=place.is_resumed,
        notes=(*notes, *(found.notes if isinstance(found, Records) else ())),
    )


def _tokenizer_stage(
    settings: PretrainingConfiguration, find_model: Callable[[str], Path] | None
) -> tuple[Stage, tuple[str, ...]]:
    teaching, sizes = settings.teaching, settings.tokenizer
    assert teaching is not None and sizes is not None, "the first stage has both"
    named = read_teacher(teaching.teacher, teaching.teacher_image_size)
    if named.kind == "folder" and find_model is not None:
        named = replace(named, source=str(find_model(named.source)))
    teacher = open_teacher(named, sizes.encoder.grid)
    if settings.has_target_width and sizes.target_width != teacher.width:
        raise SettingsError(
            f"tokenizer.target_width is {sizes.target_width}, but {teaching.teacher} gives features of {teacher.width} "
            "channels; remove it, and the teacher's counts."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.run.seed)
        tokenizer = Tokenizer(with_target_width(sizes, teacher.width))
    cache = None
    if teaching.features is not None:
        teaching.crops.check_cache(is_wanted=True)
        cache = FeatureCache(Path(teaching.features).expanduser(), teacher)
    stage = TokenizerStage(tokenizer, teacher, crops=teaching.crops, seed=settings.run.seed, cache=cache)
    return stage, (f"The teacher: {teacher.name}, {teacher.width} channels.",)


def _masked_stage(settings: PretrainingConfiguration) -> tuple[Stage, tuple[str, ...]]:
    assert settings.masked is not None and settings.sources is not None, "the second stage has both"
    paths = settings.sources
    sources = MaskedSources(
        Path(paths.tokenizer).expanduser(),
        None if paths.start is None else Path(paths.start).expanduser(),
        None if paths.codes is None else Path(paths.codes).expanduser(),
    )
    verdict = read_gate(sources.tokenizer) if sources.tokenizer.is_dir() else None
    stage = masked_stage(
        settings.masked,
        sources,
        seed=settings.run.seed,
        takes_num_codes=not settings.has_num_codes,
    )
    if verdict is None or verdict.goes_on:
        return stage, ()
    return stage, (f"The gate of {sources.tokenizer} said stop: {verdict.reasons[0] if verdict.reasons else ''}",)


def _labelled(pictures: Pictures, seed: int) -> Labelled | None:
    if pictures.labelled is None:
        return None
    found = open_data(pictures.labelled, seed=seed)
    if found.train is None or found.validation is None:
        raise SettingsError(f"{pictures.labelled}: k-NN needs a training part too, not only one for validation.")
    for part in (found.train, found.validation):
        if part.is_multi_label:
            raise SettingsError(f"{part.description}: k-NN needs one label a picture, but it has several.")
        if problem := part.label_problem():
            raise SettingsError(problem)
    return Labelled(found.train, found.validation)
