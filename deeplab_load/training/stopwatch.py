"""Seconds that a run spends in each of its phases."""

import contextlib
import time
from collections.abc import Iterator, Mapping


class Stopwatch:
    """Adds up the wall-clock seconds of phases; nothing but the report reads them."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def start_from(self, seconds: Mapping[str, float]) -> None:
        """Goes on from what an earlier process had added up."""
        self.seconds = dict(seconds)

    @contextlib.contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Times a phase; one that raises does not count, as its work is undone."""
        began = time.monotonic()
        yield
        self.seconds[phase] = round(self.seconds.get(phase, 0.0) + time.monotonic() - began, 3)
