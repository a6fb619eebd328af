"""On which devices and machines a run computes: slices of batches, sums over replicas, and agreement of the workers.

Every worker is a process that runs the whole job in step with the others; the first of them is the chief, who alone
writes the run directory's states, snapshots and events.
"""

import contextlib
import json
import logging
import os
import pickle
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf

from deeplab_load.allocation import forgetting_its_making
from deeplab_load.data.batches import shares
from deeplab_load.errors import UserError
from deeplab_load.reporting.progress import say
from deeplab_load.training.devices import Devices

T = TypeVar('T')

# What TensorFlow's collectives raise where another worker has gone, at once or after ten seconds of silence.
_GONE = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)


class Distribution:
    """One device: a step is taken as it is, and there is nobody to agree with.

    Attributes:
      replicas: slices that a batch is cut into, over all workers.
      workers: processes; `worker` is the number of this one, and 0 is the chief.
    """

    replicas, workers, worker = 1, 1, 0

    @property
    def chief(self) -> bool:
        """Whether this process writes what is written once."""
        return self.worker == 0

    @property
    def part(self) -> tuple[int, int]:
        """The part of every batch that this worker reads, as `data.batches` takes it: its number and of how many."""
        return self.worker, self.workers

    def scope(self) -> contextlib.AbstractContextManager:
        """Within it the variables of models and optimisers are made."""
        return contextlib.nullcontext()

    def replicated(self, step: Callable[..., T]) -> Callable[..., T]:
        """A step of this worker's part of a batch, from one of a replica's slice.

        Arguments are tensors `[part, ...]`, or dicts of them, which are sliced, and scalars, which are not. What a
        step returns must be the same on all replicas. What its first call takes to trace and compile it is given back.
        """
        return forgetting_its_making(step)

    def mapped(self, function: Callable[[tf.Tensor], tf.Tensor], signature: tf.TensorSpec) -> Callable:
        """Traces a function from a batch to a tensor with a row for each of its own; workers do not wait for others."""
        return tf.function(function, input_signature=[signature])

    def by_chief(self, work: Callable[[], T]) -> T:
        """What `work` gives, or the UserError that it raises, on the chief, for every worker."""
        return work()

    def chief_first(self, work: Callable[[], T]) -> T:
        """What `work` gives on this worker, once the chief has done it."""
        return work()

    def sum(self, counts: np.ndarray) -> np.ndarray:
        """Adds int64 counts up over the workers."""
        return counts

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Tells in one sentence that another worker has gone; raises UserError."""
        yield


ONE_DEVICE = Distribution()


class Replicas(Distribution):
    """Several devices of this machine, by a strategy of `tf.distribute`."""

    def __init__(self, strategy: tf.distribute.Strategy):
        self.strategy = strategy
        self.replicas = strategy.num_replicas_in_sync
        self.local = len(strategy.extended.worker_devices)  # Replicas of this worker.
        tf.get_logger().addFilter(_is_no_retracing)

    def scope(self) -> contextlib.AbstractContextManager:
        """The strategy's."""
        return self.strategy.scope()

    def replicated(self, step: Callable[..., T]) -> Callable[..., T]:
        """A step of this worker's part of a batch, from one of a replica's slice."""

        def run(*arguments: Any) -> T:
            outcome = self.strategy.run(step, [self._sliced(argument) for argument in arguments])
            return tf.nest.map_structure(lambda value: self.strategy.experimental_local_results(value)[0], outcome)

        return super().replicated(run)

    def mapped(self, function: Callable[[tf.Tensor], tf.Tensor], signature: tf.TensorSpec) -> Callable:
        """As on one device, but that each device of this worker computes the rows of a slice."""
        alone = super().mapped(function, signature)
        if self.local == 1:
            return alone

        @tf.function(input_signature=[signature] * self.local)
        def together(*slices: tf.Tensor) -> tf.Tensor:
            outcome = self.strategy.run(function, [self._handed_out(slices)])
            return tf.concat(self.strategy.experimental_local_results(outcome), axis=0)

        return lambda batch: together(*self._slices(batch)) if len(batch) >= self.local else alone(batch)

    def _sliced(self, argument: Any) -> Any:
        """An argument of a step as the replicas of this worker get it."""
        if self.local == 1:
            return argument
        if isinstance(argument, dict):
            columns = {name: self._slices(values) for name, values in argument.items()}
            return self._handed_out([{name: c[i] for name, c in columns.items()} for i in range(self.local)])
        return self._handed_out(self._slices(argument))

    def _slices(self, values: tf.Tensor) -> list[tf.Tensor]:
        if not values.shape.rank:
            return [values] * self.local
        return [values[first:last] for first, last in shares(len(values), self.local)]

    def _handed_out(self, slices: Sequence[Any]) -> Any:
        return self.strategy.experimental_distribute_values_from_function(
            lambda context: slices[context.replica_id_in_sync_group % self.local]
        )


class Workers(Replicas):
    """The devices of several workers, each of which runs the job in step with the others."""

    def __init__(self, strategy: tf.distribute.Strategy, worker: int, workers: int):
        super().__init__(strategy)
        self.worker, self.workers = worker, workers
        self._sum = tf.function(self._add_up, input_signature=[tf.TensorSpec([None], tf.int64)])

    def by_chief(self, work: Callable[[], T]) -> T:
        """What `work` gives, or the UserError that it raises, on the chief, for every worker."""
        message = b''
        if self.chief:
            try:
                message = pickle.dumps((work(), ''))
            except UserError as error:
                message = pickle.dumps((None, str(error)))
        value, mistake = pickle.loads(self._broadcast(message))
        if mistake:
            raise UserError(mistake)
        return value

    def chief_first(self, work: Callable[[], T]) -> T:
        """What `work` gives on this worker, once the chief has done it."""
        done = []
        self.by_chief(lambda: done.append(work()))
        return done[0] if done else work()

    def sum(self, counts: np.ndarray) -> np.ndarray:
        """Adds int64 counts up over the workers."""
        return self._sum(counts.ravel()).numpy().reshape(counts.shape)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Tells in one sentence that another worker has gone; raises UserError."""
        try:
            yield
        except _GONE as error:
            raise UserError(
                f'Another worker has stopped or cannot be reached, so worker {self.worker} stops too; start all of '
                'them again with the same command, and the run goes on.'
            ) from error

    def _add_up(self, values: tf.Tensor) -> tf.Tensor:
        def add() -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            first = context.replica_id_in_sync_group % self.local == 0
            return context.all_reduce(tf.distribute.ReduceOp.SUM, values if first else tf.zeros_like(values))

        return self.strategy.experimental_local_results(self.strategy.run(add))[0]

    def _broadcast(self, message: bytes) -> bytes:
        """The chief's message; the others' are empty."""
        size = int(self.sum(np.array([len(message)], np.int64))[0])
        padded = np.zeros(-(-size // 8), np.int64)
        padded.view(np.uint8)[: len(message)] = np.frombuffer(message, np.uint8)
        return self.sum(padded).tobytes()[:size]


def open_distribution(devices: Devices) -> Distribution:
    """The devices that the options ask for; several machines must all have come here before any goes on.

    Raises:
      UserError: there are not so many devices, or TF_CONFIG names no workers.
    """
    if devices.strategy == 'mirrored':
        return Replicas(tf.distribute.MirroredStrategy(_local_devices(devices.replicas)))
    if devices.strategy == 'multi_worker':
        return Workers(*_joined())
    return ONE_DEVICE


def _is_no_retracing(record: logging.LogRecord) -> bool:
    """False for a warning that is wrong here: TensorFlow counts the traces of all steps as those of one function."""
    return 'triggered tf.function retracing' not in record.getMessage()


def _local_devices(number: int) -> list[str]:
    gpus = tf.config.list_physical_devices('GPU')
    if gpus:
        if number > len(gpus):
            raise UserError(f'--replicas={number}, but this machine has {len(gpus)} GPUs; give at most so many.')
        return [f'GPU:{i}' for i in range(number or len(gpus))]
    if not number:
        raise UserError('--strategy=mirrored finds no GPU; give --replicas to split the CPUs.')
    (cpu,) = tf.config.list_physical_devices('CPU')
    if len(tf.config.get_logical_device_configuration(cpu) or ()) < number:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * number)
    return [f'CPU:{i}' for i in range(number)]


def _joined() -> tuple[tf.distribute.Strategy, int, int]:
    worker, workers = _place()
    say(f'Worker {worker} waits until all {workers} have started.')
    sys.stdout.flush()
    # Meanwhile no handler of Python's would run: without one Ctrl-C ends the process.
    handler = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        return tf.distribute.MultiWorkerMirroredStrategy(), worker, workers
    except tf.errors.OpError as error:
        raise UserError(
            f'The {workers} workers of TF_CONFIG do not come together: worker {worker} says '
            f'{str(error.message).splitlines()[0]!r}; start all of them, each at its own free address.'
        ) from error
    finally:
        signal.signal(signal.SIGINT, handler)


def _place() -> tuple[int, int]:
    """The number of this worker and of how many, by the environment variable TF_CONFIG."""
    advice = 'give TF_CONFIG={"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}'
    given = os.environ.get('TF_CONFIG', '')

    def lost(fault: str) -> UserError:
        return UserError(f'--strategy=multi_worker does not find its place among the workers: {fault}; {advice}.')

    try:
        config = json.loads(given)
        cluster, task = config['cluster'], config['task']
        if unlisted := [kind for kind in ('chief', 'worker') if not isinstance(cluster.get(kind, []), list)]:
            raise lost(f'the {unlisted[0]} of TF_CONFIG is no list')
        order = [(kind, i) for kind in ('chief', 'worker') for i in range(len(cluster.get(kind, ())))]
        place = order.index((task['type'], int(task['index'])))
    except json.JSONDecodeError as error:
        raise lost(f'the environment variable TF_CONFIG is {"no JSON" if given else "not set"}') from error
    except KeyError as error:
        raise lost(f'the environment variable TF_CONFIG has no {error}') from error
    except (ValueError, TypeError, AttributeError) as error:
        raise lost('the task of TF_CONFIG is not in its cluster') from error
    for address in (cluster[kind][i] for kind, i in order):
        if not re.fullmatch(r'\S+:\d{1,5}', str(address)):
            raise lost(f'{address!r} in TF_CONFIG is not of the form host:port')
    if set(cluster) - {'chief', 'worker'}:
        raise UserError(f'--strategy=multi_worker has workers only, no {", ".join(sorted(cluster))}: {advice}.')
    return place, len(order)
