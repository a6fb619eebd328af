"""The run directory: snapshots, states and events that survive a kill at any moment, and damage to the newest state."""

import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import re
import shutil
import time
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from deeplab_load import files
from deeplab_load.data import label_maps
from deeplab_load.errors import UserError
from deeplab_load.lookahead.events import Event
from deeplab_load.reporting.progress import say
from deeplab_load.restore import checkpoint

ADVICE = 'put back a copy of it, or choose another --run_dir'
# The names of what a run writes into checkpoints/ and buffer/.
SNAPSHOT = re.compile(r'g0|(propagation|end|working|discriminator)-\d+|[a-z0-9-]+-step-\d+|\.part-.*')
MAP_SET = re.compile(r'g0|(peak|end)-\d+|\..*\.(partial|removed|part-\d+-of-\d+)')


class RunDirectory:
    """A run's folder. Files appear under their final names whole or not at all.

    `state.json` is the durable state, `state.previous.json` the one before it. Each holds a digest of itself, names the
    snapshots and label-map sets that it needs, with the snapshots' digests, and says how far `events.jsonl` belongs to
    it. What neither of the two needs is deleted.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = pathlib.Path(os.path.expanduser(path))
        self.checkpoints = self.path / 'checkpoints'
        self.buffer = self.path / 'buffer'
        self.cache = self.path / 'cache'
        self.events = self.path / 'events.jsonl'
        self.state_file = self.path / 'state.json'
        self.previous_state_file = self.path / 'state.previous.json'
        self._digests: dict[str, str] = {}  # Of the snapshots that this process has written or checked.

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
            raise UserError(
                f'--run_dir={self.path} cannot be written: {error.strerror}; give another folder.'
            ) from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UserError(f'--run_dir={self.path} is in use by another process; choose another folder.') from None
            yield

    def _refuse_foreign(self) -> None:
        """Refuses a folder that holds something, but no run: its files are not ours to delete."""
        if not self.path.is_dir() or self._has_config():
            return
        foreign = sorted(p.name for p in self.path.iterdir() if not re.fullmatch(r'lock|checkpoints|\.part-.*', p.name))
        if self.checkpoints.is_dir():
            foreign += sorted(f'checkpoints/{p.name}' for p in self.checkpoints.iterdir())
        if foreign:
            raise UserError(
                f'--run_dir={self.path} holds {foreign[0]} but no config.json of a run, so it is none; choose a new '
                'folder.'
            )

    def _has_config(self) -> bool:
        """Whether there is a config.json of ours, which may be damaged where there is a state too."""
        file = self.path / 'config.json'
        if not file.exists() or self.state_file.exists():
            return file.exists()
        try:
            return {'dataset', 'versions'} <= set(_read_json(file))
        except UserError:
            return False

    def adopt_config(self, config: dict[str, Any], unbound: Iterable[str]) -> None:
        """Writes `config.json`; once a run has begun here, only with the options that it began with.

        Raises:
          UserError: an option that changes the results differs; it is named with both values.
        """
        file = self.path / 'config.json'
        if file.exists() and has_begun(self.read_state()):
            before = _read_json(file)
            advice = 'choose another --run_dir; most options may change in a copy: --fork=NEW_DIR'
            _refuse_changes(self.path, before, json.loads(json.dumps(config)), set(unbound), advice)
        origin = {k: v for k, v in _read_json(file).items() if k == 'forked_from'} if file.exists() else {}
        files.write_text(file, json.dumps({**config, **origin}, indent=1) + '\n')

    def copy(self, place: pathlib.Path, config: dict[str, Any], *, fixed: Iterable[str]) -> None:
        """Copies the run to a new folder, with another configuration; it appears whole or not at all.

        Raises:
          UserError: there is no run to copy, an option of `fixed` differs, or the disk is full.
        """
        if not has_begun(self.read_state()):
            raise UserError(f'--run_dir={self.path} holds no run that has begun; there is nothing to copy.')
        before, now = _read_json(self.path / 'config.json'), json.loads(json.dumps(config))
        advice = 'a copy of it cannot have others: start a run anew'
        _refuse_changes(self.path, before, now, set(now) - set(fixed), advice)
        with files.replacing(place) as part:
            shutil.copytree(self.path, part, ignore=shutil.ignore_patterns('lock', 'cache', f'{files.PART}*'))
            origin = {'forked_from': str(self.path.absolute())}
            files.write_text(part / 'config.json', json.dumps({**now, **origin}, indent=1) + '\n')

    def is_fork_of(self, source: 'RunDirectory') -> bool:
        """Whether this run is a copy of another, made by `copy`."""
        config = self.path / 'config.json'
        return config.exists() and _read_json(config).get('forked_from') == str(source.path.absolute())

    def append(self, event: Event) -> int:
        """Appends an event to `events.jsonl`, durably; returns the length of the file in bytes."""
        with files.writing(self.events), open(self.events, 'a') as file:
            file.write(json.dumps({**event.record(), 'time': round(time.time(), 3)}) + '\n')
            file.flush()
            os.fsync(file.fileno())
            return file.tell()

    def cut_events(self, length: int) -> None:
        """Cuts off the events that were written after the last durable state."""
        if self.events.exists():
            os.truncate(self.events, length)

    def begin(self, event: Event) -> None:
        """Starts the log with its first event; what a start that came to no snapshot left is deleted."""
        for name in _matching(self.checkpoints, SNAPSHOT):
            files.remove(self.checkpoints / name)
        for file in (self.previous_state_file, self.state_file, self.events):
            file.unlink(missing_ok=True)
        self.write_state({'events_bytes': self.append(event)}, snapshots=())

    def write_state(self, record: dict[str, Any], *, snapshots: Iterable[str], sets: Iterable[str] = ()) -> None:
        """Makes a state durable, then deletes what neither it nor the state before it needs.

        Args:
          record: JSON values. `events_bytes` is the length of `events.jsonl` that belongs to the state.
          snapshots: the names of the snapshots that the state needs, all stored.
          sets: the names of the label-map sets that it needs.
        """
        own = {k: v for k, v in record.items() if k != 'sha256'}
        own['snapshots'] = {name: self._digest(name) for name in sorted(set(snapshots))}
        own['sets'] = sorted(sets)
        own['events_sha256'] = self._events_digest(own['events_bytes'])
        if self.state_file.exists():
            files.write_text(self.previous_state_file, self.state_file.read_text())
        files.write_text(self.state_file, json.dumps({**own, 'sha256': _digest_of(own)}) + '\n')
        self.prune()

    def amend_state(self, **changes: Any) -> None:
        """Makes a state durable that differs from the present one by `changes` and needs the same."""
        record = self.read_state()
        self.write_state({**record, **changes}, snapshots=record['snapshots'], sets=record['sets'])

    def read_state(self) -> dict[str, Any]:
        """The durable state; empty where there is none yet.

        Raises:
          UserError: the file is damaged, or missing although the run has come past its start.
        """
        return self._read_state(self.state_file)

    def recover(self) -> dict[str, Any]:
        """The newest durable state that is whole with all that it needs, which is the state from now on.

        Where that is not the newest, or the one before it is damaged, a warning says so. Leftovers of a kill are
        deleted, but for label-map sets, which may be in the making.

        Raises:
          UserError: neither the newest state nor the one before it is whole; the damage is named.
        """
        for leftover in (*self.path.glob(f'{files.PART}*'), *self.checkpoints.glob(f'{files.PART}*')):
            files.remove(leftover)
        try:
            record = self._whole_state(self.state_file)
        except UserError as damage:
            if not self.previous_state_file.exists():
                raise
            record = self._whole_state(self.previous_state_file)
            say(f'Warning: {damage} The run goes on from the state before the newest.')
            files.write_text(self.state_file, self.previous_state_file.read_text())
        self._replace_damaged_previous()
        self._prune_snapshots()
        return record

    def _replace_damaged_previous(self) -> None:
        """Puts the newest state, which is whole, in the place of one before it that is not."""
        file = self.previous_state_file
        if not file.exists():
            return
        try:
            self._read_state(file)
        except UserError:
            say(f'Warning: {file} is damaged. The run goes on from the newest state, which is whole.')
            files.write_text(file, self.state_file.read_text())

    def _read_state(self, file: pathlib.Path) -> dict[str, Any]:
        if not file.exists():
            events = self.events.read_bytes().count(b'\n') if self.events.exists() else 0
            if self.previous_state_file.exists() or any(_matching(self.checkpoints, SNAPSHOT)) or events > 1:
                raise UserError(f'{file} is missing; put back a copy of it, or choose another --run_dir.')
            return {}
        record = _read_record(file)
        if record.pop('sha256', None) != _digest_of(record):
            raise UserError(f'{file} is damaged; {ADVICE}.')
        return record

    def _whole_state(self, file: pathlib.Path) -> dict[str, Any]:
        """A state whose snapshots and events are there and whole, or UserError."""
        record = self._read_state(file)
        for name, digest in record.get('snapshots', {}).items():
            if not self.has_snapshot(name) or _digest_of_folder(self.checkpoints / name) != digest:
                raise UserError(self._damaged_snapshot(name))
            self._digests[name] = digest
        if record and self._events_digest(record['events_bytes']) != record['events_sha256']:
            raise UserError(f'{self.events} is damaged or cut; put back a copy of it, or choose another --run_dir.')
        return record

    def _events_digest(self, length: int) -> str:
        events = self.events.read_bytes() if self.events.exists() else b''
        return hashlib.sha256(events[:length]).hexdigest() if len(events) >= length else ''

    def has_snapshot(self, name: str) -> bool:
        """Whether a snapshot of this name is stored."""
        return (self.checkpoints / name).is_dir()

    def prefix(self, name: str) -> str:
        """The checkpoint prefix of a snapshot, as `evaluate --checkpoint` takes it."""
        return str(self.checkpoints / name / 'model.ckpt')

    def save_snapshot(self, name: str, values: Mapping[str, ArrayLike]) -> None:
        """Stores values under a name, as a TF1 checkpoint."""
        with files.replacing(self.checkpoints / name) as part:
            part.mkdir()
            checkpoint.write_checkpoint(str(part / 'model.ckpt'), values)
            self._digests[name] = _digest_of_folder(part)

    def read_snapshot(self, name: str) -> dict[str, np.ndarray]:
        """The values of a snapshot.

        Raises:
          UserError: it is missing or damaged.
        """
        try:
            stored = checkpoint.read_checkpoint(self.prefix(name))
            return {key: stored.value(key) for key in stored.shapes}
        except UserError as error:
            raise UserError(self._damaged_snapshot(name)) from error

    def _damaged_snapshot(self, name: str) -> str:
        return (
            f'The snapshot {self.checkpoints / name} of this run is missing or damaged; put back a copy of it, or '
            'choose another --run_dir.'
        )

    def _digest(self, name: str) -> str:
        if name not in self._digests:
            self._digests[name] = _digest_of_folder(self.checkpoints / name)
        return self._digests[name]

    def prune(self) -> None:
        """Deletes the snapshots and label-map sets that neither durable state names, and leftovers of both.

        Only what a run writes is deleted; anything else in these folders stays.
        """
        self._prune_snapshots()
        for name in _matching(self.buffer, MAP_SET, besides=self._needed('sets')):
            label_maps.delete_set(self.buffer, name)

    def _prune_snapshots(self) -> None:
        for name in _matching(self.checkpoints, SNAPSHOT, besides=self._needed('snapshots')):
            files.remove(self.checkpoints / name)

    def _needed(self, kind: str) -> set[str]:
        states = (file for file in (self.state_file, self.previous_state_file) if file.exists())
        return {name for file in states for name in _read_record(file)[kind]}


def has_begun(record: dict[str, Any]) -> bool:
    """Whether a durable state holds work that another start goes on from."""
    return bool(record.get('snapshots'))


def _matching(folder: pathlib.Path, pattern: re.Pattern, besides: Container[str] = ()) -> list[str]:
    names = [path.name for path in folder.iterdir()] if folder.exists() else []
    return sorted(name for name in names if pattern.fullmatch(name) and name not in besides)


def _digest_of(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _digest_of_folder(folder: pathlib.Path) -> str:
    """A digest of the names and bytes of the files in a folder."""
    digest = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        digest.update(f'{file.name} {file.stat().st_size}\n'.encode())
        with open(file, 'rb') as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def read_config(run_dir: pathlib.Path) -> dict[str, Any]:
    """The options of a run, under their flags' names."""
    return _read_json(run_dir / 'config.json')


def _read_record(file: pathlib.Path) -> dict[str, Any]:
    record = _read_json(file)
    kinds = {'events_bytes': int, 'events_sha256': str, 'snapshots': dict, 'sets': list}
    if not all(isinstance(record.get(key), kind) for key, kind in kinds.items()):
        raise UserError(f'{file} is damaged; {ADVICE}.')
    return record


def _read_json(file: pathlib.Path) -> dict[str, Any]:
    return files.read_json(file, ADVICE)


def _refuse_changes(
    path: pathlib.Path, before: dict[str, Any], now: dict[str, Any], unbound: set[str], advice: str
) -> None:
    changed = [k for k in now if k not in unbound and k in before and before[k] != now[k]]
    if changed:
        words = ', '.join(f'--{k} was {before[k]} and is {now[k]}' for k in changed)
        raise UserError(f'--run_dir={path} holds a run with other options ({words}); {advice}.')
