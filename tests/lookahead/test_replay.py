"""Random runs agree with the independent reading of Algorithm 3, and a wrong decision is found."""

import dataclasses
import random

import pytest

from deeplab_load.lookahead import events
from deeplab_load.lookahead.algorithm import load, stopped_by
from deeplab_load.lookahead.state import Limits, LoadState

from .replay import replay
from .test_algorithm import ScriptedPlayers


def random_run(seed):
    draw = random.Random(seed)
    policy = draw.choice(['flush', 'retain'])
    limits = Limits(
        beta_l=draw.choice([0.01, 0.05]), beta_u=draw.choice([0.0, 0.001, 0.01]), patience=draw.randint(1, 8),
        peak_patience=draw.randint(0, 4), max_cycles=draw.randint(1, 4), buffer_size=draw.randint(2, 5),
        total_cycles=draw.choice([0, 0, 3, 12]), total_propagations=draw.choice([0, 0, 5, 40]),
    )  # fmt: skip
    if policy == 'retain':
        limits = dataclasses.replace(limits, retain=draw.randint(1, limits.buffer_size - 1))
    walk = [0.5]
    while len(walk) < 5000:
        drift = 0.001 if len(walk) < 200 else -0.001
        walk.append(min(max(walk[-1] + draw.gauss(drift, 0.01), 0.0), 1.0))
    script = ['nan' if draw.random() < 0.03 else mu for mu in walk[1:]]
    steps = list(load(ScriptedPlayers(script), LoadState.initial(0.5), limits))
    log = [events.Baseline(miou=0.5, val_miou=0.5).record(), *(event.record() for _, event in steps)]
    state = steps[-1][0]
    result = events.Result(
        holdout_miou=state.mu_best, val_miou=0.5, per_class={}, baseline_val_miou=0.5, divergences=state.divergences,
        step_backs=state.cycle, cycles=state.cycle, success=False, stopped_by=stopped_by(state, limits),
    )  # fmt: skip
    log = [{k: list(v) if isinstance(v, tuple) else v for k, v in r.items()} for r in [*log, result.record()]]
    return log, {**dataclasses.asdict(limits), 'buffer_policy': policy}


@pytest.mark.parametrize('seed', range(60))
def test_random_runs_agree_with_an_independent_reading(seed):
    log, options = random_run(seed)
    assert replay(log, options) == []


def test_an_unfinished_run_agrees_so_far():
    log, options = random_run(7)
    assert replay(log[: len(log) // 2], options) == ['the log ends before the result']


def test_the_reading_finds_a_wrong_decision():
    log, options = random_run(7)
    end = next(e for e in log if e['event'] == 'cycle_end')
    end['peak'] = not end['peak']
    assert replay(log, options)
