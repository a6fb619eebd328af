"""Stopping a run on SIGTERM or SIGINT at a place from which it can go on."""

import signal
import types


class Stopped(Exception):
    """The run was asked to stop; what is durable is enough to go on."""


class StopSignal:
    """Remembers that SIGTERM or SIGINT came; `check` turns that into `Stopped` between two steps."""

    def __init__(self) -> None:
        self.requested = False

    def listen(self) -> None:
        """Catches the signals from now on; a second one ends the process at once."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: types.FrameType | None) -> None:
        del frame
        self.requested = True
        signal.signal(number, signal.SIG_DFL)

    def check(self) -> None:
        """Raises Stopped if a signal came."""
        if self.requested:
            raise Stopped
