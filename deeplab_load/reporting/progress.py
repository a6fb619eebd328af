"""Progress bars with throughput and time left; silent where the output is no terminal."""

from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

import tqdm

from deeplab_load.errors import printable

T = TypeVar('T')


def progress(items: Iterable[T], title: str, *, total: int | None = None, unit: str = 'step') -> Iterator[T]:
    """Passes `items` on while a bar shows how many there were, how fast, and how long it will take yet.

    `total` is taken from `items` where they know their number.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    yield from tqdm.tqdm(items, desc=title, total=total, unit=unit, disable=None, leave=False, dynamic_ncols=True)


def say(words: str = '') -> None:
    """Prints lines without breaking a bar; what a name in them may hold to steer a terminal is escaped."""
    tqdm.tqdm.write('\n'.join(map(printable, words.split('\n'))))
