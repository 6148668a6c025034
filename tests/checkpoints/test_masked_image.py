import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import helpers
from modelscope_beit.checkpoints.masked_image import (
    masked_image_model_with,
    open_masked_image_source,
    write_masked_image_model,
)
from modelscope_beit.checkpoints.source import open_source
from modelscope_beit.errors import CheckpointError
from modelscope_beit.network.masked_image_model import MaskedImageModel
from modelscope_beit.settings.masked_image_model import MaskedImageModelSettings
from modelscope_beit.settings.model import BackboneSettings
from modelscope_beit.settings.preprocessing import Resize, evaluation_steps

KIND = "BeitForMaskedImageModeling"
SHARED = {"use_relative_position_bias": False, "use_shared_relative_position_bias": True, "use_mask_token": True}
# What their configurations can say of positions; the first is that of the published models.
POSITIONS: dict[str, dict[str, Any]] = {
    "shared": SHARED,
    "per layer": {"use_relative_position_bias": True, "use_mask_token": True},
    "absolute": {"use_relative_position_bias": False, "use_absolute_position_embeddings": True, "use_mask_token": True},
}
STEPS = evaluation_steps(64, mean=(127.5,) * 3, std=(127.5,) * 3, squash=True)


def some_mask(num_patches: int) -> Tensor:
    """Two masks that hide about 40 % of the patches, as during pre-training."""
    return torch.rand(2, num_patches, generator=torch.Generator().manual_seed(5)) < 0.4


def pictures_for(network: MaskedImageModel) -> Tensor:
    size = network.settings.backbone.image_size
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(7))


@torch.no_grad()
def largest_difference(theirs: Any, ours: MaskedImageModel) -> float:
    images = pictures_for(ours)
    rows, columns = ours.settings.backbone.grid
    mask = some_mask(rows * columns)
    return float((theirs(images, bool_masked_pos=mask).logits - ours.eval()(images, mask)).abs().max())


@pytest.mark.parametrize("name", POSITIONS)
@pytest.mark.parametrize("eps", [1e-12, 1e-6])
def test_open_masked_image_source__logits_are_those_of_transformers(
    transformers_model: Any, tmp_path: Path, name: str, eps: float
) -> None:
    theirs = transformers_model(KIND, layer_norm_eps=eps, **POSITIONS[name])
    theirs.save_pretrained(tmp_path)
    source = open_masked_image_source(tmp_path)
    ours = masked_image_model_with(source.settings, source.tensors)
    assert source.settings.num_visual_tokens == 11
    assert source.settings.backbone.layer_norm_eps == eps
    assert sum(weight.numel() for weight in ours.parameters()) == sum(one.numel() for one in theirs.parameters())
    assert largest_difference(theirs, ours) <= 1e-5


@pytest.mark.parametrize("names", ["file", "memory"])
def test_open_masked_image_source__weight_file_alone(transformers_model: Any, tmp_path: Path, names: str) -> None:
    theirs = transformers_model(KIND, layer_norm_eps=1e-12, **SHARED)
    theirs.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    if names == "memory":
        save_file(theirs.state_dict(), file)
    source = open_masked_image_source(file)
    assert source.settings.backbone.layer_norm_eps == 1e-12
    # Of files that the library writes, this is the filter and the size; the published models have no crop.
    assert source.preprocessing[1] == Resize((64, 64), interpolation="bicubic", backend="pillow")
    assert largest_difference(theirs, masked_image_model_with(source.settings, source.tensors)) <= 1e-5


def test_open_masked_image_source__three_lists(transformers_model: Any, tmp_path: Path) -> None:
    transformers_model(KIND, **SHARED).save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    del state["beit.embeddings.mask_token"], state["beit.encoder.layer.1.output.dense.bias"]
    state["layernorm.weight"] = torch.ones(7)
    save_file(state, tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError) as caught:
        open_masked_image_source(tmp_path)
    told = str(caught.value)
    assert str(tmp_path) in told
    assert "- missing: beit.encoder.layer.1.output.dense.bias" in told.replace("beit.embeddings.mask_token, ", "")
    assert "beit.embeddings.mask_token" in told
    assert "- unexpected: none" in told
    assert "- wrongly shaped: layernorm.weight is (7,), expected (128,)" in told
    assert "new_head" not in told


def test_open_masked_image_source__other_networks(
    transformers_model: Any, tmp_path: Path, masked_image_state: dict[str, Tensor]
) -> None:
    transformers_model("BeitForImageClassification").save_pretrained(tmp_path)
    with pytest.raises(
        CheckpointError, match=f"Expected the weights of transformers' {KIND}, but .* transformers BEiT"
    ):
        open_masked_image_source(tmp_path)
    torch.save(masked_image_state, tmp_path / "unilm.pth")
    with pytest.raises(CheckpointError, match="unilm BEiT masked-image model"):
        open_masked_image_source(tmp_path / "unilm.pth")
    with pytest.raises(CheckpointError, match="no such file"):
        open_masked_image_source(tmp_path / "nothing.safetensors")


@pytest.mark.parametrize(
    ("configuration", "expected"),
    [
        (SHARED | {"use_mean_pooling": False}, "twice in a row"),
        (SHARED | {"use_relative_position_bias": True}, "both true"),
        (SHARED | {"image_size": [48, 96]}, "mixes up the sides"),
    ],
)
def test_open_masked_image_source__what_no_network_here_computes(
    transformers_model: Any, tmp_path: Path, configuration: dict[str, Any], expected: str
) -> None:
    transformers_model(KIND, **configuration).save_pretrained(tmp_path)
    for open_one in (open_masked_image_source, open_source):
        with pytest.raises(CheckpointError, match=expected):
            open_one(tmp_path)


@pytest.mark.parametrize("relative_position", ["shared", "per_layer", "none"])
def test_write_masked_image_model__is_opened_by_transformers(tmp_path: Path, relative_position: Any) -> None:
    transformers = pytest.importorskip("transformers", reason="the oracle is transformers")
    ours = our_model(relative_position=relative_position, absolute_position=relative_position == "none")
    differences = write_masked_image_model(tmp_path / "out", ours.settings, ours.state_dict(), STEPS)
    assert "Pillow" in differences[0]
    theirs, loading = transformers.BeitForMaskedImageModeling.from_pretrained(
        tmp_path / "out", output_loading_info=True
    )
    assert not any(loading.values()), loading
    assert largest_difference(theirs.eval(), ours) <= 1e-5
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / "out")
    assert type(processor) is transformers.BeitImageProcessor and tuple(processor.image_mean) == (0.5,) * 3
    assert json.loads((tmp_path / "out" / "config.json").read_text())["vocab_size"] == 11


def test_write_masked_image_model__is_read_back_bit_equal(tmp_path: Path) -> None:
    ours = our_model()
    write_masked_image_model(tmp_path / "out", ours.settings, ours.state_dict(), STEPS)
    source = open_masked_image_source(tmp_path / "out")
    assert source.settings == ours.settings
    assert source.tensors.keys() == ours.state_dict().keys()
    assert all(torch.equal(source.tensors[key], tensor) for key, tensor in ours.state_dict().items())


def test_write_masked_image_model__refused(tmp_path: Path) -> None:
    ours = our_model()
    for change, expected in (({"qkv_bias": "full"}, "'full'"), ({"image_size": (64, 96)}, "64x96")):
        settings = replace(ours.settings, backbone=replace(ours.settings.backbone, **change))  # type: ignore[arg-type]
        with pytest.raises(CheckpointError, match=expected):
            write_masked_image_model(tmp_path / "out", settings, ours.state_dict(), STEPS)
    assert not (tmp_path / "out").exists()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(CheckpointError, match="not an empty folder"):
        write_masked_image_model(tmp_path, ours.settings, ours.state_dict(), STEPS)


def our_model(**backbone: Any) -> MaskedImageModel:
    sizes: dict[str, Any] = {"width": 64, "num_heads": 4, "depth": 2, "mlp_hidden": 96, "image_size": (64, 64)}
    choices = {"relative_position": "shared", "pooling": "class_token"} | sizes | backbone
    settings = MaskedImageModelSettings(BackboneSettings(**choices), 11)  # type: ignore[arg-type]
    return helpers.with_random_weights(MaskedImageModel(settings)).eval()
