"""Opens and writes the weights of a tokenizer, in the layout of unilm's released files. torch only."""

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from modelscope_beit.checkpoints.files import read_weights, write_weights
from modelscope_beit.checkpoints.tokenizer_keys import from_unilm_tokenizer, to_unilm_tokenizer, tokenizer_shape
from modelscope_beit.errors import CheckpointError
from modelscope_beit.pretraining.vq_kd import Tokenizer
from modelscope_beit.settings.tokenizer import (
    CodebookSettings,
    TokenizerSettings,
    tokenizer_settings_from,
    write_tokenizer_settings,
)

TOKENIZER_FILE = "tokenizer.pth"
# Below `meta` of a file that we wrote.
_SETTINGS = "tokenizer"


def open_tokenizer(path: str | os.PathLike[str]) -> Tokenizer:
    """Returns the tokenizer of a file, or of the folder of a run, in evaluation mode and without gradients.

    path: a file of unilm, or of ours, which says more: heads that do not have 64 channels, another grid.
    Raises CheckpointError for a file that is missing, unfinished or of something else, with the three lists (missing,
    unexpected, of another shape) for one that does not fit together.
    """
    file = find_tokenizer_file(path)
    weights = read_weights(file)
    try:
        tensors = from_unilm_tokenizer(weights.tensors)
        written = weights.meta.get(_SETTINGS)
        settings = tokenizer_settings_from(written, str(file)) if isinstance(written, Mapping) else settings_of(tensors)
        if not bool(tensors["codebook.is_started"]):
            raise CheckpointError("Expected a trained tokenizer, but its codebook has not been started.")
        return tokenizer_with(settings, tensors)
    except CheckpointError as error:
        raise error if str(file) in str(error) else CheckpointError(f"{file}: {error}") from error


def find_tokenizer_file(path: str | os.PathLike[str]) -> Path:
    """Returns the file itself, or tokenizer.pth in the folder, of a run too; CheckpointError if there is none."""
    found = Path(path).expanduser()
    if not found.is_dir():
        return found
    places = (found / TOKENIZER_FILE, found / "output" / TOKENIZER_FILE)
    for place in places:
        if place.is_file():
            return place
    raise CheckpointError(f"There is no tokenizer in {found}: neither {places[0]} nor {places[1]} is there.")


def settings_of(tensors: Mapping[str, Tensor]) -> TokenizerSettings:
    """Returns the settings that weights, under our names, tell; the rest are the published ones."""
    sizes = asdict(tokenizer_shape(tensors))
    codebook = CodebookSettings(num_codes=sizes.pop("num_codes"), code_width=sizes.pop("code_width"))
    return TokenizerSettings(codebook=codebook, **sizes)


def tokenizer_with(settings: TokenizerSettings, tensors: Mapping[str, Tensor]) -> Tokenizer:
    """Returns a tokenizer with these weights, under our names, copied; frozen, in evaluation mode.

    Raises CheckpointError with the three lists.
    """
    with torch.device("meta"):
        tokenizer = Tokenizer(settings)
    expected = tokenizer.state_dict()
    wrong = [
        f"{key} is {tuple(tensors[key].shape)}, expected {tuple(value.shape)}"
        for key, value in expected.items()
        if key in tensors and tensors[key].shape != value.shape
    ]
    missing, unexpected = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    if missing or unexpected or wrong:
        lists = {"missing": missing, "unexpected": unexpected, "of another shape": wrong}
        told = "".join(f"\n- {name}: {', '.join(keys) or 'none'}" for name, keys in lists.items())
        raise CheckpointError(f"The weights do not fit the tokenizer of these settings:{told}")
    own = {key: tensors[key].to(value.dtype).clone() for key, value in expected.items()}
    tokenizer.load_state_dict(own, strict=True, assign=True)
    return tokenizer.requires_grad_(False).eval()


def tokenizer_content(tokenizer: Tokenizer) -> tuple[dict[str, Tensor], dict[str, object]]:
    """Returns what a file of the tokenizer holds: weights under unilm's names, and a `meta` with the settings."""
    return to_unilm_tokenizer(tokenizer.state_dict()), {_SETTINGS: write_tokenizer_settings(tokenizer.settings)}


def write_tokenizer(path: str | os.PathLike[str], tokenizer: Tokenizer) -> None:
    """Writes the tokenizer with the keys of unilm's files and with its settings, all or nothing."""
    write_weights(path, *tokenizer_content(tokenizer))
