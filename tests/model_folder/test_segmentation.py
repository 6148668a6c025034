import json
from pathlib import Path

import pytest
import torch

from modelscope_beit.checkpoints.files import read_weights, write_weights
from modelscope_beit.errors import CheckpointError, ModelFolderError, SettingsError
from modelscope_beit.model_folder.segmentation import (
    open_segmentation,
    read_segmentation_settings,
    segmentation_in_words,
    segmentation_kind,
)
from segmentation_models import LABELS, logits_of, transformers_segmentation, write_our_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_our_folder(tmp_path / "ours")


def test_open_segmentation__gives_a_network_with_transformers_logits(folder: Path) -> None:
    opened = open_segmentation(folder)
    images = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = opened.network(images)
    torch.testing.assert_close(found, logits_of(transformers_segmentation(), images), atol=1e-4, rtol=0)
    assert opened.settings.class_names == LABELS and not opened.network.training


def test_segmentation_kind__tells_the_folders_apart(folder: Path, tiny_model_folder: Path, tmp_path: Path) -> None:
    assert segmentation_kind(folder) == "modelscope"
    assert segmentation_kind(folder.with_name("theirs")) == "transformers"
    for other in (tiny_model_folder, tmp_path, folder / "model.safetensors", tmp_path / "nothing"):
        assert segmentation_kind(other) is None


def test_segmentation_kind__goes_by_what_is_written_not_by_what_a_mirror_adds(folder: Path) -> None:
    """Hub mirrors of transformers models have a configuration.json too, with a task alone."""
    theirs = folder.with_name("theirs")
    (theirs / "configuration.json").write_text(json.dumps({"framework": "pytorch", "task": "image-segmentation"}))
    assert segmentation_kind(theirs) == "transformers"


def test_open_segmentation__says_how_to_get_such_a_folder(folder: Path, tiny_model_folder: Path) -> None:
    theirs = folder.with_name("theirs")
    with pytest.raises(ModelFolderError, match=f"beit convert {theirs} FOLDER"):
        open_segmentation(theirs)
    with pytest.raises(ModelFolderError, match="model.type is 'beit-semantic-segmentation' is expected there.$"):
        open_segmentation(tiny_model_folder)


def test_open_segmentation__weights_of_another_network_are_refused(folder: Path) -> None:
    file = folder / "model.safetensors"
    tensors = {key: value.clone() for key, value in read_weights(file).tensors.items()}
    tensors["head.last.bias"] = tensors.pop("head.classifier.bias")
    write_weights(file, tensors)
    with pytest.raises(CheckpointError, match="missing: head.classifier.bias\n- unexpected: head.last.bias"):
        open_segmentation(folder)
    file.unlink()
    with pytest.raises(CheckpointError, match="there is no such file"):
        open_segmentation(folder)


def test_read_segmentation_settings__names_the_file_of_a_problem(folder: Path) -> None:
    file = folder / "configuration.json"
    content = json.loads(file.read_text())
    content["model"]["feature_blocks"] = [0, 1, 2, 9]
    file.write_text(json.dumps(content))
    with pytest.raises(SettingsError, match="4 numbers from -1 to 3") as told:
        read_segmentation_settings(folder)
    assert str(file) in str(told.value)


def test_segmentation_in_words__tells_size_and_head(folder: Path) -> None:
    words = segmentation_in_words(read_segmentation_settings(folder).model)
    for part in ("4 blocks of width 32", "32x32 pixels", "UPerNet head of 32 channels on blocks -1, 0, 1, 2"):
        assert part in words
