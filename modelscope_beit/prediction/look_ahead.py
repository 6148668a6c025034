"""Work done in threads a little ahead of whoever takes the results. Standard library only."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], *, workers: int, ahead: int
) -> Generator[Result, None, None]:
    """Yields function(item) of every item, in order, while threads work on the next ones.

    ahead: how many results may be under way or waiting, so also how many items are taken early.
    An error of the function is raised where its result would be, and ends the iteration, as does an error of the
    items' own iterator. However it ends, by close() or Ctrl-C too, what has not begun never begins and the threads
    are gone when it has ended.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="beit-decode")
    remaining = iter(items)
    waiting: deque[Future[Result]] = deque()
    try:
        while True:
            for item in islice(remaining, ahead - len(waiting)):
                waiting.append(pool.submit(function, item))
            if not waiting:
                return
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
