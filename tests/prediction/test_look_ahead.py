"""Order, bounds and the end of the threads."""

import threading
import time
from collections.abc import Iterator

import pytest

from modelscope_beit.prediction.look_ahead import map_ahead


def decoding_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("beit-decode")]


def test_map_ahead__keeps_the_order_though_later_items_finish_first() -> None:
    def slow_when_even(item: int) -> int:
        time.sleep(0.02 if item % 2 == 0 else 0)
        return item * item

    assert list(map_ahead(slow_when_even, range(30), workers=4, ahead=8)) == [item * item for item in range(30)]


def test_map_ahead__takes_no_more_items_than_allowed() -> None:
    taken = []

    def items() -> Iterator[int]:
        for item in range(1000):
            taken.append(item)
            yield item

    results = map_ahead(lambda item: item, items(), workers=2, ahead=5)
    for done in range(1, 100):
        next(results)
        assert len(taken) <= done + 4
    results.close()


def test_map_ahead__works_in_several_threads_at_once() -> None:
    meeting = threading.Barrier(3, timeout=10)
    assert list(map_ahead(lambda _: meeting.wait() >= 0, range(3), workers=3, ahead=3)) == [True] * 3


def test_map_ahead__ends_its_threads_when_closed_early() -> None:
    started = []
    results = map_ahead(started.append, range(1000), workers=3, ahead=20)
    next(results)
    assert decoding_threads()
    results.close()
    assert not decoding_threads()
    assert len(started) <= 20


def test_map_ahead__ends_its_threads_when_interrupted() -> None:
    def items() -> Iterator[int]:
        yield from range(10)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(map_ahead(str, items(), workers=2, ahead=4))
    assert not decoding_threads()


def test_map_ahead__raises_the_error_of_an_item_in_its_place() -> None:
    results = map_ahead(lambda item: 1 // item, [1, 1, 0, 1], workers=2, ahead=4)
    assert [next(results), next(results)] == [1, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert not decoding_threads()


def test_map_ahead__starts_nothing_before_the_first_result_is_asked_for() -> None:
    map_ahead(str, range(5), workers=2, ahead=2)
    assert not decoding_threads()
