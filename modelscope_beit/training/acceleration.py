"""Opens Accelerate for a run: device, precision, processes. Nothing else decides where a step runs."""

import logging

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, GradScalerKwargs
from accelerate.state import AcceleratorState

from modelscope_beit.network.device import find_device
from modelscope_beit.settings.recipe import Recipe

_logger = logging.getLogger(__name__)
_ACCELERATE_NAMES = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


def open_accelerator(recipe: Recipe) -> Accelerator:
    """Returns the Accelerator of a run; under torchrun or `accelerate launch`, one of several.

    Raises SettingsError for a device that is not there.
    """
    device = find_device(recipe.device)
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    # Accelerate keeps its state for the whole process; a second run may want another precision or device.
    AcceleratorState._reset_state(reset_partial_state=True)
    handlers: list[object] = [
        DistributedDataParallelKwargs(
            broadcast_buffers=False,
            gradient_as_bucket_view=True,
            find_unused_parameters=recipe.find_unused_parameters,
        )
    ]
    if recipe.precision == "fp16" and recipe.loss_scale is not None:
        # As good as fixed: it never grows, and an overflow hardly lowers it.
        handlers.append(
            GradScalerKwargs(init_scale=recipe.loss_scale, growth_interval=2**31 - 1, backoff_factor=0.9999999)
        )
    precision = choose_precision(recipe.precision, device)
    return Accelerator(
        mixed_precision=_ACCELERATE_NAMES[precision],
        cpu=device.type == "cpu",
        kwargs_handlers=handlers,
        # The schedule counts iterations of all processes together, as mmcv does.
        step_scheduler_with_optimizer=False,
    )


def choose_precision(wanted: str, device: torch.device) -> str:
    """Returns "fp32", "bf16" or "fp16": what is wanted, if the device computes in it.

    wanted: also "auto", which is bf16 where the hardware has it and fp32 elsewhere. float16 needs a GPU; on a
    processor fp32 takes its place, and the log says so.
    """
    if wanted == "auto":
        return "bf16" if _has_bf16(device) else "fp32"
    if wanted == "fp16" and device.type == "cpu":
        _logger.warning("float16 training needs a GPU; float32 is used on the processor.")
        return "fp32"
    return wanted


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # torch has no public question for this before 2.9 (torch.cpu.get_capabilities).
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
