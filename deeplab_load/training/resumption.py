"""Trainings that go on where they were killed: any loop over variables and counters."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from deeplab_load.errors import UserError
from deeplab_load.training.durable import RunDirectory
from deeplab_load.training.stopping import Stopped, StopSignal


class Variable(Protocol):
    """A Keras or a TensorFlow variable."""

    def numpy(self) -> np.ndarray:
        """Gives the value."""

    def assign(self, value: Any) -> Any:
        """Sets the value."""


def numbered(prefix: str, variables: Sequence[Variable]) -> dict[str, Variable]:
    """Names variables by their places in a list: those of a model, of an optimiser."""
    return {f'{prefix}/{place:04d}': variable for place, variable in enumerate(variables)}


class Resumption:
    """What one training loop needs to go on: every variable that its steps change, and its counters.

    The loop asks `restore` for the counters and tells `step_done` after every step. A batch is a function of its number
    and the learning rate one of the step, so that nothing else is state. Every `save_every` steps, and where the run is
    asked to stop, the variables become a snapshot `<title>-step-<step>`, which the run directory's state names until
    the loop's successor writes a state without it.
    """

    def __init__(
        self, run: RunDirectory, title: str, variables: Mapping[str, Variable], *, save_every: int, stop: StopSignal
    ):
        self.run, self.title, self.variables = run, title, variables
        self.save_every, self.stop = save_every, stop

    def restore(self) -> dict[str, Any]:
        """Sets the variables to what was stored last and returns its counters; empty where nothing was stored."""
        stored = self.run.read_state().get('training')
        if not stored or stored['title'] != self.title:
            return {}
        values = self.run.read_snapshot(stored['snapshot'])
        for name, variable in self.variables.items():
            variable.assign(values[name])
        return stored['counters']

    def step_done(self, step: int, counters: dict[str, Any]) -> None:
        """Stores the training after its `step`-th step if it is due.

        Args:
          step: steps done since the training began.
          counters: JSON values, handed out by `restore`.

        Raises:
          Stopped: the run was asked to stop; this step is stored.
          UserError: a value is not finite; it is not stored.
        """
        asked = self.stop.requested
        if asked or step % self.save_every == 0:
            self._save(step, counters)
        if asked:
            raise Stopped

    def _save(self, step: int, counters: dict[str, Any]) -> None:
        snapshot = f'{self.title}-step-{step}'
        values = {name: np.asarray(v.numpy()) for name, v in self.variables.items()}
        if not all(np.isfinite(value).all() for value in values.values()):
            raise UserError(f'A weight is not finite after step {step} of {self.title}; lower its learning rate.')
        self.run.save_snapshot(snapshot, values)
        record = self.run.read_state()
        before = record.get('training', {}).get('snapshot')
        training = {'title': self.title, 'step': step, 'snapshot': snapshot, 'counters': counters}
        needed = [name for name in record['snapshots'] if name != before]
        self.run.write_state({**record, 'training': training}, snapshots=[*needed, snapshot], sets=record['sets'])


def copies(variables: Sequence[Variable]) -> list[tf.Variable]:
    """Variables of the same values, to keep those of the best epoch in."""
    return [tf.Variable(v.numpy(), trainable=False) for v in variables]
