"""`beit pretrain`: what its options set, what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest

from modelscope_beit.__main__ import main
from modelscope_beit.commands import pretrain
from modelscope_beit.settings.pretraining_configuration import read_pretraining


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The configurations that would be run."""
    seen: list[dict[str, Any]] = []

    def run_stage(arguments: object, configuration: dict[str, Any], where: str) -> int:
        seen.append(configuration)
        return 0

    monkeypatch.setattr(pretrain, "run_stage", run_stage)
    return seen


def test_pretrain__without_options_is_as_published(asked: list[dict[str, Any]], tmp_path: Path) -> None:
    assert main(["pretrain", str(tmp_path), "--tokenizer", "t.pth"]) == 0
    found = read_pretraining(asked[0], "x")
    assert found.stage == "masked" and found.masked is not None
    assert (found.masked.model.backbone.width, found.masked.num_masked) == (768, 75)
    assert (found.run.epochs, found.run.lr, found.run.clip, found.run.betas) == (300, 1.5e-3, 3.0, (0.9, 0.98))
    assert asked[0]["sources"] == {"tokenizer": str(Path("t.pth").absolute())}


def test_pretrain__options_go_where_they_belong(asked: list[dict[str, Any]], tmp_path: Path) -> None:
    options = "--size large --image-size 112 --patch-size 8 --num-codes 99 --drop-path 0.1 --crops 2 --lr 1e-3".split()
    paths = ["--tokenizer", str(tmp_path / "t"), "--start", str(tmp_path / "s"), "--codes", str(tmp_path / "c")]
    assert main(["pretrain", str(tmp_path), *options, *paths, "--epochs", "7", "--set", "masked.early_layer=5"]) == 0
    found = read_pretraining(asked[0], "x")
    assert found.masked is not None and found.sources is not None
    backbone = found.masked.model.backbone
    assert (backbone.width, backbone.image_size, backbone.patch_size, backbone.drop_path) == (1024, (112, 112), 8, 0.1)
    assert (found.masked.model.num_visual_tokens, found.masked.views.num_crops, found.masked.early_layer) == (99, 2, 5)
    assert (found.sources.start, found.sources.codes) == (str(tmp_path / "s"), str(tmp_path / "c"))
    assert (found.run.epochs, found.run.lr) == (7, 1e-3)


def test_pretrain__a_configuration_of_the_other_stage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other.json").write_text(json.dumps({"stage": "tokenizer"}))
    assert main(["pretrain", str(tmp_path), "--config", str(tmp_path / "other.json")]) == 2
    assert "stage 'masked' is expected, not 'tokenizer'" in capsys.readouterr().err


def test_pretrain__without_a_tokenizer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pretrain", str(tmp_path), "--out", str(tmp_path / "run")]) == 2
    assert "tokenizer is missing: a text is expected" in capsys.readouterr().err
