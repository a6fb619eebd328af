"""Opening a run: its directory, its options, the signals that stop it, and where it stands."""

import contextlib
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
from deeplab_load.lookahead.state import PROPAGATE
from deeplab_load.reporting.events import Scalars
from deeplab_load.reporting.progress import say
from deeplab_load.training.durable import RunDirectory, has_begun
from deeplab_load.training.stopping import Stopped, StopSignal


@dataclass(frozen=True)
class Run:
    """A run that is open: its folder, the signal that stops it, and its TensorBoard scalars."""

    directory: RunDirectory
    stop: StopSignal
    scalars: Scalars


@contextlib.contextmanager
def run_directory(config: Config) -> Iterator[Run]:
    """Opens the run directory for this process: a new run, or one to go on with.

    On SIGTERM or SIGINT the run stops where it can go on, and says how.
    """
    keras.utils.set_random_seed(config.seed)
    on_cpu = not tf.config.list_physical_devices('GPU')
    if on_cpu if config.deterministic is None else config.deterministic:
        tf.config.experimental.enable_op_determinism()
    directory = RunDirectory(config.run_dir or os.path.join('runs', config.dataset))
    values, free = {**options.to_json(config), 'versions': versions()}, {*options.UNBOUND, 'versions'}
    if config.fork:
        directory = _fork(directory, config.fork, values)
    stop = StopSignal()
    stop.listen()
    with directory.locked():
        record = directory.recover()
        directory.adopt_config(values, free)
        _log_start(config, directory, record)
        try:
            yield Run(directory, stop, Scalars(directory.path / 'tensorboard'))
        except Stopped:
            say(_farewell(directory))


def _fork(source: RunDirectory, place: str, values: dict[str, Any]) -> RunDirectory:
    """The copy of a run at `place`, made now or by an earlier start of the same command."""
    copy = RunDirectory(place)
    if not copy.path.exists():
        with source.locked():
            record = source.recover()
            trains_d = 'load' in record and not {'discriminator', 'training'}.isdisjoint(record)
            source.copy(copy.path, values, fixed=options.FIXED_WITH_D if trains_d else options.FIXED)
        say(f'The run in {source.path} is copied to {place}, and goes on there.')
    elif not copy.is_fork_of(source):
        raise UserError(f'--fork={place} is there already and no copy of {source.path}; give a new folder.')
    return copy


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
