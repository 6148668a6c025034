import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from modelscope_beit.checkpoints.convert import rename
from modelscope_beit.checkpoints.infer import infer_settings
from modelscope_beit.checkpoints.load import load_classifier, native_weights
from modelscope_beit.checkpoints.recognise import recognise
from modelscope_beit.errors import CheckpointError
from modelscope_beit.network.classifier import BeitClassifier, build_classifier
from modelscope_beit.settings.model import ModelSettings


@pytest.fixture
def settings(unilm_state: dict[str, Tensor]) -> ModelSettings:
    return infer_settings(rename(unilm_state, recognise(unilm_state)))


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_load_classifier__training_never_changes_the_file(
    tmp_path: Path, tiny_classifier: BeitClassifier, suffix: str
) -> None:
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pt":
        torch.save({"state_dict": tiny_classifier.state_dict()}, path)
    else:
        save_file(tiny_classifier.state_dict(), path)
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    classifier = load_classifier(tiny_classifier.settings, path)
    assert all(parameter.requires_grad and parameter.is_leaf for parameter in classifier.parameters())
    optimizer = torch.optim.SGD(classifier.parameters(), lr=1.0)
    classifier(torch.randn(2, 3, 32, 32)).square().sum().backward()
    optimizer.step()
    weight = dict(tiny_classifier.state_dict())["backbone.blocks.1.mlp.fc2.weight"]
    assert not torch.equal(classifier.state_dict()["backbone.blocks.1.mlp.fc2.weight"], weight)
    del classifier, optimizer
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before


def test_load_classifier__frozen_stages_stay_frozen(tmp_path: Path, tiny_classifier: BeitClassifier) -> None:
    from dataclasses import replace

    torch.save(tiny_classifier.state_dict(), tmp_path / "weights.pt")
    settings = tiny_classifier.settings
    settings = replace(settings, backbone=replace(settings.backbone, frozen_stages=1))
    loaded = {
        name
        for name, weight in load_classifier(settings, tmp_path / "weights.pt").named_parameters()
        if weight.requires_grad
    }
    built = {name for name, weight in build_classifier(settings).named_parameters() if weight.requires_grad}
    assert loaded == built


def test_load_classifier__another_image_size_equals_timm_resized_the_same_way(
    unilm_file: Path, unilm_state: dict[str, Tensor], settings: ModelSettings
) -> None:
    from modelscope_beit.network.relative_position import resize_table

    larger = settings.with_image_size(96, 96)
    classifier = load_classifier(larger, unilm_file).eval()
    assert classifier.settings.backbone.image_size == (96, 96)
    for number in range(2):
        key = f"blocks.{number}.attn.relative_position_bias_table"
        assert torch.equal(classifier.state_dict()[f"backbone.{key}"], resize_table(unilm_state[key], (4, 4), (6, 6)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_load_classifier__stored_types_become_float32(
    tmp_path: Path, tiny_classifier: BeitClassifier, dtype: torch.dtype
) -> None:
    state = {key: tensor.to(dtype) for key, tensor in tiny_classifier.state_dict().items()}
    torch.save(state, tmp_path / "weights.pt")
    loaded = load_classifier(tiny_classifier.settings, tmp_path / "weights.pt").state_dict()
    assert all(loaded[key].dtype == torch.float32 and torch.equal(loaded[key], state[key].float()) for key in state)


def test_load_classifier__class_count(unilm_file: Path, settings: ModelSettings) -> None:
    with pytest.raises(CheckpointError, match="new_head") as error:
        load_classifier(settings.with_num_classes(7), unilm_file)
    assert str(unilm_file) in str(error.value)
    classifier = load_classifier(settings.with_num_classes(7), unilm_file, new_head=True)
    assert classifier(torch.zeros(1, 3, 64, 64)).shape == (1, 7)
    report = native_weights(settings.with_num_classes(7), unilm_file, new_head=True)
    assert report.initialised == ("head.fc.weight", "head.fc.bias")


def test_load_classifier__missing_block_never_becomes_random(
    tmp_path: Path, unilm_state: dict[str, Tensor], settings: ModelSettings
) -> None:
    kept = {key: tensor for key, tensor in unilm_state.items() if not key.startswith("blocks.1.")}
    torch.save(kept, tmp_path / "weights.pt")
    for new_head in (False, True):
        with pytest.raises(CheckpointError, match="missing: blocks.1"):
            load_classifier(settings, tmp_path / "weights.pt", new_head=new_head)


def test_load_classifier__peak_memory_is_the_weights_once(tmp_path: Path) -> None:
    """In a process of its own: the peak above what the imports take, in weights of a 19 M parameter network."""
    script = """
import resource, sys, torch
from modelscope_beit.checkpoints.load import load_classifier
from modelscope_beit.network.classifier import build_classifier
from modelscope_beit.settings.model import model_settings
settings = model_settings("beitv2", "base", depth=3)
if sys.argv[2] == "write":
    torch.save({"model": build_classifier(settings).state_dict()}, sys.argv[1])
    sys.exit()
build_classifier(settings, device="meta")
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
classifier = load_classifier(settings, sys.argv[1])
total = sum(float(weight.sum()) for weight in classifier.parameters())
print((peak() - before) / sum(weight.nbytes for weight in classifier.parameters()))
"""
    if sys.platform != "linux":
        pytest.skip("ru_maxrss is in other units elsewhere")
    path = str(tmp_path / "weights.pt")
    runs = [
        subprocess.run([sys.executable, "-c", script, path, what], capture_output=True, text=True, check=True)
        for what in ("write", "load")
    ]
    assert float(runs[1].stdout) < 1.3


def test_native_weights__unknown_file_is_named(tmp_path: Path) -> None:
    settings: Any = ModelSettings()
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "resnet.pth")
    with pytest.raises(CheckpointError, match=r"resnet\.pth"):
        native_weights(settings, tmp_path / "resnet.pth")
