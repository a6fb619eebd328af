"""What TensorFlow and the C library do with memory that is freed; of another library than glibc nothing is asked."""

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
    """Has TensorFlow and the C library keep what is freed for the next to ask; before TensorFlow makes its devices.

    By itself TensorFlow asks the C library for every tensor on a CPU anew. Large blocks are given back to the system at
    once and fetched again page by page, a seventh of a training step's processor time; or, kept by the C library, they
    lie with gaps between, by which a step of D grew by a third more. So tensors come from one pool of TensorFlow's
    (BFC); with oneDNN too, in place of its own, which takes blocks of 256 kB and more alone.

    The pool may grow to the machine's memory, beyond which operations wait for ten seconds and fail. The environment
    variables TF_CPU_ALLOCATOR_USE_BFC and TF_CPU_BFC_MEM_LIMIT_IN_MB go first. What the C library keeps of all else
    lies in as many pools as there are processors, not in eight times as many.
    """
    megabytes = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') >> 20
    os.environ.setdefault('TF_CPU_ALLOCATOR_USE_BFC', 'true')
    os.environ.setdefault('TF_CPU_BFC_MEM_LIMIT_IN_MB', str(megabytes))
    library = ctypes.CDLL(None)
    if hasattr(library, 'mallopt'):
        library.mallopt(_MMAP_MAX, 0)
        library.mallopt(_TRIM_THRESHOLD, _MOST)
        library.mallopt(_ARENA_MAX, len(os.sched_getaffinity(0)))


def give_back_freed_memory() -> None:
    """Gives what the C library keeps back to the system, once, and what of Python's objects nobody needs any more."""
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
