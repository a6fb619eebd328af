"""Algorithm 3 with scripted players that write one tape."""

import dataclasses
import json

import pytest

from deeplab_load.errors import UserError
from deeplab_load.lookahead.algorithm import Losses, Retraining, load, stopped_by
from deeplab_load.lookahead.buffer import MapSet, aggregate
from deeplab_load.lookahead.state import Limits, LoadState

LIMITS = Limits(
    beta_l=0.05, beta_u=0.001, patience=3, peak_patience=10, max_cycles=2, buffer_size=3, total_cycles=0
)  # fmt: skip


class ScriptedPlayers:
    """Players whose mIoU follows a script; 'nan' is a propagation that is not finite."""

    def __init__(self, script, start=0):
        self.script, self.tape = script, []
        self.position = start

    def propagate(self, propagation):
        self.tape.append(f'propagate {propagation}')
        finite = self.script[propagation] != 'nan'
        self.position = propagation
        return Losses(ce=1.0, adv=2.0 if finite else float('nan'), finite=finite)

    def evaluate(self):
        return self.script[self.position]

    def snapshot(self, name):
        self.tape.append(f'snapshot {name}')

    def restore(self, name):
        self.tape.append(f'restore {name}')

    def make_maps(self, map_set):
        self.tape.append(f'maps {map_set.name} of {map_set.snapshot}')

    def retrain_discriminator(self, cycle, sets):
        self.tape.append(f'retrain {cycle} on {",".join(s.name for s in sets)}')
        return Retraining(epochs=1, holdout_loss=0.6, holdout_accuracy=0.6, training_accuracy=0.7)


def run(script, limits=LIMITS, miou=0.5):
    players = ScriptedPlayers(script)
    steps = list(load(players, LoadState.initial(miou), limits))
    return players.tape, steps


def records(steps, kind):
    return [event.record() for _, event in steps if event.kind == kind]


def test_a_run_without_a_peak_steps_back_each_time_and_ends_with_g0():
    tape, steps = run([0.49, 0.48, 0.47, 0.44])
    assert tape == [
        'maps g0 of g0',
        'retrain 0 on g0',
        'restore g0',
        'propagate 0',
        'propagate 1',
        'propagate 2',
        'snapshot end-0',
        'maps end-0 of end-0',
        'retrain 1 on g0,end-0',
        'restore g0',
        'propagate 3',
        'snapshot end-1',
        'maps end-1 of end-1',
        'retrain 2 on g0,end-0,end-1',
    ]
    state = steps[-1][0]
    assert (state.g_best, state.mu_best, state.psi, state.divergences) == ('g0', 0.5, 2, 1)
    assert [e['reason'] for e in records(steps, 'cycle_end')] == ['patience', 'diverged']


def test_a_peak_flushes_the_buffer_and_becomes_the_start():
    tape, steps = run([0.52, 0.53, 0.51, 0.4, 0.4])
    assert tape[2:9] == [
        'restore g0',
        'propagate 0',
        'snapshot propagation-1',
        'propagate 1',
        'snapshot propagation-2',
        'propagate 2',
        'snapshot end-0',
    ]
    assert tape[9:13] == [
        'maps end-0 of end-0',
        'maps peak-0 of propagation-2',
        'retrain 1 on peak-0,end-0',
        'restore propagation-2',
    ]
    end = records(steps, 'cycle_end')[0]
    assert (end['peak'], end['psi'], end['start_miou'], end['best_miou']) == (True, 0, 0.53, 0.53)
    assert end['buffer'] == ('peak-0', 'end-0')


def test_the_start_is_raised_once_the_peak_finder_has_waited():
    limits = dataclasses.replace(LIMITS, peak_patience=1, patience=4, total_cycles=1)
    _, steps = run([0.52, 0.53, 0.54, 0.5405, 0.542, 0.545, 0.4], limits)
    seen = [(p['gamma'], p['omega'], p['start_miou'], p['raised']) for p in records(steps, 'propagation')]
    # ω counts 1, 2 and is above Ω at the third propagation: the start is raised, ω and γ begin again.
    assert seen[:3] == [(1, 1, 0.5, False), (2, 2, 0.5, False), (1, 1, 0.54, True)]
    # 0.5405 is not above 0.54 + 0.001, so that ω waits; 0.542 and 0.545 are, and the second of them raises.
    assert seen[3:6] == [(2, 1, 0.54, False), (3, 2, 0.54, False), (1, 1, 0.545, True)]
    assert records(steps, 'cycle_end')[0]['reason'] == 'diverged'


def test_a_second_divergence_bound_follows_the_raised_start():
    limits = dataclasses.replace(LIMITS, peak_patience=0, patience=9, total_cycles=1)
    _, steps = run([0.52, 0.53, 0.481, 0.479, 0.4], limits)
    # Raised to 0.53, so that 0.479 < 0.53 − 0.05 diverges where 0.5 − 0.05 would not.
    assert records(steps, 'cycle_end')[0]['propagations'] == 4


def test_comparisons_are_strict():
    limits = dataclasses.replace(LIMITS, beta_l=0.25, beta_u=0.25, max_cycles=1)
    _, steps = run([0.75, 0.25], limits)
    assert records(steps, 'propagation')[0]['best_miou'] == 0.5  # 0.75 is not above 0.5 + 0.25
    assert records(steps, 'cycle_end')[0]['reason'] == 'diverged'  # 0.25 is not above 0.5 − 0.25


def test_meeting_both_limits_counts_as_diverged():
    _, steps = run([0.5, 0.5, 0.4, 0.4], LIMITS)
    assert records(steps, 'cycle_end')[0]['reason'] == 'diverged'
    assert records(steps, 'cycle_end')[0]['propagations'] == 3


def test_not_finite_is_divergence_and_the_last_finite_model_ends_the_cycle():
    tape, steps = run([0.49, 'nan', 'nan'])
    first, second = records(steps, 'cycle_end')
    assert (first['reason'], first['propagations'], first['end_miou']) == ('diverged', 2, 0.49)
    assert (second['reason'], second['propagations'], second['end_miou']) == ('diverged', 1, 0.5)
    propagation = records(steps, 'propagation')[1]
    assert propagation['miou'] is None
    assert propagation['loss_adv'] is None
    assert propagation['gamma'] == 2
    assert 'snapshot end-0' in tape


def test_total_cycles_bounds_the_run():
    limits = dataclasses.replace(LIMITS, total_cycles=1)
    _, steps = run([0.52, 0.51, 0.4], limits)
    state = steps[-1][0]
    assert stopped_by(state, limits) == 'total_cycles'
    assert [event.kind for _, event in steps][-2:] == ['cycle_end', 'discriminator']


def test_total_propagations_ends_the_cycle_and_the_run():
    limits = dataclasses.replace(LIMITS, total_propagations=4)
    _, steps = run([0.52, 0.51, 0.53, 0.525, 0.9], limits)
    first, second = records(steps, 'cycle_end')
    assert (first['reason'], first['propagations'], first['peak']) == ('patience', 3, True)
    assert (second['reason'], second['propagations'], second['peak'], second['psi']) == (
        'total_propagations',
        1,
        False,
        1,
    )
    assert second['buffer'] == ('peak-0', 'end-0', 'end-1')
    assert [event.kind for _, event in steps][-1] == 'discriminator'
    state = steps[-1][0]
    assert (state.propagation, state.divergences, stopped_by(state, limits)) == (4, 0, 'total_propagations')


@pytest.mark.parametrize(('last', 'reason'), [(0.5, 'patience'), (0.44, 'diverged')])
def test_another_end_of_the_cycle_comes_before_that_of_the_run(last, reason):
    limits = dataclasses.replace(LIMITS, total_propagations=3)
    _, steps = run([0.5, 0.5, last, 0.9], limits)
    assert [e['reason'] for e in records(steps, 'cycle_end')] == [reason]
    assert stopped_by(steps[-1][0], limits) == 'total_propagations'


def test_stopped_and_resumed_after_every_yield_the_tape_is_the_same():
    script = [0.52, 0.53, 0.51, 0.49, 'nan', 0.55, 0.4, 0.54, 0.53, 0.4, 0.3]
    tape, steps = run(script)
    assert len(steps) > 10
    for stop, (state, _) in enumerate(steps):
        before = ScriptedPlayers(script)
        for _ in zip(range(stop + 1), load(before, LoadState.initial(0.5), LIMITS), strict=False):
            pass
        after = ScriptedPlayers(script, start=before.position)
        stored = LoadState.from_json(json.loads(json.dumps(state.to_json())))
        rest = list(load(after, stored, LIMITS))
        assert before.tape + after.tape == tape
        events = [e.record() for _, e in steps]
        assert events[: stop + 1] + [e.record() for _, e in rest] == events


def test_the_buffer_keeps_its_first_set_and_drops_the_oldest_ending():
    sets = (MapSet('peak-1', 'propagation-2'), MapSet('end-1', 'end-1', True), MapSet('end-2', 'end-2', True))
    ending = MapSet('end-3', 'end-3', True)
    assert [m.name for m in aggregate(sets, ending, None, buffer_size=3)] == ['peak-1', 'end-2', 'end-3']
    assert aggregate(sets[:1], ending, None, buffer_size=3) == (sets[0], ending)
    peak = MapSet('peak-3', 'propagation-7')
    assert aggregate(sets, ending, peak, buffer_size=3) == (peak, ending)


@pytest.mark.parametrize(
    ('size', 'retain', 'names'),
    [
        (5, 2, ['g0', 'peak-1', 'end-2', 'end-3', 'end-4']),
        (4, 2, ['g0', 'peak-1', 'end-3', 'end-4']),
        (3, 2, ['g0', 'peak-1', 'end-4']),
        (2, 1, ['peak-1', 'end-4']),
    ],
)
def test_a_buffer_that_a_fork_makes_smaller_shrinks_to_its_size(size, retain, names):
    peaks = (MapSet('g0', 'g0'), MapSet('peak-1', 'p'))
    endings = tuple(MapSet(f'end-{cycle}', 'e', ending=True) for cycle in (2, 3, 4))
    found = aggregate((*peaks, *endings[:2]), endings[2], None, buffer_size=size, retain=retain)
    assert [map_set.name for map_set in found] == names


def test_retain_keeps_the_newest_peaks_at_the_front_and_deletes_the_oldest_ending():
    limits = dataclasses.replace(LIMITS, patience=1, buffer_size=4, retain=2, max_cycles=4, total_cycles=8)
    _, steps = run([0.52, 0.5, 0.5, 0.54, 0.5, 0.5, 0.5, 0.56], limits)
    assert [e['buffer'] for e in records(steps, 'cycle_end')] == [
        ('g0', 'peak-0', 'end-0'),
        ('g0', 'peak-0', 'end-0', 'end-1'),
        ('g0', 'peak-0', 'end-1', 'end-2'),
        ('peak-0', 'peak-3', 'end-3'),
        ('peak-0', 'peak-3', 'end-3', 'end-4'),
        ('peak-0', 'peak-3', 'end-4', 'end-5'),
        ('peak-0', 'peak-3', 'end-5', 'end-6'),
        ('peak-3', 'peak-7', 'end-7'),
    ]
    first, second, third = steps[-1][0].buffer
    assert (first.snapshot, first.propagation) == ('propagation-4', 4)
    assert (second.snapshot, second.propagation, third.propagation) == ('propagation-8', 8, 8)


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('buffer_size', 1),
        ('beta_l', 0.0),
        ('beta_u', -0.1),
        ('patience', 0),
        ('max_cycles', 0),
        ('total_cycles', -1),
        ('total_propagations', -1),
        ('retain', 0),
        ('retain', 3),
    ],
)
def test_impossible_limits_are_refused_by_name(name, value):
    with pytest.raises(UserError, match=f'--{name}={value}'):
        dataclasses.replace(LIMITS, **{name: value})
