"""What the C library does with memory that is freed; of another library than glibc nothing is asked."""

import ctypes
import gc
import itertools
import os
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar('T')

_ARENA_MAX, _MMAP_MAX, _TRIM_THRESHOLD = -8, -4, -1  # Of glibc's malloc.h.
_MOST = 2**31 - 1


def keep_freed_memory() -> None:
    """Has the C library keep what is freed for the next to ask.

    By itself it gives large blocks back to the system at once, and gets them again page by page. TensorFlow allocates
    every tensor anew, so that a seventh of a training step's processor time went into that. What is kept lies in as
    many pools as there are processors, not in eight times as many, each with its own gaps.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, 'mallopt'):
        library.mallopt(_MMAP_MAX, 0)
        library.mallopt(_TRIM_THRESHOLD, _MOST)
        library.mallopt(_ARENA_MAX, len(os.sched_getaffinity(0)))


def give_back_freed_memory() -> None:
    """Gives what is kept back to the system, once, and what of Python's objects nobody needs any more."""
    gc.collect()
    library = ctypes.CDLL(None)
    if hasattr(library, 'malloc_trim'):
        library.malloc_trim(0)


def forgetting_its_making(step: Callable[..., T]) -> Callable[..., T]:
    """The step, but that after its first call, which traces and compiles it, what that had taken is given back."""
    numbers = itertools.count()

    def call(*arguments: Any) -> T:
        outcome = step(*arguments)
        if next(numbers) == 0:
            give_back_freed_memory()
        return outcome

    return call
