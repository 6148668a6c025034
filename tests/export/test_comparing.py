import numpy as np
import pytest

from modelscope_beit.export.comparing import Limits, Measured, limits_for, measure
from modelscope_beit.export.golden import Golden

IMAGES = np.arange(20 * 3 * 2 * 2, dtype=np.float32).reshape(20, 3, 2, 2)
LOGITS = np.random.default_rng(0).standard_normal((20, 5)).astype(np.float32)
GOLDEN = Golden(tuple(map(str, range(20))), IMAGES, LOGITS, IMAGES[:0], LOGITS[:0])


def answers(changed: np.ndarray, sizes: list[int] | None = None):
    """A session that knows its pictures by their first value, and notes the sizes of batches."""

    def session(images: np.ndarray) -> np.ndarray:
        if sizes is not None:
            sizes.append(len(images))
        return changed[(images[:, 0, 0, 0] // 12).astype(int)]

    return session


def test_measure__tells_the_largest_difference_and_equal_best_classes() -> None:
    changed = LOGITS.copy()
    changed[7, 2] -= 0.25
    changed[3] = np.roll(changed[3], 1)
    largest = max(0.25, np.abs(LOGITS[3] - changed[3]).max())
    sizes: list[int] = []
    (found,) = measure("torch.jit", answers(changed, sizes), GOLDEN)
    assert found.largest_difference == pytest.approx(largest)
    assert (found.agreement, found.pictures, found.size) == (0.95, 20, (2, 2))
    assert sizes == [1, 3, 16]


def test_measure__a_second_row_for_another_size() -> None:
    golden = Golden(GOLDEN.pictures, IMAGES, LOGITS, IMAGES[:4].repeat(2, axis=3), LOGITS[:4])
    found = measure("torch.jit", answers(LOGITS), golden)
    assert [(one.size, one.pictures) for one in found] == [((2, 2), 20), ((2, 4), 4)]


def test_is_within__refuses_what_is_not_finite() -> None:
    broken = LOGITS.copy()
    broken[0, 0] = np.nan
    (found,) = measure("torch.jit", answers(broken), GOLDEN)
    assert np.isnan(found.largest_difference) and not found.is_within(Limits(1e9, 0.0))


@pytest.mark.parametrize(
    ("difference", "agreement", "is_within"), [(0.1, 0.9, True), (0.11, 1.0, False), (0.0, 0.85, False)]
)
def test_is_within__both_limits_count(difference: float, agreement: float, is_within: bool) -> None:
    found = Measured("onnxruntime", "1", (2, 2), 20, difference, agreement)
    assert found.is_within(Limits(0.1, 0.9)) is is_within


def test_limits_for__are_a_share_of_the_spread_unless_one_is_given() -> None:
    assert limits_for(GOLDEN, "fp32", None) == Limits(pytest.approx(1e-4 * LOGITS.std()), 0.9)
    # GELU's approximation by tanh moves the logits of base by more.
    assert limits_for(GOLDEN, "fp32", None).tolerance < 4.8e-4 / 2.6
    assert limits_for(GOLDEN, "int8", 3.0) == Limits(3.0, 0.0)
