"""From configurations to jobs: both stages open what their configurations name, and refuse what does not fit."""

import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

import helpers
from modelscope_beit.data.records import Records
from modelscope_beit.data.unlabelled import PictureStream, pictures_of
from modelscope_beit.errors import CheckpointError, SettingsError
from modelscope_beit.pretraining.masked_stage import MaskedStage
from modelscope_beit.pretraining.opening import RunPlace, open_pretraining_job
from modelscope_beit.pretraining.tokenizer_files import write_tokenizer
from modelscope_beit.pretraining.tokenizer_stage import TokenizerStage
from tiny_tokenizer import tiny_tokenizer
from toy_run import draw_pictures

TINY_TOKENIZER: dict[str, Any] = {
    "image_size": [32, 32], "patch_size": 8, "width": 32, "num_heads": 2, "mlp_hidden": 64, "encoder_depth": 1,
    "decoder_depth": 1, "codebook": {"num_codes": 16, "code_width": 8},
}  # fmt: skip
TINY_MASKED: dict[str, Any] = {
    "image_size": [32, 32], "patch_size": 8, "width": 32, "depth": 2, "num_heads": 2, "mlp_hidden": 64,
    "num_visual_tokens": 24, "early_layer": 1, "masking": {"min_block": 2},
}  # fmt: skip


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return draw_pictures(tmp_path / "pictures", 12)


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    found = tiny_tokenizer()
    found.codebook.is_started.fill_(True)
    write_tokenizer(tmp_path / "tokenizer.pth", found)
    return tmp_path / "tokenizer.pth"


def place(folder: Path) -> RunPlace:
    return RunPlace(folder, "20260101_000000", "beit pretrain")


def test_open_pretraining_job__opens_a_tokenizer_and_its_teacher(pictures: Path, tmp_path: Path) -> None:
    content = {"stage": "tokenizer", "data": str(pictures), "teacher": "embedded", "tokenizer": TINY_TOKENIZER}
    job = open_pretraining_job(content | {"run": {"batch_size": 4}}, place(tmp_path / "run"), where="f")
    assert isinstance(job.stage, TokenizerStage)
    assert job.stage.tokenizer.settings.target_width == 128, "what the embedded network has"
    assert isinstance(job.pictures, Records) and len(job.pictures) == 12
    assert job.output_configuration is None and job.configuration["teacher"] == "embedded"
    assert any("embedded" in note and "128 channels" in note for note in job.notes)


def test_open_pretraining_job__opens_masked_image_modelling(pictures: Path, tokenizer: Path, tmp_path: Path) -> None:
    content = {"stage": "masked", "data": str(pictures), "sources": {"tokenizer": str(tokenizer)}}
    job = open_pretraining_job(content | {"masked": TINY_MASKED}, place(tmp_path / "run"), where="f")
    assert isinstance(job.stage, MaskedStage)
    assert job.labelled is None
    assert job.output_configuration is not None
    assert job.output_configuration["task"] == "image-classification", "what beit train opens"


def test_open_pretraining_job__guesses_as_many_codes_as_the_tokenizer_has_unless_told(
    pictures: Path, tokenizer: Path, tmp_path: Path
) -> None:
    content = {"stage": "masked", "data": str(pictures), "sources": {"tokenizer": str(tokenizer)}}
    silent = {name: value for name, value in TINY_MASKED.items() if name != "num_visual_tokens"}
    job = open_pretraining_job(content | {"masked": silent}, place(tmp_path / "run"), where="f")
    assert isinstance(job.stage, MaskedStage) and job.stage.model.lm_head.out_features == 24
    with pytest.raises(SettingsError, match="it has 24 codes, but masked.num_visual_tokens is 8192: set it to 24"):
        told = silent | {"num_visual_tokens": 8192}
        open_pretraining_job(content | {"masked": told}, place(tmp_path / "run"), where="f")


def test_open_pretraining_job__warns_where_the_gate_before_said_stop(
    pictures: Path, tokenizer: Path, tmp_path: Path
) -> None:
    run = tmp_path / "tokenizer_run"
    run.mkdir()
    (run / "gate.json").write_text('{"goes_on": false, "reasons": ["one code for all"]}')
    tokenizer.rename(run / "tokenizer.pth")
    content = {"stage": "masked", "data": str(pictures), "sources": {"tokenizer": str(run)}, "masked": TINY_MASKED}
    job = open_pretraining_job(content, place(tmp_path / "run"), where="f")
    assert any("said stop: one code for all" in note for note in job.notes)


def test_open_pretraining_job__takes_pictures_that_a_script_has_loaded(tokenizer: Path, tmp_path: Path) -> None:
    rows = pictures_of([{"image": photograph} for photograph in helpers.photographs()], name="rows")
    content = {"stage": "masked", "sources": {"tokenizer": str(tokenizer)}, "masked": TINY_MASKED}
    assert open_pretraining_job(content, place(tmp_path / "run"), where="f", pictures=rows).pictures is rows
    with pytest.raises(SettingsError, match="f: data is missing"):
        open_pretraining_job(content, place(tmp_path / "run"), where="f")


def test_open_pretraining_job__gives_each_process_its_part_of_a_stream(
    tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = draw_pictures(tmp_path / "in_shards", 5)
    (tmp_path / "shards").mkdir()
    with tarfile.open(tmp_path / "shards" / "a.tar", "w") as shard:
        for file in sorted(pictures.iterdir()):
            shard.add(file, file.name)
    monkeypatch.setitem(os.environ, "RANK", "1")
    monkeypatch.setitem(os.environ, "WORLD_SIZE", "2")
    content = {"stage": "masked", "data": str(tmp_path / "shards"), "sources": {"tokenizer": str(tokenizer)}}
    run = {"iterations": 100}
    job = open_pretraining_job(content | {"masked": TINY_MASKED, "run": run}, place(tmp_path / "run"), where="f")
    assert isinstance(job.pictures, PictureStream)
    assert "part 2 of 2" in job.pictures.description
    assert len(list(job.pictures.records())) == 2


def test_open_pretraining_job__refuses_neighbours_with_several_labels(
    pictures: Path, tokenizer: Path, tmp_path: Path
) -> None:
    lines = [{"path": str(path), "label": ["red", "dark"]} for path in sorted(pictures.iterdir())]
    (tmp_path / "many.jsonl").write_text("\n".join(map(json.dumps, lines)))
    content = {"stage": "masked", "data": str(pictures), "sources": {"tokenizer": str(tokenizer)}}
    content |= {"masked": TINY_MASKED, "labelled": str(tmp_path / "many.jsonl")}
    with pytest.raises(SettingsError, match="k-NN needs one label a picture, but it has several"):
        open_pretraining_job(content, place(tmp_path / "run"), where="f")


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"tokenizer": TINY_TOKENIZER | {"target_width": 77}}, SettingsError, "is 77, but embedded gives .* 128"),
        ({"features": "kept"}, SettingsError, "fixed crops only"),
        ({"data": "nowhere/at.all"}, SettingsError, "does not exist"),
    ],
)
def test_open_pretraining_job__refuses_a_tokenizer_that_cannot_be(
    pictures: Path, tmp_path: Path, changes: dict[str, Any], kind: type[Exception], message: str
) -> None:
    content = {"stage": "tokenizer", "data": str(pictures), "teacher": "embedded", "tokenizer": TINY_TOKENIZER}
    with pytest.raises(kind, match=message):
        open_pretraining_job(content | changes, place(tmp_path / "run"), where="f")


def test_open_pretraining_job__refuses_a_tokenizer_that_is_not_there(pictures: Path, tmp_path: Path) -> None:
    content = {"stage": "masked", "data": str(pictures), "sources": {"tokenizer": str(tmp_path / "none.pth")}}
    with pytest.raises(CheckpointError, match="none.pth"):
        open_pretraining_job(content | {"masked": TINY_MASKED}, place(tmp_path / "run"), where="f")
