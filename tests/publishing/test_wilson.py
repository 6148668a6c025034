"""The interval against SciPy's."""

import pytest
from scipy.stats import binomtest

from modelscope_beit.publishing.wilson import CONFIDENCE, wilson_interval


@pytest.mark.parametrize(("hits", "pictures"), [(0, 1), (1, 1), (0, 10), (7, 9), (9129, 10000), (50, 50), (1, 3)])
def test_wilson_interval__is_that_of_scipy(hits: int, pictures: int) -> None:
    expected = binomtest(hits, pictures).proportion_ci(CONFIDENCE, method="wilson")
    assert wilson_interval(hits, pictures) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(("hits", "pictures"), [(0, 0), (-1, 3), (4, 3)])
def test_wilson_interval__refuses_impossible_counts(hits: int, pictures: int) -> None:
    with pytest.raises(ValueError, match=f"got {hits} of {pictures}"):
        wilson_interval(hits, pictures)
