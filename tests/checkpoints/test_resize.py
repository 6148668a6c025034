import numpy as np
import pytest
import torch

from modelscope_beit.checkpoints.resize import resize_weights
from modelscope_beit.errors import SettingsError
from modelscope_beit.network.classifier import build_classifier
from modelscope_beit.settings.model import model_settings

TABLE = "backbone.blocks.0.attn.relative_position_bias_table"


def smooth_table() -> torch.Tensor:
    """The smooth table of the reference run: 27 x 27 distances, one head, and three rows for the class token."""
    a, b = np.meshgrid(np.arange(-13, 14), np.arange(-13, 14), indexing="ij")
    z = np.exp(-(a**2) / 50) + 0.3 * np.sin(b / 4) + 0.05 * a * b / 13
    return torch.cat([torch.from_numpy(z).reshape(-1, 1), torch.tensor([[7.0], [8.0], [9.0]])]).float()


def test_resize_weights__table_has_the_values_of_unilm() -> None:
    """Expected: unilm/beit2 run_class_finetuning.py on this table, 224 to 384 pixels."""
    settings = model_settings("beitv2", "base", depth=1)
    resized, tensors = resize_weights({TABLE: smooth_table()}, settings, (384, 384))
    table = tensors[TABLE][:-3].reshape(47, 47)
    places = {(0, 0): 0.716506, (0, 23): 0.034047, (23, 0): 1.032459, (23, 23): 1.0, (10, 40): -0.041567}
    for place, expected in places.items():
        assert table[place].item() == pytest.approx(expected, abs=2e-6)
    assert table.double().sum().item() == pytest.approx(809.184035, abs=1e-3)
    assert tensors[TABLE][-3:, 0].tolist() == [7.0, 8.0, 9.0]
    assert resized.backbone.image_size == (384, 384)


def test_resize_weights__table_resize_of_the_settings_is_followed() -> None:
    by_unilm, by_pixels = (
        resize_weights({TABLE: smooth_table()}, model_settings("beitv2", "base", table_resize=method), (384, 384))[1]
        for method in ("unilm", "bilinear")
    )
    # The facts of the reference run: plain resizing differs by up to 0.35 on this table.
    assert 0.3 < (by_unilm[TABLE] - by_pixels[TABLE]).abs().max() < 0.4


def test_resize_weights__fits_the_resized_network_and_changes_positions_only() -> None:
    settings = model_settings("beit", "tiny", depth=2, absolute_position=True, image_size=(64, 64))
    tensors = build_classifier(settings).state_dict()
    resized, changed = resize_weights(tensors, settings, (96, 48))
    expected = build_classifier(resized, device="meta").state_dict()
    assert {key: tensor.shape for key, tensor in changed.items()} == {
        key: tensor.shape for key, tensor in expected.items()
    }
    untouched = {key for key in tensors if changed[key] is tensors[key]}
    assert set(tensors) - untouched == {key for key in tensors if "position_bias" in key or "pos_embed" in key}


@pytest.mark.parametrize("distilled", [False, True])
def test_resize_weights__position_embedding_has_the_values_of_timm(distilled: bool) -> None:
    resample = pytest.importorskip("timm.layers", reason="the oracle is timm").resample_abs_pos_embed
    settings = model_settings("vit", "tiny", image_size=(64, 64), distilled=distilled)
    embedding = torch.randn(1, 1 + distilled + 16, 192)
    _, tensors = resize_weights({"backbone.pos_embed": embedding}, settings, (96, 48))
    expected = resample(embedding, [6, 3], [4, 4], num_prefix_tokens=1 + distilled, antialias=False)
    assert torch.allclose(tensors["backbone.pos_embed"], expected, atol=1e-6)


def test_resize_weights__same_size_returns_the_same_tensors() -> None:
    tensors = {TABLE: smooth_table()}
    _, same = resize_weights(tensors, model_settings("beitv2", "base"), (224, 224))
    assert same[TABLE] is tensors[TABLE]


def test_resize_weights__size_between_patches_is_refused() -> None:
    with pytest.raises(SettingsError, match="230"):
        resize_weights({}, model_settings("beitv2", "base"), (230, 224))
