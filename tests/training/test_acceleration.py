import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.optimizer_step import GradientClip
from modelscope_beit.training import acceleration
from modelscope_beit.training.acceleration import (
    choose_precision,
    clip_gradients,
    is_sharded,
    leaving_after_errors,
    open_accelerator,
)
from training_jobs import make_job

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(("capability", "chosen"), [((8, 0), "bf16"), ((9, 0), "bf16"), ((7, 5), "fp32")])
def test_choose_precision__auto_is_bf16_where_the_gpu_has_it(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], chosen: str
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert choose_precision("auto", CUDA) == chosen


def test_choose_precision__auto_on_a_processor_asks_for_its_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    for has_it, chosen in ((True, "bf16"), (False, "fp32")):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda has_it=has_it: has_it)
        assert choose_precision("auto", CPU) == chosen


def test_choose_precision__float16_on_a_processor_becomes_float32_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    assert choose_precision("fp16", CPU) == "fp32"
    assert "needs a GPU" in caplog.text
    assert choose_precision("fp16", CUDA) == "fp16"


def test_open_accelerator__second_run_may_want_another_precision(tmp_path: Path) -> None:
    recipe = make_job(tmp_path / "run").recipe
    for precision, expected in (("fp32", "no"), ("bf16", "bf16"), ("fp32", "no")):
        accelerator = open_accelerator(dataclasses.replace(recipe, device="cpu", precision=precision))
        assert accelerator.mixed_precision == expected
        assert accelerator.distributed_type == DistributedType.NO
        assert accelerator.device == CPU


def test_open_accelerator__says_that_there_is_no_such_gpu(tmp_path: Path) -> None:
    recipe = dataclasses.replace(make_job(tmp_path / "run").recipe, device="cuda:77")
    with pytest.raises(SettingsError, match="cuda:77"):
        open_accelerator(recipe)


def test_open_accelerator__says_that_nothing_is_divided_without_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_VERSION", "1")
    # Accelerate writes this one itself.
    monkeypatch.setenv("FSDP_CPU_RAM_EFFICIENT_LOADING", "true")
    recipe = dataclasses.replace(make_job(tmp_path / "run").recipe, device="cpu")
    accelerator = open_accelerator(recipe)
    assert not is_sharded(accelerator)
    assert "FSDP needs several GPUs" in caplog.text
    assert "version 2 takes the place of version 1" in caplog.text


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_open_accelerator__narrow_types_for_computing_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    """Gradients are averaged in float32, as without FSDP."""
    made: list[FullyShardedDataParallelPlugin] = []
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_CPU_RAM_EFFICIENT_LOADING", "true")

    def keep(**options: Any) -> FullyShardedDataParallelPlugin:
        made.append(FullyShardedDataParallelPlugin(**options))
        return made[0]

    monkeypatch.setattr(acceleration, "FullyShardedDataParallelPlugin", keep)
    monkeypatch.setattr(acceleration, "Accelerator", lambda **options: Accelerator(cpu=True))
    recipe = dataclasses.replace(make_job(tmp_path / "run").recipe, device="cpu", precision=precision)
    open_accelerator(recipe)
    made[0].set_mixed_precision(precision)  # As Accelerate does; what is there stays.
    policy = made[0].mixed_precision_policy
    assert policy.param_dtype == {"fp32": None, "bf16": torch.bfloat16}[precision]
    assert policy.reduce_dtype == torch.float32


def test_open_accelerator__refuses_to_recompute_with_other_random_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_ACTIVATION_CHECKPOINTING", "true")
    recipe = dataclasses.replace(make_job(tmp_path / "run").recipe, device="cpu")
    with pytest.raises(SettingsError, match="with_cp=True"):
        open_accelerator(recipe)


def test_clip_gradients__scales_them_and_tells_the_norm_before() -> None:
    network = torch.nn.Linear(2, 1, bias=False)
    network.weight.grad = torch.tensor([[3.0, 4.0]])
    accelerator = Accelerator(cpu=True)
    assert float(clip_gradients(accelerator, network, GradientClip(1.0, 2.0))) == pytest.approx(5.0)
    torch.testing.assert_close(network.weight.grad, torch.tensor([[0.6, 0.8]]))


def test_leaving_after_errors__the_group_is_not_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    forgotten: list[object] = []
    monkeypatch.setattr(acceleration.atexit, "unregister", forgotten.append)
    with leaving_after_errors():
        pass
    assert not forgotten
    with pytest.raises(KeyboardInterrupt), leaving_after_errors():
        raise KeyboardInterrupt
    assert len(forgotten) == 1
