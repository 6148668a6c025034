"""What is said about folders of other libraries; transformers itself writes one."""

import pytest
import torch

from modelscope_beit.model_folder.description import describe


def test_describe__transformers_folder(tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers writes the folder")
    config = transformers.BeitConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=32, patch_size=8
    )
    config.id2label = {0: "cat", 1: "dog", 2: "owl", 3: "emu", 4: "gnu", 5: "yak"}
    config.use_relative_position_bias, config.use_mean_pooling = True, True
    model = transformers.BeitForImageClassification(config)
    model.save_pretrained(tmp_path)
    described = describe(tmp_path)
    assert described.class_names == ("cat", "dog", "owl", "emu", "gnu", "yak")
    assert described.settings.backbone.layer_norm_eps == config.layer_norm_eps
    # Without the mask token, which a classifier has no use for.
    expected = sum(weight.numel() for name, weight in model.named_parameters() if "mask_token" not in name)
    assert described.num_parameters == expected
    assert described.in_words()["classes"].splitlines() == ["6", "cat", "dog", "owl", "emu", "gnu", "..."]
    assert described.in_words()["files"].count("bytes") == len(list(tmp_path.iterdir()))


def test_describe__class_names_that_do_not_fit_are_told(tiny_model_folder, tiny_classifier):
    weights = {"state_dict": tiny_classifier.state_dict(), "meta": {"CLASSES": ["one"]}}
    torch.save(weights, tiny_model_folder / "pytorch_model.pt")
    described = describe(tiny_model_folder)
    assert described.class_names is None
    assert "1 class names are left out" in described.title
