"""How steps are divided: what is wanted, what fits, what the user has set."""

from typing import Any

import pytest

from modelscope_beit.recipe_rules.batches import Division, divide, division_choices, pictures_that_fit
from rule_facts import DEVICE, facts


@pytest.mark.parametrize(
    ("wanted", "changes", "size", "accumulation"),
    [
        (512, {}, 512, 1),
        (512, {"num_processes": 2}, 256, 1),
        (512, {"free_bytes": 125}, 86, 6),
        (512, {"free_bytes": 125, "num_processes": 8}, 64, 1),
        (512, {"num_train": 10}, 10, 1),
        (64, {"free_bytes": 0}, 1, 64),
        (64, {"free_bytes": None}, 32, 2),
        (512, {"given": {"train.dataloader.batch_size_per_gpu": 100}}, 100, 5),
        (512, {"given": {"train.optimizer_config.cumulative_iters": 2}}, 256, 2),
        (512, {"given": {"train.dataloader.batch_size_per_gpu": "many"}}, 512, 1),
    ],
)
def test_divide__fits_and_keeps_what_is_given(
    wanted: int, changes: dict[str, Any], size: int, accumulation: int
) -> None:
    found = divide(wanted, facts(**changes))
    assert (found.size, found.accumulation) == (size, accumulation)


def test_pictures_that_fit__larger_pictures_take_more() -> None:
    assert pictures_that_fit(DEVICE) == 1000
    assert pictures_that_fit(DEVICE, (64, 32)) == 500
    assert pictures_that_fit(DEVICE, (320, 3200)) == 1


@pytest.mark.parametrize("num_train", [1, 63, 64, 65, 1000])
@pytest.mark.parametrize(("size", "accumulation", "processes"), [(8, 1, 1), (8, 3, 1), (8, 2, 2)])
def test_division__counts_as_the_loop_does(num_train: int, size: int, accumulation: int, processes: int) -> None:
    """An iteration is a batch of all processes, a step as many of them as accumulate, none spans two epochs."""
    division = Division(size, accumulation, processes, num_train)
    batches = [min(size * processes, num_train - start) for start in range(0, num_train, size * processes)]
    groups = [batches[start : start + accumulation] for start in range(0, len(batches), accumulation)]
    assert division.iterations_per_epoch == len(batches)
    assert division.steps_per_epoch == len(groups)
    assert division.per_step == max(map(sum, groups))
    for steps in (1, 2, 7, 30):
        over_and_over = [len(groups[step % len(groups)]) for step in range(steps)]
        assert division.iterations(steps) == sum(over_and_over)


def test_division_choices__tell_the_sum() -> None:
    size, accumulation = division_choices(Division(64, 4, 2, 10_000), "because", DEVICE, 70)
    assert size.reason == "because: 512 = 64 a batch x 2 processes x 4 batches a step"
    assert (size.value, accumulation.value) == (64, 4)
    assert "70 pictures at once fit a device" in accumulation.reason
