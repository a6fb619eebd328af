"""Means over seeds, stability and cost, against numbers counted by hand."""

import pathlib

import pytest

from deeplab_load.reporting import statistics
from deeplab_load.reporting.runs import Run


def event(kind, time, **values):
    return {'event': kind, 'time': time, **values}


def propagation(time, miou, best, raised=False):
    return event('propagation', time, miou=miou, best_miou=best, raised=raised)


EVENTS = [
    event('run_start', 0),
    event('baseline', 150, miou=0.5),
    event('discriminator', 170, holdout_accuracy=0.6, cycle=0),
    propagation(175, 0.52, 0.52),
    propagation(181, 0.51, 0.52, raised=True),
    event('cycle_end', 184, reason='patience', peak=True, end_miou=0.51),
    # Killed at 300 while D was trained, and gone on at 1000: the time between is nobody's.
    event('resume', 1000),
    event('discriminator', 1015, holdout_accuracy=0.7, cycle=1),
    propagation(1020, None, 0.52),
    event('cycle_end', 1022, reason='diverged', peak=False, end_miou=0.47),
    event('discriminator', 1030, holdout_accuracy=0.8, cycle=2),
    event('result', 1040),
]


@pytest.fixture
def run():
    return Run(pathlib.Path('run'), {}, EVENTS, {'stage_1_seconds': 100.0})


def test_the_time_of_each_phase_without_that_between_a_kill_and_the_resumption(run):
    assert statistics.phase_seconds(run) == {
        'stage 1': 100, 'discriminator': 20 + 15 + 8, 'propagation': 5 + 6 + 5, 'cycle_end': 3 + 2, 'result': 10,
    }  # fmt: skip


def test_cost_in_multiples_of_stage_1(run):
    assert statistics.cost_ratio(run, to_best=False) == pytest.approx((100 + 43 + 16 + 5 + 10) / 100)
    assert statistics.cost_ratio(run, to_best=True) == pytest.approx((100 + 20 + 5) / 100)


def test_of_a_stage_1_that_was_interrupted_no_time_is_told(run):
    interrupted = Run(run.path, {}, EVENTS, {'stage_1_seconds': None, 'seconds': {'steps': 10.0}})
    assert statistics.phase_seconds(interrupted)['stage 1'] is None
    assert set(statistics.shares(interrupted).values()) == {None}
    assert statistics.adversarial_seconds(interrupted) == statistics.adversarial_seconds(run)


def test_without_the_time_of_stage_1_there_is_no_ratio(run):
    assert statistics.cost_ratio(Run(run.path, {}, EVENTS, {}), to_best=False) is None


def test_shares_of_stage_1_and_what_the_adversarial_stage_did(run):
    seconds = {'steps': 10.0, 'evaluation': 6.0, 'maps': 5.0, 'discriminator': 40.0, 'saving': 3.0}
    timed = Run(run.path, {}, EVENTS, {**run.state, 'seconds': seconds})
    assert statistics.shares(timed) == {
        'stage 1': pytest.approx(100 / 174), "g's steps": pytest.approx(10 / 174),
        'evaluation of the hold-out': pytest.approx(6 / 174), 'label maps': pytest.approx(5 / 174),
        'training of the discriminator': pytest.approx(40 / 174), 'saving': pytest.approx(3 / 174),
        'all else': pytest.approx(10 / 174),
    }  # fmt: skip
    assert set(statistics.shares(run).values()) == {None}


def test_measures_of_stability(run):
    assert {name: measure(run) for name, measure in statistics.stability().items()} == {
        'cycles = step-backs': 2, 'divergences treated': 1, 'peaks': 1, 'cycles per peak': 2.0, 'raised starts': 1,
        'propagations': 3, 'propagations that were not finite': 1,
        'std of μ over the propagations, points': pytest.approx(0.5**0.5),
        'mean fall of a cycle below g0, points': pytest.approx(1.0),
    }  # fmt: skip


def test_spread_is_mean_and_sample_deviation_of_what_is_known():
    assert statistics.spread([1, None, 2, 4]) == '2.33 ± 1.53'
    assert statistics.spread([1.25], 1) == '1.2'
    assert statistics.spread([None]) == '–'
    assert statistics.percent([0.5, 0.52]) == '51.00 ± 1.41'
