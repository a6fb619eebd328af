"""The run directory: snapshots, state and events that survive a kill at any moment."""

import contextlib
import fcntl
import json
import os
import pathlib
import re
import shutil
import time
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from deeplab_load.data import label_maps
from deeplab_load.data.label_maps import sync
from deeplab_load.errors import UserError
from deeplab_load.lookahead.events import Event
from deeplab_load.restore import checkpoint

# The names of what a run writes into checkpoints/ and buffer/.
SNAPSHOT = re.compile(r'g0|(propagation|end|working|discriminator)-\d+|\.part-.*')
MAP_SET = re.compile(r'g0|(peak|end)-\d+|\..*\.(partial|removed)')


class RunDirectory:
    """A run's folder. Files appear under their final names whole or not at all."""

    def __init__(self, path: str | os.PathLike):
        self.path = pathlib.Path(path)
        self.checkpoints = self.path / 'checkpoints'
        self.buffer = self.path / 'buffer'
        self.events = self.path / 'events.jsonl'
        self.state_file = self.path / 'state.json'

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the run directory for this process.

        Raises:
          UserError: another process holds it, or it cannot be written.
        """
        self._refuse_foreign()
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            lock = open(self.path / 'lock', 'w')  # noqa: SIM115 - closed below, with the lock
        except OSError as error:
            raise UserError(f'--run_dir={self.path} cannot be written: {error.strerror}.') from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UserError(f'--run_dir={self.path} is in use by another process; choose another folder.') from None
            yield

    def _refuse_foreign(self) -> None:
        """Refuses a folder that holds something, but no run: its files are not ours to delete."""
        if not self.path.is_dir() or (self.path / 'config.json').exists():
            return
        foreign = sorted(p.name for p in self.path.iterdir() if not re.fullmatch(r'lock|checkpoints|\.part-.*', p.name))
        if self.checkpoints.is_dir():
            foreign += sorted(f'checkpoints/{p.name}' for p in self.checkpoints.iterdir())
        if foreign:
            raise UserError(
                f'--run_dir={self.path} holds {foreign[0]} but no config.json, so it is no run; choose a new folder.'
            )

    def adopt_config(self, config: dict[str, Any], unbound: Iterable[str]) -> None:
        """Writes `config.json`; once a run has begun here, only with the options that it began with.

        Raises:
          UserError: an option that changes the results differs; it is named with both values.
        """
        file = self.path / 'config.json'
        if file.exists() and ('load' in self.read_state() or self.has_snapshot('g0')):
            before = _read_json(file)
            _refuse_changes(self.path, before, json.loads(json.dumps(config)), set(unbound))
        write_atomically(file, json.dumps(config, indent=1) + '\n')

    def append(self, event: Event) -> int:
        """Appends an event to `events.jsonl`, durably; returns the length of the file in bytes."""
        with open(self.events, 'a') as file:
            file.write(json.dumps({**event.record(), 'time': round(time.time(), 3)}) + '\n')
            file.flush()
            os.fsync(file.fileno())
            return file.tell()

    def cut_events(self, length: int) -> None:
        """Cuts off the events that were written after the last durable state.

        Raises:
          UserError: the file is shorter than the state says.
        """
        size = self.events.stat().st_size if self.events.exists() else 0
        if size < length:
            raise UserError(f'{self.events} is cut or missing; put back a copy of it, or choose another --run_dir.')
        if size:
            os.truncate(self.events, length)

    def write_state(self, state: dict[str, Any]) -> None:
        """Replaces the durable state."""
        write_atomically(self.state_file, json.dumps(state) + '\n')

    def read_state(self) -> dict[str, Any]:
        """The durable state; empty where there is none yet.

        Raises:
          UserError: the file is damaged, or missing although the run has come past its start.
        """
        if self.state_file.exists():
            return _read_json(self.state_file)
        if self.events.exists() and self.events.read_text().count('\n') > 1:
            raise UserError(f'{self.state_file} is missing; put back a copy of it, or choose another --run_dir.')
        return {}

    def has_snapshot(self, name: str) -> bool:
        """Whether a snapshot of this name is stored."""
        return (self.checkpoints / name).is_dir()

    def prefix(self, name: str) -> str:
        """The checkpoint prefix of a snapshot, as `evaluate --checkpoint` takes it."""
        return str(self.checkpoints / name / 'model.ckpt')

    def save_snapshot(self, name: str, values: dict[str, np.ndarray]) -> None:
        """Stores values under a name, as a TF1 checkpoint."""
        final, part = self.checkpoints / name, self.checkpoints / f'.part-{name}'
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        checkpoint.write_checkpoint(str(part / 'model.ckpt'), values)
        for file in part.iterdir():
            sync(file)
        shutil.rmtree(final, ignore_errors=True)
        os.replace(part, final)
        sync(self.checkpoints)

    def read_snapshot(self, name: str) -> dict[str, np.ndarray]:
        """The values of a snapshot.

        Raises:
          UserError: it is missing or damaged.
        """
        try:
            stored = checkpoint.read_checkpoint(self.prefix(name))
            return {key: stored.value(key) for key in stored.shapes}
        except UserError as error:
            raise UserError(
                f'The snapshot {self.checkpoints / name} of this run is missing or damaged; put back a copy of it, or '
                'choose another --run_dir.'
            ) from error

    def prune(self, snapshots: Iterable[str], sets: Iterable[str]) -> None:
        """Deletes the snapshots and label-map sets that the durable state does not name, and leftovers of both.

        Only what a run writes is deleted; anything else in these folders stays.
        """
        for name in _unneeded(self.checkpoints, SNAPSHOT, snapshots):
            shutil.rmtree(self.checkpoints / name)
        for name in _unneeded(self.buffer, MAP_SET, sets):
            label_maps.delete_set(self.buffer, name)


def _unneeded(folder: pathlib.Path, pattern: re.Pattern, keep: Iterable[str]) -> list[str]:
    names = [path.name for path in folder.iterdir()] if folder.exists() else []
    return sorted(name for name in names if pattern.fullmatch(name) and name not in set(keep))


def read_config(run_dir: pathlib.Path) -> dict[str, Any]:
    """The options of a run, under their flags' names."""
    return _read_json(run_dir / 'config.json')


def _read_json(file: pathlib.Path) -> dict[str, Any]:
    try:
        return json.loads(file.read_text())
    except ValueError:
        raise UserError(f'{file} is damaged; put back a copy of it, or choose another --run_dir.') from None


def _refuse_changes(path: pathlib.Path, before: dict[str, Any], now: dict[str, Any], unbound: set[str]) -> None:
    changed = [k for k in now if k not in unbound and k in before and before[k] != now[k]]
    if changed:
        words = ', '.join(f'--{k} was {before[k]} and is {now[k]}' for k in changed)
        raise UserError(f'--run_dir={path} holds a run with other options ({words}); choose another --run_dir.')


def write_atomically(file: pathlib.Path, text: str) -> None:
    """Writes a text file aside, syncs it and renames it."""
    part = file.with_name(f'.part-{file.name}')
    with open(part, 'w') as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(part, file)
    sync(file.parent)
