"""Facts are plain values; one of them is asked for numbers."""

import pytest

from rule_facts import facts


@pytest.mark.parametrize(("value", "count"), [(3, 3), (0, None), (-1, None), (True, None), (2.0, None), ("3", None)])
def test_given_count__whole_numbers_only(value: object, count: int | None) -> None:
    found = facts(given={"train.max_epochs": value})
    assert found.given_count("train.max_epochs") == count
    assert found.given_count("train.runner.max_iters") is None
