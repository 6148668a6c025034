import numpy as np
import pytest

from modelscope_beit.errors import SettingsError
from modelscope_beit.evaluation.outcomes import Outcomes, joined


def part(*indices: int, scores: bool = False) -> Outcomes:
    """Outcomes in which everything is made of the index, so that mixing up rows shows."""
    index = np.array(indices, np.int64)
    return Outcomes(
        indices=index,
        labels=np.stack([index % 2, index % 3], axis=1).astype(np.int8) if scores else index % 3,
        top_classes=np.stack([index % 3, (index + 1) % 3], axis=1).astype(np.int32),
        top_scores=np.stack([index / 100, index / 200], axis=1).astype(np.float32),
        label_scores=(index / 300).astype(np.float32),
        label_ranks=(index % 3).astype(np.int32),
        class_names=("a", "b", "c"),
        scores=np.stack([index, -index], axis=1).astype(np.float32) if scores else None,
    )


@pytest.mark.parametrize("is_multi_label", [False, True])
def test_joined__is_ordered_by_index(is_multi_label):
    together = joined([part(0, 2, 4, scores=is_multi_label), part(1, 3, scores=is_multi_label)])
    whole = part(0, 1, 2, 3, 4, scores=is_multi_label)
    assert len(together) == 5 and together.num_classes == 3
    assert together.is_multi_label is is_multi_label
    for name, expected in vars(whole).items():
        if isinstance(expected, np.ndarray):
            value = getattr(together, name)
            np.testing.assert_array_equal(value, expected)
            assert value.dtype == expected.dtype


def test_joined__a_part_may_be_empty():
    assert joined([part(), part(5, 1)]).indices.tolist() == [1, 5]


def test_joined__no_picture_counts_twice():
    with pytest.raises(AssertionError, match="twice"):
        joined([part(0, 1), part(1, 2)])


@pytest.mark.parametrize("parts", [[], [part(), part()]])
def test_joined__nothing_is_an_error(parts):
    with pytest.raises(SettingsError, match="nothing to evaluate"):
        joined(parts)
