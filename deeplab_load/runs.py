"""Opening a run: its directory, its options, the signals that stop it, and where it stands."""

import contextlib
import functools
import os
import pathlib
import platform
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import deeplab_load
from deeplab_load import config as options
from deeplab_load.config import Config
from deeplab_load.errors import UserError
from deeplab_load.lookahead import events
from deeplab_load.lookahead.state import PROPAGATE, START
from deeplab_load.models.in_training import gains_from_mixed_precision
from deeplab_load.reporting.events import Scalars
from deeplab_load.reporting.progress import say
from deeplab_load.spellings import demand
from deeplab_load.training.distribution import Distribution, open_distribution
from deeplab_load.training.durable import RunDirectory, has_begun, read_config
from deeplab_load.training.players import fingerprint
from deeplab_load.training.shared_run import SharedRunDirectory, SharedStopSignal
from deeplab_load.training.stopping import Stopped, StopSignal


@dataclass(frozen=True)
class Run:
    """A run that is open: its folder, the signal that stops it, and where it computes."""

    directory: RunDirectory
    stop: StopSignal
    distribution: Distribution

    def check(self) -> None:
        """Raises Stopped if a signal came, where a process may stop without others that work in step with it."""
        if self.distribution.workers == 1:
            self.stop.check()

    def write_scalars(self, step: int, event: events.Event) -> None:
        """Writes the numbers of an event for TensorBoard."""
        self.distribution.by_chief(lambda: self._scalars.write(step, event))

    @functools.cached_property
    def _scalars(self) -> Scalars:
        return Scalars(self.directory.path / 'tensorboard')

    def require_same_weights(self, *models: keras.Model) -> None:
        """Raises UserError unless this worker's models start with the chief's weights."""
        if self.distribution.workers == 1:
            return
        own = [fingerprint({str(n): w for n, w in enumerate(model.get_weights())}) for model in models]
        if self.distribution.by_chief(lambda: own) != own:
            raise UserError(
                f'Worker {self.distribution.worker} starts with other weights than worker 0; give all of them the '
                'same files and code.'
            )


@contextlib.contextmanager
def run_directory(config: Config) -> Iterator[Run]:
    """Opens the run directory for this process: a new run, or one to go on with.

    On SIGTERM or SIGINT the run stops where it can go on, and says how.
    """
    keras.utils.set_random_seed(config.seed)
    on_cpu = not tf.config.list_physical_devices('GPU')
    if on_cpu if config.deterministic is None else config.deterministic:
        tf.config.experimental.enable_op_determinism()
    values = {**options.to_json(config), 'versions': versions()}
    distribution = open_distribution(config)
    with distribution.watching():
        _require_replicas(config, distribution)
        _require_agreement(values, distribution)
        directory, stop = _open(config, values, distribution)
        stop.listen()
        with directory.locked():
            record = directory.recover()
            directory.adopt_config(values, {*options.UNBOUND, 'versions'})
            _log_start(config, directory, record)
            if config.mixed_precision and not gains_from_mixed_precision():
                say('--mixed_precision may make training slower here: no instructions for bfloat16 were found.')
            try:
                yield Run(directory, stop, distribution)
            except Stopped:
                say(_farewell(directory))


def _open(config: Config, values: dict[str, Any], distribution: Distribution) -> tuple[RunDirectory, StopSignal]:
    """The run directory, or its copy, and the signal; the workers' where there are several."""
    directory, stop = RunDirectory(config.run_dir or os.path.join('runs', config.dataset)), StopSignal()
    if config.fork:
        source, directory = directory, RunDirectory(config.fork)
        distribution.by_chief(lambda: _fork(source, directory, config, values))
    if distribution.workers == 1:
        return directory, stop
    return SharedRunDirectory(directory, distribution), SharedStopSignal(distribution)


def _require_replicas(config: Config, distribution: Distribution) -> None:
    """Raises UserError for options that would not mean the same on several replicas."""
    replicas = distribution.replicas
    if replicas == 1:
        return
    if config.top_k_percent_pixels < 1:
        raise UserError('--top_k_percent_pixels takes the hardest pixels of a whole batch: it needs one device.')
    if config.segmentor and config.fine_tune_batch_norm:
        raise UserError('--fine_tune_batch_norm with --segmentor needs one device: its batch norm is not synchronised.')
    trained = []
    if config.trains:
        trained.append('pixelwise_batch_size')
    if config.algorithm != 'pixelwise':
        trained.append('adversarial_batch_size')
    for name in trained:
        demand(getattr(config, name) >= replicas, config, name, f'at least {replicas} on {replicas} replicas')


def _require_agreement(values: dict[str, Any], distribution: Distribution) -> None:
    """Raises UserError unless this worker has the chief's options and versions, but for where its data are."""
    own = {k: v for k, v in values.items() if k not in ('data_dir', 'vocdevkit', 'manual_dir')}
    chiefs = distribution.by_chief(lambda: own)
    if differing := [name for name in {**chiefs, **own} if own.get(name) != chiefs.get(name)]:
        name, here, there = differing[0], own.get(differing[0]), chiefs.get(differing[0])
        raise UserError(f'Worker {distribution.worker} has --{name}={here}, and worker 0 {there}; give all the same.')


def _fork(source: RunDirectory, copy: RunDirectory, config: Config, values: dict[str, Any]) -> None:
    """Makes the copy of a run, unless an earlier start of the same command did."""
    if not copy.path.exists():
        if not (source.path / 'config.json').exists():  # Before its lock makes the folder.
            raise UserError(f'--run_dir={source.path} holds no run; there is nothing to copy.')
        with source.locked():
            record = source.recover()
            if has_begun(record) and 'g0' not in record['snapshots'] and not config.trains:
                raise UserError(
                    f'Stage 1 of the run in {source.path} is not over, and a copy of it goes on with that: give its '
                    '--pixelwise_epochs, or --training_number_of_steps.'
                )
            source.copy(copy.path, values, fixed=_fixed(record, read_config(source.path)))
        say(f'The run in {source.path} is copied to {copy.path}, and goes on there.')
    elif not copy.is_fork_of(source):
        raise UserError(f'--fork={copy.path} is there already and no copy of {source.path}; give a new folder.')


def _fixed(record: dict[str, Any], before: dict[str, Any]) -> set[str]:
    """The options that a copy of a run in this state, of the options `before`, cannot have otherwise."""
    fixed, load = set(options.FIXED), record.get('load')
    if 'data' in record:
        fixed.update(options.FIXED_WITH_DATA)
    if 'g0' in record.get('snapshots', ()):
        fixed.update(options.FIXED_WITH_G0)
    if load or record.get('evaluating'):
        fixed.update(options.FIXED_WITH_BASELINE)
    if load and not {'discriminator', 'training'}.isdisjoint(record):
        fixed.update(options.FIXED_WITH_D)
    if load and load['phase'] != START:
        fixed.add('algorithm')
    if before.get('fakes') == 'seen' and load and any(map_set['propagation'] for map_set in load['buffer']):
        fixed.update(options.FIXED_WITH_SEEN)
    return fixed


def _log_start(config: Config, directory: RunDirectory, record: dict[str, Any]) -> None:
    if not has_begun(record):
        directory.begin(events.RunStart(options.digest(config), versions()))
        return
    directory.cut_events(record['events_bytes'])
    done = record['load']['propagation'] if 'load' in record else 0
    directory.append(events.Resume(options.digest(config), versions(), done))
    say(f'Going on with the run in {directory.path} from {_place(record)}.')


def _farewell(directory: RunDirectory) -> str:
    """What a stopped run says: how to go on, and from where."""
    place = _place(directory.read_state())
    return f'Stopped. The same command with --run_dir={directory.path} goes on from {place}.'


def _place(record: dict[str, Any]) -> str:
    """Where a durable state stands, in words."""
    if 'training' in record:
        return f'step {record["training"]["step"]} of {record["training"]["title"]}'
    if 'result' in record:
        return 'its end'
    if 'load' not in record:
        return 'g0' if has_begun(record) else 'the beginning'
    if record['load']['phase'] == PROPAGATE:
        return f'propagation {record["load"]["propagation"]}'
    return f'the end of cycle {record["load"]["cycle"] - 1}' if record['load']['cycle'] else 'the baseline'


def versions() -> dict[str, str]:
    """The versions of what the results depend on."""
    found = {
        'deeplab_load': deeplab_load.__version__,
        'python': platform.python_version(),
        'tensorflow': tf.__version__,
        'keras': keras.__version__,
        'numpy': np.__version__,
    }
    checkout = pathlib.Path(__file__).parents[1]
    if (checkout / '.git').exists() and shutil.which('git'):
        command = ['git', '-C', str(checkout), 'describe', '--always', '--dirty', '--abbrev=40']
        found['git'] = subprocess.run(command, capture_output=True, check=False, text=True).stdout.strip()
    return found
