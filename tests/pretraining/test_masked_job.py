"""The stage out of files: what fits, what does not, and where weights come from."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import helpers
from masked_runs import tiny_masked
from modelscope_beit.errors import CheckpointError, SettingsError
from modelscope_beit.pretraining.masked_files import masked_content
from modelscope_beit.pretraining.masked_job import MaskedSources, masked_stage
from modelscope_beit.pretraining.masked_model import build_masked_model
from modelscope_beit.pretraining.tokenizer_files import write_tokenizer
from modelscope_beit.settings.masked_pretraining import ViewSettings
from tiny_tokenizer import tiny_tokenizer


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    trained = tiny_tokenizer()
    trained.codebook.is_started.fill_(True)
    write_tokenizer(tmp_path / "tokenizer.pth", trained)
    return tmp_path / "tokenizer.pth"


def test_masked_stage__fresh_weights_follow_the_seed_alone(tokenizer):
    torch.manual_seed(7)
    before = torch.get_rng_state()
    networks = [masked_stage(tiny_masked(), MaskedSources(tokenizer), seed=seed).model for seed in (1, 1, 2)]
    assert torch.equal(torch.get_rng_state(), before)
    first, second, third = (network.lm_head.weight for network in networks)
    assert torch.equal(first, second) and not torch.equal(first, third)


def test_masked_stage__begins_from_a_file(tokenizer, tmp_path):
    network = helpers.with_random_weights(build_masked_model(tiny_masked()))
    torch.save(masked_content(network), tmp_path / "start.pth")
    settings = tiny_masked(drop_path=0.3)
    stage = masked_stage(settings, MaskedSources(tokenizer, start=tmp_path / "start.pth"), seed=0)
    assert torch.equal(stage.model.mask_token, network.mask_token)
    assert stage.model.pretraining == settings and stage.settings == settings


def test_masked_stage__tells_all_that_does_not_fit_the_tokenizer(tokenizer):
    settings = tiny_masked(image_size=(48, 48))
    settings = replace(settings, model=replace(settings.model, num_visual_tokens=8192))
    with pytest.raises(SettingsError) as error:
        masked_stage(settings, MaskedSources(tokenizer), seed=0)
    message = str(error.value)
    assert "it makes 4x4 codes of a picture, but the network has 6x6 patches" in message
    assert "set masked.views.code_size to [32, 32]" in message
    assert "it has 24 codes, but masked.num_visual_tokens is 8192: set it to 24" in message


def test_masked_stage__takes_the_number_of_codes_from_the_tokenizer(tokenizer):
    settings = tiny_masked()
    settings = replace(settings, model=replace(settings.model, num_visual_tokens=8192))
    stage = masked_stage(settings, MaskedSources(tokenizer), seed=0, takes_num_codes=True)
    assert stage.model.lm_head.out_features == stage.settings.model.num_visual_tokens == 24


def test_masked_stage__another_patch_size_with_a_view_of_its_own(tokenizer, photographs):
    settings = tiny_masked(image_size=(64, 64), patch_size=16)
    settings = replace(settings, views=ViewSettings(code_size=(32, 32)))
    stage = masked_stage(settings, MaskedSources(tokenizer), seed=0)
    sample = stage.sample(photographs[0], np.random.default_rng(0))
    batch = stage.complete({name: tensor[None] for name, tensor in sample.items()})
    assert batch["images"].shape == (1, 3, 64, 64) and batch["code_map"].shape == (1, 16)


def test_masked_stage__keeps_codes_below_the_tokenizers_digest(tokenizer, tmp_path, photographs):
    settings = replace(tiny_masked(), views=ViewSettings(num_crops=1))
    stage = masked_stage(settings, MaskedSources(tokenizer, codes=tmp_path / "kept"), seed=0)
    sample = stage.sample(photographs[0], np.random.default_rng(0))
    stage.complete({name: tensor[None] for name, tensor in sample.items()})
    (file,) = (tmp_path / "kept").glob("sha256-*/*.codes")
    assert file.stat().st_size == 32 + 2 * 16


def test_masked_stage__a_tokenizer_that_is_not_there(tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        masked_stage(tiny_masked(), MaskedSources(tmp_path / "nothing.pth"), seed=0)
