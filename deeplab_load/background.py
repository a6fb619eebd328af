"""Work beside the caller: a function of items, in other threads."""

import collections
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar('T')
U = TypeVar('U')

AHEAD = 4  # items that may wait


def in_background(function: Callable[[T], U], items: Iterable[T], *, threads: int = 1) -> Iterator[U]:
    """`function` of the items in their order, in threads beside whoever makes them.

    What it raises is raised here, where its result was due.
    """
    waiting: collections.deque = collections.deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
