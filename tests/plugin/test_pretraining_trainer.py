"""Both stages as ModelScope's build_trainer builds them, on pictures that a script has loaded."""

from pathlib import Path
from typing import Any

import pytest
from modelscope.trainers import build_trainer

import modelscope_beit  # noqa: F401 - registers
from modelscope_beit.errors import SettingsError
from modelscope_beit.model_folder.finding import find_model_folder
from modelscope_beit.names import PRETRAINING_TRAINERS
from modelscope_beit.plugin import pretraining_trainer
from modelscope_beit.pretraining.job import PretrainingResult
from toy_run import draw_pictures

RUN = {"epochs": 2, "batch_size": 4, "workers": 0, "device": "cpu", "precision": "fp32", "gauge_pictures": 4}


def tiny_tokenizer(cfg: Any) -> None:
    cfg.teacher = "embedded"
    cfg.tokenizer = {"image_size": [32, 32], "patch_size": 8, "width": 32, "num_heads": 2, "mlp_hidden": 64,
        "encoder_depth": 1, "decoder_depth": 1, "codebook": {"num_codes": 16, "code_width": 8}}  # fmt: skip
    cfg.run = RUN


def test_trainers__train_one_stage_after_the_other(tmp_path: Path) -> None:
    pictures = draw_pictures(tmp_path / "pictures", 40)
    rows = [{"image:FILE": str(file)} for file in sorted(pictures.iterdir())]
    first: Any = build_trainer(
        PRETRAINING_TRAINERS["tokenizer"],
        default_args={
            "train_dataset": rows,
            "work_dir": str(tmp_path / "tokenizer"),
            "cfg_modify_fn": tiny_tokenizer,
        },
    )
    found = first.train()
    assert found.iterations == 18
    assert [file.name for file in found.files] == ["tokenizer.pth"]

    def tiny_masked(cfg: Any) -> Any:
        cfg.sources.tokenizer = str(tmp_path / "tokenizer")
        cfg.masked = {"image_size": [32, 32], "patch_size": 8, "width": 32, "depth": 2, "num_heads": 2,
            "mlp_hidden": 64, "num_visual_tokens": 16, "early_layer": 1, "masking": {"min_block": 2}}  # fmt: skip
        cfg.run = RUN
        return cfg

    second: Any = build_trainer(
        PRETRAINING_TRAINERS["masked"],
        default_args={
            "train_dataset": str(pictures),
            "work_dir": str(tmp_path / "masked"),
            "cfg_modify_fn": tiny_masked,
        },
    )
    assert second.train().verdict is not None
    assert (tmp_path / "masked" / "output" / "configuration.json").exists()
    with pytest.raises(SettingsError, match="by its gauges"):
        second.evaluate()


def test_trainer__fetches_a_teacher_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, jobs = [], []

    def download(model: str) -> Path:
        asked.append(model)
        return find_model_folder("embedded")

    def of_the_hub(cfg: Any) -> None:
        tiny_tokenizer(cfg)
        cfg.teacher = "somebody/network"

    monkeypatch.setattr(pretraining_trainer, "download_model", download)
    monkeypatch.setattr(pretraining_trainer, "pretrain", lambda job: jobs.append(job) or PretrainingResult(
        0, False, None, {}, (), None))  # fmt: skip
    arguments = {"train_dataset": str(draw_pictures(tmp_path / "pictures", 12)), "work_dir": str(tmp_path / "run")}
    build_trainer(PRETRAINING_TRAINERS["tokenizer"], default_args=arguments | {"cfg_modify_fn": of_the_hub}).train()
    assert asked == ["somebody/network"] and jobs[0].stage.tokenizer.settings.target_width == 128


def test_trainer__needs_a_folder_for_its_run() -> None:
    with pytest.raises(SettingsError, match="work_dir is missing"):
        build_trainer(PRETRAINING_TRAINERS["masked"], default_args={"train_dataset": "photos"})


def test_trainer__refuses_a_keyword_that_nobody_knows(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="max_epoch"):
        build_trainer(PRETRAINING_TRAINERS["masked"], default_args={"work_dir": str(tmp_path), "max_epoch": 3})
