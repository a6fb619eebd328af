"""What the C library does with memory that is freed."""

import ctypes

_MMAP_MAX, _TRIM_THRESHOLD = -4, -1  # Of glibc's malloc.h.
_MOST = 2**31 - 1


def keep_freed_memory() -> None:
    """Has the C library keep what is freed for the next to ask; of another than glibc nothing is asked.

    By itself it gives large blocks back to the system at once, and gets them again page by page. TensorFlow allocates
    every tensor anew, so that a seventh of a training step's processor time went into that.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, 'mallopt'):
        library.mallopt(_MMAP_MAX, 0)
        library.mallopt(_TRIM_THRESHOLD, _MOST)
