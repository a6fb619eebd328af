"""Work beside the caller: a function of items, in one thread."""

import collections
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar('T')
U = TypeVar('U')

AHEAD = 4  # items that may wait


def in_background(function: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
    """`function` of the items in their order, in one thread beside whoever makes them.

    What it raises is raised here, where its result was due.
    """
    waiting: collections.deque = collections.deque()
    with ThreadPoolExecutor(1) as thread:
        for item in items:
            waiting.append(thread.submit(function, item))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
