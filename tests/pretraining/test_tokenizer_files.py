"""Files of the tokenizer: unilm's layout in and out, strictly."""

from argparse import Namespace
from pathlib import Path

import pytest
import torch

from modelscope_beit.errors import CheckpointError
from modelscope_beit.pretraining.tokenizer_files import (
    find_tokenizer_file,
    open_tokenizer,
    settings_of,
    write_tokenizer,
)
from modelscope_beit.pretraining.vq_kd import Tokenizer
from modelscope_beit.settings.tokenizer import TokenizerSettings
from tiny_tokenizer import tiny_tokenizer
from unilm_tokenizer import released_tensors


def test_released_layout__has_the_220_entries_of_the_default_file_and_is_ours() -> None:
    with torch.device("meta"):
        ours = Tokenizer(TokenizerSettings()).state_dict()
    theirs = released_tensors(depths=(12, 3))
    assert len(theirs) == 220
    names = {name for name in ours if not name.startswith("codebook")}
    assert names == {name for name in theirs if not name.startswith("quantize")}


@pytest.mark.parametrize("wrapper", ["model", "state_dict", None])
def test_open_tokenizer__reads_a_file_of_unilm_with_its_teacher_in_it(tmp_path: Path, wrapper: str | None) -> None:
    theirs = released_tensors()
    content = theirs | {"teacher_model.visual.proj": torch.zeros(4, 4), "scaling_layer.scale": torch.ones(1, 3, 1, 1)}
    file = tmp_path / "vqkd.pth"
    torch.save(content if wrapper is None else {wrapper: content, "epoch": 99, "args": Namespace(lr=1.0)}, file)
    tokenizer = open_tokenizer(file)
    assert tokenizer.settings.encoder_depth == 2 and tokenizer.settings.num_heads == 1
    assert not tokenizer.training and not any(weight.requires_grad for weight in tokenizer.parameters())
    assert torch.equal(tokenizer.decode_task_layer[2].weight, theirs["decode_task_layer.2.weight"])
    assert torch.equal(tokenizer.codebook.codes, theirs["quantize.embedding.weight"])
    assert tokenizer.tokenize(torch.rand(1, 3, 32, 32)).shape == (1, 16)


def test_settings_of__a_released_file_gives_the_published_settings() -> None:
    with torch.device("meta"):
        tensors = Tokenizer(TokenizerSettings()).state_dict()
    assert settings_of(tensors) == TokenizerSettings()


def test_write_tokenizer__is_opened_again_with_all_that_its_weights_do_not_tell(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer(decay=0.5)
    write_tokenizer(tmp_path / "tokenizer.pth", tokenizer)
    again = open_tokenizer(tmp_path)
    assert again.settings == tokenizer.settings and again.settings.num_heads == 2
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(again(images).reconstruction, tokenizer(images).reconstruction)


def test_write_tokenizer__has_unilms_keys_where_unilm_looks(tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "tokenizer.pth", tiny_tokenizer())
    content = torch.load(tmp_path / "tokenizer.pth", weights_only=True)
    assert "model" not in content
    assert content["state_dict"].keys() == released_tensors().keys()


def test_open_tokenizer__tells_what_does_not_fit(tmp_path: Path) -> None:
    theirs = released_tensors()
    del theirs["decoder.fc_norm.bias"]
    theirs |= {"encoder.norm.weight": torch.zeros(64), "encoder.cls_token": torch.zeros(1, 1, 32)}
    torch.save({"model": theirs}, tmp_path / "vqkd.pth")
    with pytest.raises(CheckpointError) as caught:
        open_tokenizer(tmp_path / "vqkd.pth")
    text = str(caught.value)
    assert "vqkd.pth" in text and "missing: decoder.fc_norm.bias" in text
    assert "unexpected: encoder.norm.weight" in text and "encoder.cls_token is (1, 1, 32), expected (1, 1, 64)" in text


def test_open_tokenizer__refuses_an_unfinished_codebook(tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "tokenizer.pth", tiny_tokenizer(start="kmeans"))
    with pytest.raises(CheckpointError, match="has not been started"):
        open_tokenizer(tmp_path)


def test_find_tokenizer_file__looks_in_the_folder_of_a_run(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="There is no tokenizer in"):
        find_tokenizer_file(tmp_path)
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "tokenizer.pth").touch()
    assert find_tokenizer_file(tmp_path) == tmp_path / "output" / "tokenizer.pth"
