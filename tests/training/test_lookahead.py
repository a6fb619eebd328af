"""The driver of Algorithm 3, killed at steps of writing spread over a whole run: it goes on to the same end."""

import errno
import json

import numpy as np
import pytest
import tensorflow as tf

from deeplab_load import files
from deeplab_load.errors import UserError
from deeplab_load.lookahead.algorithm import Losses, Retraining
from deeplab_load.lookahead.state import Limits, LoadState
from deeplab_load.restore import checkpoint
from deeplab_load.training.durable import RunDirectory
from deeplab_load.training.lookahead import run_lookahead
from deeplab_load.training.stopping import Stopped, StopSignal
from deeplab_load.training.stopwatch import Stopwatch

from .conftest import Killed

LIMITS = Limits(beta_l=0.05, beta_u=0.001, patience=3, peak_patience=0, max_cycles=2, buffer_size=2, total_cycles=0)
SCRIPT = [0.51, 0.52, 0.521, 0.5215, 0.4, 0.5, 'nan', 0.53, 0.45, *[0.3] * 5]


class NumberPlayers:
    """Players whose g, slot and D are one number each, stored as the real ones are."""

    def __init__(self, run, keeps_slots=False):
        self.run, self.g, self.slot, self.d = run, 0.0, 0.0, 0.0
        self.keeps_slots, self.stopwatch = keeps_slots, Stopwatch()

    def propagate(self, propagation):
        if SCRIPT[propagation] == 'nan':
            return Losses(ce=1.0, adv=1.0, finite=False)
        self.slot = self.slot / 2 + self.d + propagation
        self.g += self.slot
        self.mu = SCRIPT[propagation]
        return Losses(ce=self.g, adv=self.slot)

    def evaluate(self):
        return self.mu

    def snapshot(self, name):
        self.run.save_snapshot(name, {'g': np.array(self.g)})

    def restore(self, name):
        self.g = float(self.run.read_snapshot(name)['g'])
        self.slot = self.slot if self.keeps_slots else 0.0

    def make_maps(self, map_set):
        self.restore(map_set.snapshot)
        files.write_text(self.run.buffer / map_set.name / 'maps', str(self.g))

    def retrain_discriminator(self, cycle, sets):
        self.d += sum(float((self.run.buffer / s.name / 'maps').read_text()) for s in sets) / 7
        return Retraining(epochs=1, holdout_loss=self.d, holdout_accuracy=0.5, training_accuracy=0.5)

    def save_working_state(self, name):
        self.run.save_snapshot(name, {'g': np.array(self.g), 'slot': np.array(self.slot)})

    def restore_working_state(self, name):
        values = self.run.read_snapshot(name)
        self.g, self.slot = float(values['g']), float(values['slot'])

    def save_discriminator(self, name):
        self.run.save_snapshot(name, {'d': np.array(self.d)})

    def restore_discriminator(self, name):
        self.d = float(self.run.read_snapshot(name)['d'])


class StopAfter(StopSignal):
    """Stops after so many events."""

    def __init__(self, events):
        self.left = events

    def check(self):
        self.left -= 1
        if not self.left:
            raise Stopped


def begin(folder):
    run = RunDirectory(folder)
    with run.locked():
        run.save_snapshot('g0', {'g': np.array(0.25)})
        state = LoadState.initial(0.5)
        run.write_state({'load': state.to_json(), 'events_bytes': 0}, snapshots=['g0'], sets=['g0'])
    return run


def drive(run, stop=None, keeps_slots=False):
    """One process: cuts the log to the durable state and goes on."""
    run.cut_events(run.recover()['events_bytes'])
    players = NumberPlayers(run, keeps_slots)
    return run_lookahead(players, LIMITS, run, watch=lambda *_: None, stop=stop or StopSignal())


def end_of(run):
    lines = [json.loads(line) for line in run.events.read_text().splitlines()]
    events = [{k: v for k, v in e.items() if k != 'time'} for e in lines]
    vary = ('events_bytes', 'events_sha256', 'seconds')
    state = {k: v for k, v in run.read_state().items() if k not in vary}
    values = {p.name: run.read_snapshot(p.name) for p in run.checkpoints.iterdir()}
    maps = {p.name: (p / 'maps').read_text() for p in run.buffer.iterdir()}
    return events, state, values, maps


WRITES = ((files, 'sync'), (files.os, 'replace'), (files.os, 'fsync'), (checkpoint.tf.raw_ops, 'SaveV2'))
DELETIONS = ((files.shutil, 'rmtree'),)


def install_fault(monkeypatch, fault, at, steps):
    """Raises the fault at the `at`-th call of one of the functions in `steps`, counted from 1."""
    count = [0]
    for owner, name in steps:
        real = getattr(owner, name)

        def step(*args, real=real, name=name, **kwargs):
            count[0] += 1
            if count[0] == at:
                raise fault(name)
            return real(*args, **kwargs)

        monkeypatch.setattr(owner, name, step)
    return count


def full_disk(name):
    """The error of a full disk, as Python and TensorFlow raise it."""
    if name == 'SaveV2':
        return tf.errors.ResourceExhaustedError(None, None, 'model.ckpt; No space left on device')
    return OSError(errno.ENOSPC, 'No space left on device')


@pytest.fixture(scope='module')
def undisturbed(tmp_path_factory):
    run = begin(tmp_path_factory.mktemp('runs') / 'undisturbed')
    drive(run)
    return end_of(run)


def test_the_script_meets_every_kind_of_cycle(undisturbed):
    events = undisturbed[0]
    ends = [e for e in events if e['event'] == 'cycle_end']
    assert {(e['reason'], e['peak']) for e in ends} >= {('diverged', True), ('diverged', False)}
    assert any(e.get('raised') for e in events)
    assert any(e.get('miou', 0) is None for e in events)


@pytest.mark.parametrize(
    ('fault', 'raised', 'words', 'steps'),
    [(Killed, Killed, '', (*WRITES, *DELETIONS)), (full_disk, UserError, 'No space left on device; make room', WRITES)],
    ids=['killed', 'full disk'],
)
def test_disturbed_at_steps_all_over_the_run_it_ends_the_same(
    undisturbed, tmp_path, monkeypatch, fault, raised, words, steps
):
    run = begin(tmp_path / 'counted')
    with monkeypatch.context() as patch:
        count = install_fault(patch, fault, -1, steps)
        drive(run)
    assert count[0] > 200
    for at in range(1, count[0] + 1, 29):
        run = begin(tmp_path / str(at))
        with monkeypatch.context() as patch:
            install_fault(patch, fault, at, steps)
            with pytest.raises(raised) as told:
                drive(run)
            assert words in str(told.value)
        drive(run)
        for ours, theirs in zip(end_of(run), undisturbed, strict=True):
            assert ours == theirs, f'disturbed at step {at} of {count[0]}'


def test_with_the_newest_state_damaged_at_every_event_it_ends_the_same(undisturbed, tmp_path):
    """Stopped after each event, its newest state damaged, it goes on from the one before."""
    run = begin(tmp_path / 'damaged')
    going, seen = StopSignal(), 0
    for event in range(1, len(undisturbed[0])):
        going = StopAfter(event - seen)
        with pytest.raises(Stopped):
            drive(run, going)
        record = run.read_state()
        file = run.checkpoints / record['working'] / 'model.ckpt.index' if record['working'] else run.state_file
        file.write_bytes(file.read_bytes()[:-2])
        seen = event - 1
    drive(run)
    for ours, theirs in zip(end_of(run), undisturbed, strict=True):
        assert ours == theirs


@pytest.mark.parametrize('keeps_slots', [False, True])
def test_stopped_after_every_event_it_ends_the_same(undisturbed, tmp_path, keeps_slots):
    straight = begin(tmp_path / 'straight')
    drive(straight, keeps_slots=keeps_slots)
    assert (end_of(straight) == undisturbed) != keeps_slots
    run = begin(tmp_path / 'stopped')
    stops = 0
    while True:
        stop = StopSignal()
        stop.requested = True
        try:
            drive(run, stop, keeps_slots)
            break
        except Stopped:
            stops += 1
    assert stops == len(undisturbed[0])
    for ours, theirs in zip(end_of(run), end_of(straight), strict=True):
        assert ours == theirs


def test_the_seconds_of_phases_add_up_over_processes(tmp_path):
    run = begin(tmp_path / 'run')
    seconds = []
    for _ in range(2):
        with pytest.raises(Stopped):
            drive(run, stop=StopAfter(2))
        seconds.append(run.read_state()['seconds'])
    assert 0 < seconds[0]['saving'] < seconds[1]['saving']


def test_a_phase_that_fails_does_not_count():
    watch = Stopwatch()
    with pytest.raises(ValueError, match='x'), watch('steps'):
        raise ValueError('x')
    assert watch.seconds == {}


def test_the_state_names_every_snapshot_it_needs():
    state = LoadState.from_json({**LoadState.initial(0.5).to_json(), 'g_s': 'propagation-3', 'g_best': 'propagation-2'})
    assert state.snapshots() == {'g0', 'propagation-2', 'propagation-3'}
