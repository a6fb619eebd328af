"""The run directory and the stop signal of several workers: what one of them finds, all act on."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from deeplab_load.training.distribution import Distribution
from deeplab_load.training.durable import RunDirectory
from deeplab_load.training.stopping import StopSignal


class SharedRunDirectory(RunDirectory):
    """A run directory that only the chief reads and writes, for all workers, which call its methods in step.

    Label-map sets are the exception: every worker writes its shards and reads all, so that the folder must be one that
    all workers have.
    """

    def __init__(self, own: RunDirectory, distribution: Distribution):
        super().__init__(own.path)
        self._own, self._distribution = own, distribution

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the run directory for all workers."""
        with contextlib.ExitStack() as held:
            self._distribution.by_chief(lambda: held.enter_context(self._own.locked()))
            yield


def _by_chief(name: str) -> Callable:
    method = getattr(RunDirectory, name)

    def call(self: SharedRunDirectory, *args: Any, **kwargs: Any) -> Any:
        return self._distribution.by_chief(lambda: method(self._own, *args, **kwargs))

    call.__name__, call.__doc__ = name, method.__doc__
    return call


for _name in (
    'adopt_config', 'copy', 'is_fork_of', 'append', 'cut_events', 'begin', 'write_state', 'amend_state', 'read_state',
    'recover', 'has_snapshot', 'save_snapshot', 'read_snapshot', 'prune',
):  # fmt: skip
    setattr(SharedRunDirectory, _name, _by_chief(_name))


class SharedStopSignal(StopSignal):
    """Asked by one worker to stop, all workers stop, which look at it in step."""

    def __init__(self, distribution: Distribution):
        super().__init__()
        self._distribution = distribution

    @property
    def requested(self) -> bool:
        """Whether a signal came to any worker."""
        return bool(self._distribution.sum(np.array([self._caught], np.int64))[0])

    @requested.setter
    def requested(self, caught: bool) -> None:
        self._caught = caught
