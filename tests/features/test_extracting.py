"""Features beside timm's of the same weights; broken pictures; wrong options."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import helpers
from modelscope_beit.checkpoints.targets import write_timm
from modelscope_beit.errors import CheckpointError, SettingsError
from modelscope_beit.features.extracting import check_feature, extract_features
from modelscope_beit.features.unlabelled import unlabelled_records
from modelscope_beit.images.evaluation_transform import EvaluationTransform
from modelscope_beit.images.reading import read_image
from modelscope_beit.model_folder.opening import OpenedModel, open_model
from modelscope_beit.network.classifier import build_classifier
from modelscope_beit.settings.configuration import FolderSettings
from modelscope_beit.settings.model import model_settings
from modelscope_beit.settings.preprocessing import evaluation_steps

SIZE: dict[str, Any] = {"width": 128, "num_heads": 4, "depth": 2, "mlp_hidden": 200, "image_size": (64, 64)}
NETWORKS = {
    "mean pooling": model_settings("beitv2", "base", num_classes=5, **SIZE),
    "class token": model_settings("beit", "base", num_classes=5, pooling="class_token", **SIZE),
    "two tokens": model_settings("vit", "base", num_classes=5, distilled=True, pooling="two_tokens", **SIZE),
}


def opened(name: str, folder: Path) -> OpenedModel:
    steps = evaluation_steps(64, mean=(127.5,) * 3, std=(127.5,) * 3, crop_pct=0.875)
    settings = FolderSettings(NETWORKS[name], steps, helpers.TINY_CLASSES)
    network = helpers.with_random_weights(build_classifier(NETWORKS[name])).eval()
    return OpenedModel(folder, settings, network, helpers.TINY_CLASSES, EvaluationTransform(steps))


@torch.no_grad()
def timms(theirs: Any, images: torch.Tensor, feature: str) -> torch.Tensor:
    if feature.isdecimal():
        (tokens,) = theirs.forward_intermediates(
            images, indices=[int(feature)], norm=False, output_fmt="NLC", intermediates_only=True
        )
        return tokens.mean(dim=1)
    tokens = theirs.forward_features(images)
    if feature == "pooled":
        return theirs.forward_head(tokens, pre_logits=True)
    return tokens[:, 0] if feature == "class_token" else tokens[:, theirs.num_prefix_tokens :].mean(dim=1)


@pytest.mark.parametrize("name", NETWORKS)
def test_extract_features__are_timms(tmp_path: Path, ten_images: list[Path], name: str) -> None:
    timm = pytest.importorskip("timm", reason="the oracle is timm")
    model = opened(name, tmp_path)
    write_timm(tmp_path / "out", model.settings, model.network.state_dict())
    theirs = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    images = torch.stack([model.transform(read_image(path)) for path in ten_images[:5]])
    records = unlabelled_records([str(path) for path in ten_images[:5]], "five pictures")
    for feature in ("pooled", "class_token", "mean", "0", "1"):
        ours = extract_features(model, records, feature=feature, batch_size=2, workers=1)
        assert ours.features.dtype == np.float32 and not ours.errors
        np.testing.assert_allclose(ours.features, timms(theirs, images, feature).numpy(), atol=1e-5, err_msg=feature)


def test_extract_features__a_broken_picture_costs_its_row(tiny_model_folder: Path, ten_images: list[Path]) -> None:
    model, records = open_model(tiny_model_folder), unlabelled_records(list(map(str, ten_images)), "ten pictures")
    whole = extract_features(model, records, batch_size=3)
    ten_images[3].write_bytes(b"")
    ten_images[4].write_bytes(b"no picture")
    ten_images[5].unlink()
    seen: list[int] = []
    found = extract_features(model, records, batch_size=3, on_batch=seen.append)
    assert seen == [3, 3, 3, 1]
    assert found.errors.keys() == {3, 4, 5} and "is empty (0 bytes)" in found.errors[3]
    assert np.isnan(found.features[3:6]).all()
    kept = [0, 1, 2, 6, 7, 8, 9]
    np.testing.assert_allclose(found.features[kept], whole.features[kept], atol=1e-6)


def test_extract_features__that_are_not_finite_are_an_error(tiny_model_folder: Path, ten_images: list[Path]) -> None:
    model = open_model(tiny_model_folder)
    with torch.no_grad():
        model.network.backbone.patch_embed.proj.weight.fill_(torch.nan)
    with pytest.raises(CheckpointError, match="not finite, first among the pictures 0 to 1 of some"):
        extract_features(model, unlabelled_records([str(path) for path in ten_images[:2]], "some"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"feature": "2"}, r"'2', but pooled, class_token, mean or a block's number, 0 to 1, is expected"),
        ({"feature": "-1"}, "'-1'"),
        ({"batch_size": 0, "workers": -1}, "batch_size must be at least 1, not 0; workers must be at least 0, not -1"),
    ],
)
def test_extract_features__checks_its_options(
    tiny_model_folder: Path, ten_images: list[Path], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        extract_features(open_model(tiny_model_folder), unlabelled_records([str(ten_images[0])], "one"), **options)


def test_check_feature__tells_blocks_from_the_others() -> None:
    assert [check_feature(name, depth=12) for name in ("pooled", "mean", "0", "11")] == [None, None, 0, 11]
