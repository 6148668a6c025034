"""beit describe, on folders and bare files."""

import argparse
import hashlib
import json
import subprocess
import sys

import pytest
import torch

import helpers
from modelscope_beit.commands import describe
from modelscope_beit.errors import CheckpointError, ModelFolderError
from segmentation_models import write_our_folder


def run(*words):
    parser = argparse.ArgumentParser()
    describe.add_arguments(parser)
    return describe.run(parser.parse_args([str(word) for word in words]))


def test_describe__folder(tiny_model_folder, tiny_classifier, capsys):
    assert run(tiny_model_folder) == 0
    out = capsys.readouterr().out
    weights = tiny_model_folder / "pytorch_model.pt"
    assert hashlib.sha256(weights.read_bytes()).hexdigest() in out
    assert f"pytorch_model.pt, {weights.stat().st_size:,} bytes" in out
    assert f"{sum(weight.numel() for weight in tiny_classifier.parameters()):,}" in out
    for part in ("2 blocks of width 32", "red fox, Vulpes vulpes", "CenterCrop crop_size 32"):
        assert part in out


def test_describe__json(tiny_model_folder, tiny_settings, capsys):
    assert run(tiny_model_folder, "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["class_names"] == list(helpers.TINY_CLASSES)
    assert content["network"]["num_classes"] == 5
    assert content["network"]["backbone"]["depth"] == tiny_settings.backbone.depth
    assert content["preprocessing"][1]["size"] == [36, -1]
    assert set(content["files"]) == {"configuration.json", "pytorch_model.pt"}


def test_describe__bare_file_of_unilm(tmp_path, tiny_classifier, capsys):
    names = {"head.fc.": "head.", "backbone.": ""}
    state = {}
    for key, tensor in tiny_classifier.state_dict().items():
        for ours, theirs in names.items():
            key = key.replace(ours, theirs)
        state[key] = tensor
    torch.save({"model": state}, tmp_path / "beitv2_tiny.pth")
    assert run(tmp_path / "beitv2_tiny.pth") == 0
    out = capsys.readouterr().out
    assert "unilm" in out
    assert "5, without names" in out


def test_describe__code_is_not_run(tiny_model_folder, tmp_path, capsys):
    (tiny_model_folder / "config.py").write_text(f"open({str(tmp_path / 'was_run')!r}, 'w')")
    assert run(tiny_model_folder) == 0
    assert "config.py is Python code. It was not run" in " ".join(capsys.readouterr().out.split())
    assert not (tmp_path / "was_run").exists()
    # It sets no model, which is told after it has run.
    with pytest.raises(ModelFolderError, match="must set `model`"):
        run(tiny_model_folder, "--trust-remote-code")
    assert (tmp_path / "was_run").exists()


def test_describe__nothing_to_describe(tmp_path):
    with pytest.raises(ModelFolderError, match="There is no model folder"):
        run(tmp_path / "none")
    (tmp_path / "empty.pth").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"empty\.pth"):
        run(tmp_path / "empty.pth")


@pytest.mark.parametrize("module", ["describe", "convert"])
def test_importing_a_command__does_not_import_torch(module):
    code = f"import sys; import modelscope_beit.commands.{module}; assert not {{'torch', 'rich'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=helpers.ROOT)


def test_describe__folder_for_semantic_segmentation(tmp_path, capsys):
    ours = write_our_folder(tmp_path / "ours")
    assert run(ours) == 0
    assert "UPerNet head of 32 channels" in " ".join(capsys.readouterr().out.split())
    assert run(ours, "--json") == 0
    assert json.loads(capsys.readouterr().out)["task"] == "semantic-segmentation"
