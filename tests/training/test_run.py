"""What a run begins with: start weights, lengths, schedules, and what is refused before the first step."""

import dataclasses
import datetime
import re
from pathlib import Path

import pytest
import torch

import helpers
from modelscope_beit.checkpoints.files import write_weights
from modelscope_beit.data.hub_dataset import records_of
from modelscope_beit.errors import CheckpointError, SettingsError
from modelscope_beit.network.classifier import build_classifier
from modelscope_beit.settings.foreign_models import MmclsModelSettings
from modelscope_beit.training.finetune import finetune
from modelscope_beit.training.run import open_run
from training_jobs import CLASSES, configuration, crops, make_job


def log_of(folder: Path) -> str:
    return (folder / "20260101_000000.log").read_text()


def test_open_run__another_number_of_classes_gets_a_fresh_head_and_one_line(tmp_path: Path) -> None:
    job = make_job(tmp_path / "run")
    other = helpers.with_random_weights(build_classifier(job.settings.model.with_num_classes(1000)))
    write_weights(job.start_weights, other.state_dict(), {})
    with open_run(job) as run:
        weights = run.accelerator.unwrap_model(run.network).state_dict()
    assert weights["head.fc.weight"].shape == (len(CLASSES), 32)
    assert weights["head.fc.weight"].abs().max() < 0.001, "unilm's init_scale is 0.001 of a deviation of 0.02"
    assert torch.equal(
        weights["backbone.blocks.1.mlp.fc1.weight"], other.state_dict()["backbone.blocks.1.mlp.fc1.weight"]
    )
    assert len(re.findall(r"fresh values: head.fc.weight, head.fc.bias \(3 classes\)", log_of(job.work_dir))) == 1


def test_open_run__another_resolution_interpolates_the_tables(tmp_path: Path) -> None:
    content = configuration()
    content["model"]["mm_model"]["backbone"]["img_size"] = 64
    make_job(tmp_path / "small")  # Writes start weights for 32 pixels.
    with open_run(make_job(tmp_path / "run", content)) as run:
        table = run.accelerator.unwrap_model(run.network).state_dict()[
            "backbone.blocks.0.attn.relative_position_bias_table"
        ]
    assert table.shape == ((2 * 8 - 1) ** 2 + 3, 2)


def test_open_run__weights_that_are_missing_are_an_error(tmp_path: Path) -> None:
    job = make_job(tmp_path / "run")
    weights = build_classifier(job.settings.model).state_dict()
    del weights["backbone.blocks.1.norm1.weight"]
    write_weights(job.start_weights, weights, {})
    with pytest.raises(CheckpointError, match=r"missing: .*norm1"), open_run(job):
        pass


def test_open_run__a_pretraining_checkpoint_is_a_start(tmp_path: Path) -> None:
    """unilm's rules: one shared table for each block, a fresh pooling norm and head, no mask token or lm_head."""
    job = make_job(tmp_path / "run")
    settings = dataclasses.replace(
        job.settings.model.backbone, relative_position="shared", pooling="class_token", drop_path=0.0
    )
    pretrained = helpers.with_random_weights(
        build_classifier(dataclasses.replace(job.settings.model, backbone=settings))
    )
    tensors = {
        key.removeprefix("backbone."): tensor
        for key, tensor in pretrained.state_dict().items()
        if not key.startswith("head.")
    }
    tensors |= {
        "mask_token": torch.zeros(1, 1, 32),
        "lm_head.weight": torch.zeros(64, 32),
        "lm_head.bias": torch.zeros(64),
    }
    torch.save({"model": tensors}, job.start_weights)
    with open_run(job) as run:
        weights = run.accelerator.unwrap_model(run.network).state_dict()
    shared = tensors["rel_pos_bias.relative_position_bias_table"]
    for number in range(2):
        assert torch.equal(weights[f"backbone.blocks.{number}.attn.relative_position_bias_table"], shared)
    assert torch.equal(weights["backbone.fc_norm.weight"], torch.ones(32))


@pytest.mark.parametrize(("num_train", "batch", "per_epoch"), [(22, 4, 6), (24, 4, 6), (3, 4, 1)])
def test_open_run__a_short_last_batch_counts(tmp_path: Path, num_train: int, batch: int, per_epoch: int) -> None:
    content = configuration({"dataloader": {"batch_size_per_gpu": batch, "workers_per_gpu": 0}})
    with open_run(make_job(tmp_path / "run", content, num_train=num_train)) as run:
        assert (run.iterations_per_epoch, run.total_iterations) == (per_epoch, 3 * per_epoch)


def test_open_run__a_stream_needs_a_number_of_iterations(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    stream = datasets.Dataset.from_list(crops(6)).to_iterable_dataset()
    records = records_of(stream, class_names=CLASSES)
    job = dataclasses.replace(make_job(tmp_path / "run"), train=records)
    with pytest.raises(SettingsError, match="max_iters"), open_run(job):
        pass
    content = configuration({"runner": {"type": "IterBasedRunner", "max_iters": 7}})
    job = dataclasses.replace(make_job(tmp_path / "run", content), train=records)
    with open_run(job) as run:
        assert run.total_iterations == 7


def test_open_run__a_metric_that_is_not_measured_cannot_choose_the_best(tmp_path: Path) -> None:
    content = configuration({"evaluation": {"metric": "accuracy", "save_best": "accuracy_top-5"}})
    with (
        pytest.raises(SettingsError, match=r"train.evaluation.save_best.*accuracy_top-1"),
        open_run(make_job(tmp_path / "run", content)),
    ):
        pass
    assert not (tmp_path / "run").exists()


def test_open_run__average_and_log_are_there_only_if_wanted(tmp_path: Path) -> None:
    with open_run(make_job(tmp_path / "plain")) as run:
        assert run.average is None
        assert run.momentum is None
    hooks = {"custom_hooks": [{"type": "EMAHook"}], "momentum_config": {"policy": "cyclic"}}
    with open_run(make_job(tmp_path / "rich", configuration(hooks))) as run:
        assert run.average is not None
        assert run.momentum is not None
    assert str(datetime.date.today().year) in log_of(tmp_path / "rich")


def test_open_run__a_zero_head_although_the_weights_have_one_that_fits(tmp_path: Path) -> None:
    with open_run(make_job(tmp_path / "kept")) as run:
        kept = run.accelerator.unwrap_model(run.network).head.fc.weight
        assert kept.abs().max() > 0
    job = make_job(tmp_path / "run", configuration({"head_init": "zero", "max_epochs": 1}))
    with open_run(job) as run:
        head = run.accelerator.unwrap_model(run.network).head.fc
        assert head.weight.abs().max() == head.bias.abs().max() == 0
    assert "Set to zero, as train.head_init says: head.fc." in log_of(tmp_path / "run")
    finetune(job)
    resumed = make_job(tmp_path / "run", configuration({"head_init": "zero", "resume_from": str(tmp_path / "run")}))
    with open_run(resumed) as run:
        assert run.accelerator.unwrap_model(run.network).head.fc.weight.abs().max() > 0


def test_open_run__fsdp_divides_native_networks_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_job(tmp_path / "run")
    by_mmcls = MmclsModelSettings(job.configuration["model"]["mm_model"], len(CLASSES), ())
    monkeypatch.setattr("modelscope_beit.training.run.is_sharded", lambda accelerator: True)
    job = dataclasses.replace(job, settings=dataclasses.replace(job.settings, model=by_mmcls))
    with (
        pytest.raises(SettingsError, match="this network is built by timm or mmcls.*without --use_fsdp"),
        open_run(job),
    ):
        pass
