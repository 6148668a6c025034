"""How many pictures make a step, and in how many pieces each process computes them. Standard library only."""

import math
from dataclasses import dataclass

from modelscope_beit.recipe_rules.facts import Choice, DeviceFacts, Facts

BATCH_SIZE = "train.dataloader.batch_size_per_gpu"
ACCUMULATION = "train.optimizer_config.cumulative_iters"
# The estimate is a formula, and others use the memory too.
_USABLE_SHARE = 0.8
_GIB = 2**30


@dataclass(frozen=True)
class Division:
    """The pictures of a step. size: of the batch of a process; accumulation: such batches a step."""

    size: int
    accumulation: int
    num_processes: int
    num_train: int

    @property
    def per_step(self) -> int:
        """Pictures of a step; a step never has more than there are, because it never spans the end of an epoch."""
        return min(self.size * self.accumulation * self.num_processes, self.num_train)

    @property
    def iterations_per_epoch(self) -> int:
        """Batches of the loader in an epoch."""
        return -(-self.num_train // (self.size * self.num_processes))

    @property
    def steps_per_epoch(self) -> int:
        """Steps of the optimizer in an epoch."""
        return -(-self.iterations_per_epoch // self.accumulation)

    def iterations(self, steps: int) -> int:
        """Returns how many iterations make so many steps."""
        epochs, rest = divmod(steps, self.steps_per_epoch)
        return epochs * self.iterations_per_epoch + min(rest * self.accumulation, self.iterations_per_epoch)


def divide(wanted: int, facts: Facts, picture_size: tuple[int, int] | None = None) -> Division:
    """Returns how a step of so many pictures is computed: at once in each process, or in pieces that fit.

    picture_size: (height, width) in pixels that the network will get; None: what was measured. What the user has set
    stays.
    """
    device, given = facts.device, facts.given_count(BATCH_SIZE)
    accumulation = facts.given_count(ACCUMULATION)
    per_process = max(1, -(-min(wanted, facts.data.num_train) // device.num_processes))
    if given is not None:
        size = given
        accumulation = accumulation or max(1, round(per_process / size))
    else:
        accumulation = accumulation or -(-per_process // pictures_that_fit(device, picture_size))
        size = -(-per_process // accumulation)
    return Division(size, accumulation, device.num_processes, facts.data.num_train)


def pictures_that_fit(device: DeviceFacts, picture_size: tuple[int, int] | None = None) -> int:
    """Returns how many pictures a process can compute at once, at least 1; picture_size: as for divide."""
    if device.free_bytes is None or device.bytes_per_picture <= 0:
        # Without an estimate: what fits a network of base's size on small GPUs.
        return 32
    room = _USABLE_SHARE * device.free_bytes - device.fixed_bytes
    # Convolutions, which alone take other sizes, keep as much for each pixel.
    growth = 1.0 if picture_size is None else math.prod(picture_size) / math.prod(device.measured_size)
    return max(1, int(room // (device.bytes_per_picture * growth)))


def division_choices(division: Division, wanted_reason: str, device: DeviceFacts, fit: int) -> list[Choice]:
    """Returns batch size and accumulation. wanted_reason: why a step has so many pictures. fit: as many fit at once."""
    parts = [f"{division.size} a batch"]
    parts += [f"{division.num_processes} processes"] if division.num_processes > 1 else []
    parts += [f"{division.accumulation} batches a step"] if division.accumulation > 1 else []
    memory = "unknown memory" if device.free_bytes is None else f"{device.free_bytes / _GIB:.1f} GiB free"
    return [
        Choice(BATCH_SIZE, division.size, f"{wanted_reason}: {division.per_step} = {' x '.join(parts)}"),
        Choice(ACCUMULATION, division.accumulation, f"about {fit:,} pictures at once fit {device.name} ({memory})"),
    ]
