import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from modelscope_beit.errors import ImageError, SettingsError
from modelscope_beit.plugin.batching import answers, check_count, passes


@pytest.mark.parametrize(("batch_size", "sizes"), [(None, [1] * 5), (1, [1] * 5), (2, [2, 2, 1]), (9, [5])])
def test_answers__come_in_order_in_batches(batch_size: int | None, sizes: list[int]) -> None:
    seen: list[int] = []

    def answer(batch: list[int]) -> Iterator[str]:
        seen.append(len(batch))
        return (str(value) for value in batch)

    found = list(answers(range(5), batch_size, lambda value: 10 * value, answer))
    assert found == ["0", "10", "20", "30", "40"] and seen == sizes


def test_answers__without_batch_size_read_nothing_ahead() -> None:
    read: list[int] = []
    stream = answers(iter(range(5)), None, lambda value: read.append(value) or value, lambda batch: batch)  # type: ignore[func-returns-value]
    assert next(stream) == 0 and read == [0]


def test_answers__prepare_in_threads_that_end_with_the_stream() -> None:
    names = set()

    def prepare(value: int) -> int:
        names.add(threading.current_thread().name)
        return value

    stream = answers(range(100), 2, prepare, lambda batch: batch)
    assert next(stream) == 0
    stream.close()  # type: ignore[attr-defined]
    assert threading.current_thread().name not in names
    assert not [thread for thread in threading.enumerate() if thread.name in names]


@pytest.mark.parametrize("batch_size", [None, 4])
def test_answers__name_the_place_of_a_picture_that_cannot_be_read(batch_size: int | None) -> None:
    def prepare(value: int) -> int:
        if value == 2:
            raise ImageError("x.jpg: is empty.")
        return value

    with pytest.raises(ImageError, match=r"Picture 2 of the input, counting from 0: x.jpg: is empty\."):
        list(answers(range(5), batch_size, prepare, lambda batch: batch))


def test_passes__join_what_has_one_size() -> None:
    same, other = torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 8)
    assert [tuple(images.shape) for images in passes([same, same])] == [(2, 3, 4, 4)]
    assert [tuple(images.shape) for images in passes([same, other])] == [(1, 3, 4, 4), (1, 3, 4, 8)]


@pytest.mark.parametrize("value", [0, -1, True, 2.0, "3", None])
def test_check_count__refuses(value: object) -> None:
    with pytest.raises(SettingsError, match="batch_size must be a whole number of at least 1"):
        check_count("batch_size", value)


def test_check_count__passes_numbers_of_numpy() -> None:
    check_count("batch_size", np.int64(3))
