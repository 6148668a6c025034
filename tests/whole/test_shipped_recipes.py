"""Every recipe that mmcls ships for these families is read; its schedule is mmcv's, iteration by iteration."""

import functools
import json
import logging
from pathlib import Path

import pytest
import torch
from numpy.testing import assert_allclose

from mmcv_hooks import run_hook
from modelscope_beit.settings.foreign_models import MmclsModelSettings
from modelscope_beit.settings.log_once import log_once
from modelscope_beit.settings.mm_layout import hub_layout
from modelscope_beit.settings.model import ModelSettings
from modelscope_beit.settings.optimizer_step import GradientClip
from modelscope_beit.settings.recipe import read_recipe
from modelscope_beit.settings.run_settings import EmaSettings
from modelscope_beit.settings.schedule import ScheduleSettings
from modelscope_beit.training.schedule import Schedule
from shipped_recipes import CONFIGS, FAMILIES, configuration, for_each_recipe, key_of, read

pytestmark = pytest.mark.openmmlab

# ImageNet in batches of 1024. Some warm-ups take 10,000 iterations.
ITERATIONS_AN_EPOCH = 1252
NATIVE = ("vision_transformer", "deit")


def test_recipes__are_all_there() -> None:
    pytest.importorskip("mmcls", reason="mmcls brings the recipes")
    assert {family: len(list((CONFIGS / family).glob("*.py"))) for family in FAMILIES} == FAMILIES
    # BEiT came with mmcls 1.0.
    assert not [path for path in CONFIGS.iterdir() if "beit" in path.name]


@for_each_recipe
def test_read_recipe__reads_what_mmcls_ships(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "modelscope_beit")
    log_once.cache_clear()
    mm = configuration(path)
    settings, recipe = read_recipe(hub_layout(mm), where=path.stem)
    assert isinstance(settings.model, ModelSettings if path.parent.name in NATIVE else MmclsModelSettings)
    assert settings.model.num_classes == mm["model"]["head"]["num_classes"]
    assert (recipe.epochs, recipe.iterations) == (mm["runner"].get("max_epochs"), mm["runner"].get("max_iters"))
    assert recipe.batch_size == mm["data"]["samples_per_gpu"]
    clip = (mm["optimizer_config"].get("grad_clip") or {}).get("max_norm")
    assert recipe.clip == (None if clip is None else GradientClip(clip))
    averaging = [hook for hook in mm.get("custom_hooks", ()) if hook["type"] == "EMAHook"]
    assert recipe.ema == (EmaSettings(momentum=4e-5) if averaging else None)
    assert recipe.precision == ("fp16" if mm.get("fp16") else "auto")
    scale = mm.get("fp16", {}).get("loss_scale", "dynamic")
    assert recipe.loss_scale == (None if scale == "dynamic" else scale)
    assert recipe.momentum is None and "momentum_config" not in mm
    # Nothing is passed over but what a Graphcore IPU needs, and batch statistics that one ResNet counts anew.
    assert bool(caplog.messages) == ("ipu" in path.stem or "preciseBN" in path.stem)


@for_each_recipe
def test_schedule__is_mmcvs(path: Path) -> None:
    mm = configuration(path)
    _, recipe = read(path)
    assert_schedule_is_mmcvs(
        recipe.schedule, key_of(mm["lr_config"]), mm["optimizer"]["lr"], recipe.epochs, recipe.iterations
    )


@functools.cache
def assert_schedule_is_mmcvs(
    settings: ScheduleSettings, lr_config: str, lr: float, epochs: int | None, iterations: int | None
) -> None:
    """Compares the rates of two groups over the whole run: around the ends of epochs, and at intervals between."""
    config = json.loads(lr_config)
    length = {"epochs": epochs} if iterations is None else {"iterations": iterations}
    total = iterations or (epochs or 0) * ITERATIONS_AN_EPOCH
    warm_up = (config.get("warmup_iters") or 0) * (ITERATIONS_AN_EPOCH if config.get("warmup_by_epoch") else 1)
    visits = {warm_up, *range(0, total, total // 400), *range(0, warm_up, 97)}
    visits |= {first + step for first in range(0, total, ITERATIONS_AN_EPOCH) for step in (-1, 0, 1)}
    optimizer = torch.optim.SGD([{"params": [torch.zeros(1)], "lr": rate} for rate in (lr, 0.3 * lr)], lr=lr)
    schedule = Schedule(settings, (lr, 0.3 * lr), iterations_per_epoch=ITERATIONS_AN_EPOCH, **length)
    ours, theirs = [], []
    for iteration in run_hook("lr", config, optimizer, per_epoch=ITERATIONS_AN_EPOCH, visits=visits, **length):
        ours.append(schedule.learning_rates(iteration))
        theirs.append([group["lr"] for group in optimizer.param_groups])
    assert len(theirs) > 400
    assert_allclose(ours, theirs, rtol=1e-12, atol=0)
