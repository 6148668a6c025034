"""beit convert: arguments, what is printed, exit status. What it writes: see model_folder/test_conversion.py."""

import argparse
import hashlib

import pytest

import helpers
from modelscope_beit.checkpoints.proof import Proof
from modelscope_beit.commands import convert
from modelscope_beit.errors import CheckpointError, ModelFolderError, SettingsError
from modelscope_beit.model_folder import conversion
from modelscope_beit.model_folder.opening import open_model
from segmentation_models import transformers_segmentation, write_transformers_folder


def run(*words):
    parser = argparse.ArgumentParser()
    convert.add_arguments(parser)
    return convert.run(parser.parse_args([str(word) for word in words]))


def printed(capsys):
    return " ".join(capsys.readouterr().out.split())


def test_convert__prints_the_proof(tmp_path, tiny_model_folder, capsys):
    pytest.importorskip("timm", reason="timm is what the logits are compared with")
    assert run(tiny_model_folder, tmp_path / "copy") == 0
    out = printed(capsys)
    for file in (tiny_model_folder / "pytorch_model.pt", tmp_path / "copy" / "pytorch_model.pt"):
        assert hashlib.sha256(file.read_bytes()).hexdigest() in out
    for part in (f"{tmp_path / 'copy'} ", "5, names from the source", "bit for bit", "those of timm"):
        assert part in out
    assert open_model(tmp_path / "copy").class_names == helpers.TINY_CLASSES


@pytest.mark.parametrize(("size", "expected"), [("64", (64, 64)), ("64x32", (64, 32)), ("32X64", (32, 64))])
def test_convert__size(tmp_path, tiny_model_folder, capsys, size, expected):
    assert run(tiny_model_folder, tmp_path / "copy", "--size", size) == 0
    assert open_model(tmp_path / "copy").settings.model.backbone.image_size == expected
    assert "interpolated from 32x32 pixels" in printed(capsys)


@pytest.mark.parametrize("size", ["big", "64x", "64x64x3", "0", "-64", "6.5"])
def test_convert__size_that_is_none(tmp_path, tiny_model_folder, size):
    with pytest.raises(SettingsError, match="384x224"):
        run(tiny_model_folder, tmp_path / "copy", f"--size={size}")


def test_convert__size_that_does_not_fit_the_patches(tmp_path, tiny_model_folder):
    with pytest.raises(SettingsError, match="multiples of patch_size 8"):
        run(tiny_model_folder, tmp_path / "copy", "--size", "36")
    assert not (tmp_path / "copy").exists()


def test_convert__labels_and_overwrite(tmp_path, tiny_model_folder):
    labels = tmp_path / "labels.txt"
    labels.write_text("a\nb\nc\nd\ne\n")
    run(tiny_model_folder, tmp_path / "copy")
    with pytest.raises(ModelFolderError, match="is not empty"):
        run(tiny_model_folder, tmp_path / "copy", "--labels", labels)
    assert run(tiny_model_folder, tmp_path / "copy", "--labels", labels, "--overwrite") == 0
    assert open_model(tmp_path / "copy").class_names == tuple("abcde")


@pytest.mark.parametrize(
    ("difference", "status", "words"),
    [
        (0.0, 0, "logits equal those of timm"),
        (2.1e-6, 0, "differ by at most 2.1e-06 from those of timm (why)"),
        (0.5, 1, "MORE THAN ROUNDING"),
        (float("nan"), 1, "MORE THAN ROUNDING"),
        (None, 0, "not compared: why"),
    ],
)
def test_convert__status_follows_the_difference(
    tmp_path, tiny_model_folder, capsys, monkeypatch, difference, status, words
):
    proof = Proof(1, 0, (), "sha256:0", "timm", difference, "why")
    monkeypatch.setattr(conversion, "prove", lambda _: proof)
    assert run(tiny_model_folder, tmp_path / "copy") == status
    assert words in printed(capsys)


def test_convert__tells_what_was_compared_and_what_differs(tmp_path, tiny_model_folder, capsys, monkeypatch):
    proof = Proof(1, 0, (), "sha256:0", "transformers", 0.0, "why", "features")
    monkeypatch.setattr(conversion, "prove", lambda _: proof)
    assert run(tiny_model_folder, tmp_path / "out", "--to", "transformers") == 0
    out = printed(capsys)
    assert "features equal those of transformers (why)" in out
    assert "pixels pictures are resized by Pillow here" in out


def test_convert__source_that_is_none(tmp_path):
    with pytest.raises(ModelFolderError, match="There is no model folder"):
        run(tmp_path / "nothing", tmp_path / "copy")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(CheckpointError, match=r"notes\.txt"):
        run(tmp_path / "notes.txt", tmp_path / "copy")


def test_convert__semantic_segmentation_of_transformers(tmp_path, capsys):
    theirs = write_transformers_folder(tmp_path / "theirs", transformers_segmentation())
    assert run(theirs, tmp_path / "ours") == 0
    out = printed(capsys)
    for part in ("UPerNet head", "5, names from the source", "those of transformers", "bit for bit"):
        assert part in out
