"""The recipe that a folder carries when it names none; mmcv and mmcls are the judges of its words."""

import copy
import logging

import pytest

import helpers
from modelscope_beit.settings.fine_tuning_defaults import fine_tuning_defaults

VAL = helpers.TINY_CONFIGURATION["preprocessor"]["val"]


@pytest.mark.openmmlab
def test_fine_tuning_defaults__mmcls_runs_the_training_steps(ten_images):
    pipelines = pytest.importorskip("mmcls.datasets.pipelines", reason="mmcls is the oracle")
    steps = fine_tuning_defaults((32, 48), VAL)["preprocessor"]["train"]
    sample = {"img_prefix": None, "img_info": {"filename": str(ten_images[0])}, "gt_label": 1}
    result = pipelines.Compose(steps)(sample)
    assert result["img"].shape == (3, 32, 48)
    assert -3 < float(result["img"].mean()) < 3


@pytest.mark.openmmlab
def test_fine_tuning_defaults__mmcv_builds_optimizer_and_hooks(tiny_classifier, tmp_path):
    runner_parts = pytest.importorskip("mmcv.runner", reason="mmcv is the oracle")
    train = copy.deepcopy(fine_tuning_defaults((32, 32), VAL)["train"])
    optimizer = runner_parts.build_optimizer(tiny_classifier, train["optimizer"])
    decays = {group["weight_decay"] for group in optimizer.param_groups}
    assert decays == {0.0, 0.05}
    tiny_classifier.train_step = None  # mmcv asks only whether it is there.
    runner = runner_parts.EpochBasedRunner(
        tiny_classifier, optimizer=optimizer, work_dir=str(tmp_path), max_epochs=1, logger=logging.getLogger("mmcv")
    )
    runner.register_training_hooks(
        train["lr_config"], train["optimizer_config"], train["checkpoint_config"], train["log_config"]
    )
    assert len(runner.hooks) >= 4


def test_fine_tuning_defaults__normalises_as_evaluation_does():
    steps = fine_tuning_defaults((32, 32), VAL)["preprocessor"]["train"]
    assert [step for step in steps if step["type"] == "Normalize"] == [VAL[3]]
