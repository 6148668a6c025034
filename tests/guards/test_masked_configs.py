"""The configurations of masked image modelling in configs/pretraining are the published recipes."""

import json

import pytest
import torch

import helpers
from modelscope_beit.pretraining.masked_model import MaskedPretrainingModel
from modelscope_beit.settings.pretraining_configuration import read_pretraining

FOLDER = helpers.ROOT / "configs" / "pretraining"
# Parameters; GPUs and pictures of each; drop path and second beta by epochs: unilm/beit2 PRETRAINING.md.
SIZES = {"base": (106_143_056, 16, 128, 9, 0.1), "large": (336_728_512, 64, 32, 21, 1e-5)}
LENGTHS = {300: (0.0, 0.98), 1600: (0.1, 0.999)}


@pytest.mark.parametrize("epochs", LENGTHS)
@pytest.mark.parametrize("size", SIZES)
def test_config__is_the_published_recipe(size: str, epochs: int) -> None:
    file = FOLDER / f"beitv2-{size}-p16-224_masked_bs2048_cosine-{epochs}e_imagenet.json"
    content = json.loads(file.read_text())
    content["sources"] = {"tokenizer": "t.pth"}
    found = read_pretraining(content, file.name)
    assert found.masked is not None
    parameters, gpus, pictures, early, layer_scale = SIZES[size]
    drop_path, beta = LENGTHS[epochs]
    with torch.device("meta"):
        network = MaskedPretrainingModel(found.masked)
    assert sum(weight.numel() for weight in network.parameters()) == parameters
    settings, run = found.masked, found.run
    assert (settings.early_layer, settings.head_layers, settings.num_masked) == (early, 2, 75)
    assert (settings.model.backbone.layer_scale_init, settings.model.backbone.drop_path) == (layer_scale, drop_path)
    assert settings.masking.smallest_block((14, 14)) == 16 and settings.views.scale == (0.2, 1.0)
    assert gpus * run.batch_size * run.accumulation == 2048 and pictures == run.batch_size
    assert f"{gpus} GPUs, {pictures} pictures each" in content["_about"]["hardware"]
    assert (run.epochs, run.warm_up_epochs, run.lr, run.min_lr) == (epochs, 10, 1.5e-3, 1e-5)
    assert (run.betas, run.weight_decay, run.clip, run.eps) == ((0.9, beta), 0.05, 3.0, 1e-8)


def test_configs__are_there() -> None:
    assert len(list(FOLDER.glob("beitv2-*_masked_*.json"))) == len(SIZES) * len(LENGTHS)
