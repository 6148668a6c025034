"""Opens Accelerate for a run: device, precision, processes. Nothing else decides where a step runs."""

import atexit
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import torch
import torch.distributed
from accelerate import Accelerator, DistributedDataParallelKwargs, GradScalerKwargs
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin
from torch import Tensor, nn

from modelscope_beit.errors import SettingsError
from modelscope_beit.network.blocks import Block
from modelscope_beit.network.device import find_device
from modelscope_beit.settings.optimizer_step import GradientClip
from modelscope_beit.training.sharded_state import whole

_logger = logging.getLogger(__name__)
_ACCELERATE_NAMES = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Computation(Protocol):
    """What a recipe says about where and how precisely it is computed; see settings.recipe.Recipe."""

    @property
    def device(self) -> str: ...  # noqa: D102

    @property
    def precision(self) -> str: ...  # noqa: D102

    @property
    def loss_scale(self) -> float | None: ...  # noqa: D102

    @property
    def find_unused_parameters(self) -> bool: ...  # noqa: D102


def open_accelerator(recipe: Computation) -> Accelerator:
    """Returns the Accelerator of a run; under torchrun or `accelerate launch`, one of several.

    Raises SettingsError for a device that is not there, and for options of FSDP that would spoil the training.
    """
    device = find_device(recipe.device)
    if device.type == "cuda" and device.index is not None and "LOCAL_RANK" not in os.environ:
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
    accelerator = Accelerator(
        mixed_precision=_ACCELERATE_NAMES[precision],
        cpu=device.type == "cpu",
        kwargs_handlers=handlers,
        fsdp_plugin=_sharding(precision),
        # The schedule counts iterations of all processes together, as mmcv does.
        step_scheduler_with_optimizer=False,
    )
    if _wants_shards() and not is_sharded(accelerator) and accelerator.is_main_process:
        _logger.warning("FSDP needs several GPUs; each process keeps the whole network.")
    # NCCL complains about groups that nobody has ended.
    atexit.register(_end_processes)
    return accelerator


def prepare_network(
    accelerator: Accelerator, classifier: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[nn.Module, Any]:
    """Returns the network and the optimizer for all processes, on the device."""
    with warnings.catch_warnings():
        # torch 2.15 has another word for broadcast_buffers; Accelerate and older versions of torch do not know it.
        warnings.filterwarnings("ignore", message=".*broadcast_buffers.*", category=FutureWarning)
        network, prepared = accelerator.prepare(classifier, optimizer)
    if is_sharded(accelerator):
        # Elsewhere Accelerate does so itself. The loss needs float32.
        network.register_forward_hook(lambda module, images, logits: logits.float())
    return network, prepared


def clip_gradients(accelerator: Accelerator, network: nn.Module, clip: GradientClip) -> Tensor:
    """Scales the gradients down to the norm that is allowed and returns the one that they had."""
    return whole(accelerator.clip_grad_norm_(network.parameters(), clip.max_norm, clip.norm_type))


def is_sharded(accelerator: Accelerator) -> bool:
    """Tells whether each process keeps a part of the network only (FSDP)."""
    return accelerator.distributed_type == DistributedType.FSDP


@contextmanager
def leaving_after_errors() -> Iterator[None]:
    """Lets this process end at once after an error in the block: others may wait for it, so it must not for them."""
    try:
        yield
    except BaseException:
        atexit.unregister(_end_processes)
        raise


def _end_processes() -> None:
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _wants_shards() -> bool:
    # What `accelerate launch --use_fsdp` tells its processes.
    return os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


def _sharding(precision: str) -> FullyShardedDataParallelPlugin | None:
    """Returns how FSDP divides the network: block by block. None: it was not asked for."""
    if not _wants_shards():
        return None
    # Deferred: it takes half a second to import, and runs without FSDP never need it.
    from torch.distributed.fsdp import MixedPrecisionPolicy

    if os.environ.get("FSDP_ACTIVATION_CHECKPOINTING", "false").lower() == "true":
        raise SettingsError(
            "FSDP's activation checkpointing was asked for, but it would drop other paths when it computes again. "
            "Leave it out and set model.mm_model.backbone.with_cp=True, which draws the same."
        )
    if os.environ.get("FSDP_VERSION") == "1" and os.environ.get("RANK", "0") == "0":
        _logger.warning("FSDP version 2 takes the place of version 1: the same numbers; files have ordinary names.")
    return FullyShardedDataParallelPlugin(
        fsdp_version=2,
        reshard_after_forward=os.environ.get("FSDP_RESHARD_AFTER_FORWARD", "true").lower() != "false",
        auto_wrap_policy="TRANSFORMER_BASED_WRAP",
        transformer_cls_names_to_wrap=[Block.__name__],
        mixed_precision_policy=MixedPrecisionPolicy(param_dtype=_DTYPES.get(precision), reduce_dtype=torch.float32),
        # Every process has read the start weights anyway.
        cpu_ram_efficient_loading=False,
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
