import dataclasses
from pathlib import Path

import pytest
import torch
from accelerate.utils import DistributedType

from modelscope_beit.errors import SettingsError
from modelscope_beit.training.acceleration import choose_precision, open_accelerator
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
