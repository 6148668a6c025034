"""The stage of masked image modelling out of its settings and a tokenizer, checked to fit together."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from modelscope_beit.checkpoints.files import file_digest
from modelscope_beit.errors import SettingsError
from modelscope_beit.pretraining.code_cache import CodeCache
from modelscope_beit.pretraining.masked_files import open_masked_model
from modelscope_beit.pretraining.masked_model import build_masked_model
from modelscope_beit.pretraining.masked_stage import MaskedStage
from modelscope_beit.pretraining.tokenizer_files import find_tokenizer_file, open_tokenizer
from modelscope_beit.settings.masked_pretraining import MaskedPretrainingSettings
from modelscope_beit.settings.tokenizer import TokenizerSettings


@dataclass(frozen=True)
class MaskedSources:
    """What masked image modelling begins from.

    tokenizer: a file of unilm's or of ours, or the folder of a tokenizer's run. start: a file of masked image modelling
    whose weights are taken; None: fresh ones. codes: a folder in which codes are kept; None: they are made each time.
    """

    tokenizer: Path
    start: Path | None = None
    codes: Path | None = None


def masked_stage(
    settings: MaskedPretrainingSettings,
    sources: MaskedSources,
    *,
    seed: int,
    takes_num_codes: bool = False,
) -> MaskedStage:
    """Returns the stage, its network fresh by the seed or with the weights of the start.

    takes_num_codes: as many codes are guessed as the tokenizer has, whatever the settings say.
    Raises SettingsError if tokenizer and network do not fit together, CheckpointError for a file.
    """
    tokenizer = open_tokenizer(sources.tokenizer)
    if takes_num_codes:
        num_codes = tokenizer.settings.codebook.num_codes
        settings = replace(settings, model=replace(settings.model, num_visual_tokens=num_codes))
    _check(settings, tokenizer.settings, sources.tokenizer)
    if sources.start is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = build_masked_model(settings)
    else:
        model = open_masked_model(sources.start, settings)
    cache = None
    if sources.codes is not None:
        rows, columns = settings.model.backbone.grid
        cache = CodeCache(
            sources.codes.expanduser(),
            file_digest(find_tokenizer_file(sources.tokenizer)),
            num_patches=rows * columns,
            num_codes=settings.model.num_visual_tokens,
        )
    return MaskedStage(settings, model, tokenizer, cache=cache)


def _check(settings: MaskedPretrainingSettings, tokenizer: TokenizerSettings, path: Path) -> None:
    problems = []
    if tokenizer.encoder.grid != settings.model.backbone.grid:
        (rows, columns), (own_rows, own_columns) = tokenizer.encoder.grid, settings.model.backbone.grid
        problems.append(
            f"it makes {rows}x{columns} codes of a picture, but the network has {own_rows}x{own_columns} patches "
            "(masked.image_size, masked.patch_size)"
        )
    if tokenizer.image_size != settings.code_size:
        (height, width), (own_height, own_width) = tokenizer.image_size, settings.code_size
        problems.append(
            f"it takes pictures of {height}x{width}, but the second view has {own_height}x{own_width}: set "
            f"masked.views.code_size to [{height}, {width}]"
        )
    if tokenizer.codebook.num_codes != settings.model.num_visual_tokens:
        count, own_count = tokenizer.codebook.num_codes, settings.model.num_visual_tokens
        problems.append(f"it has {count} codes, but masked.num_visual_tokens is {own_count}: set it to {count}")
    if problems:
        raise SettingsError("\n- ".join([f"The tokenizer {path} does not fit the network:", *problems]))
