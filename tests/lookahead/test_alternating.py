"""Alternating steps (Luc et al.) with scripted players that write one tape."""

import dataclasses
import json

import pytest

from deeplab_load.lookahead import events
from deeplab_load.lookahead.algorithm import stopped_by
from deeplab_load.lookahead.alternating import AlternatingLosses, alternate
from deeplab_load.lookahead.state import Limits, LoadState

from .replay import replay
from .test_algorithm import ScriptedPlayers

LIMITS = Limits(
    beta_l=0.05, beta_u=0.001, patience=3, peak_patience=10, max_cycles=2, buffer_size=3, total_propagations=5
)  # fmt: skip
SCRIPT = [0.49, 0.5003, 0.3, 0.52, 0.51, 0.9]


class AlternatingScript(ScriptedPlayers):
    """Scripted players that train D in a propagation too."""

    def propagate(self, propagation):
        losses = super().propagate(propagation)
        return AlternatingLosses(losses.ce, losses.adv, losses.finite, d=0.5 * propagation, accuracy=0.75)


def run(script, **options):
    players = AlternatingScript(script)
    steps = list(alternate(players, LoadState.initial(0.5), LIMITS, **options))
    return players.tape, steps


def log(steps):
    state = steps[-1][0]
    result = events.Result(
        holdout_miou=state.mu_best, val_miou=0.5, per_class={}, baseline_val_miou=0.5, divergences=state.divergences,
        step_backs=state.cycle, cycles=state.cycle, success=False, stopped_by=stopped_by(state, LIMITS) or 'diverged',
    )  # fmt: skip
    written = [events.Baseline(miou=0.5, val_miou=0.5), *(event for _, event in steps), result]
    return json.loads(json.dumps([event.record() for event in written]))


def test_neither_patience_nor_divergence_ends_it_and_the_best_model_is_kept():
    tape, steps = run(SCRIPT)
    assert tape == [
        'maps g0 of g0', 'retrain 0 on g0', 'restore g0',
        'propagate 0', 'propagate 1', 'snapshot propagation-2', 'propagate 2', 'propagate 3',
        'snapshot propagation-4', 'propagate 4',
    ]  # fmt: skip
    state = steps[-1][0]
    assert (state.g_best, state.mu_best, state.cycle, state.divergences) == ('propagation-4', 0.52, 0, 0)
    assert stopped_by(state, LIMITS) == 'total_propagations'


def test_a_propagation_tells_how_d_did():
    _, steps = run(SCRIPT)
    third = [event.record() for _, event in steps][3]
    assert third == {
        'event': 'propagation', 'cycle': 0, 'gamma': 3, 'omega': 0, 'miou': 0.3, 'start_miou': 0.5,
        'best_miou': 0.5003, 'raised': False, 'loss_ce': 1.0, 'loss_adv': 2.0, 'loss_d': 1.0, 'accuracy_d': 0.75,
    }  # fmt: skip


def test_without_an_adversary_d_is_not_trained():
    tape, steps = run(SCRIPT, adversarial=False)
    assert tape[:2] == ['restore g0', 'propagate 0']
    assert [event.kind for _, event in steps] == ['propagation'] * 5


def test_not_finite_ends_the_run():
    tape, steps = run([0.51, 'nan', 0.9])
    assert tape[-2:] == ['snapshot propagation-1', 'propagate 1']
    state = steps[-1][0]
    assert (state.divergences, state.propagation, state.g_best) == (1, 2, 'propagation-1')
    assert stopped_by(state, LIMITS) is None


@pytest.mark.parametrize('adversarial', [True, False])
@pytest.mark.parametrize('script', [SCRIPT, [0.51, 'nan'], [0.4, 0.4, 0.4, 0.4, 'nan']])
def test_the_decisions_agree_with_an_independent_reading(script, adversarial):
    options = {**dataclasses.asdict(LIMITS), 'algorithm': 'luc', 'adversarial_weight': float(adversarial)}
    written = log(run(script, adversarial=adversarial)[1])
    assert replay(written, options) == []
    written[-2]['best_miou'] += 0.1
    assert replay(written, options)


def test_stopped_and_resumed_after_every_yield_the_tape_is_the_same():
    tape, steps = run(SCRIPT)
    for stop, (state, _) in enumerate(steps):
        before = AlternatingScript(SCRIPT)
        for _ in zip(range(stop + 1), alternate(before, LoadState.initial(0.5), LIMITS), strict=False):
            pass
        after = AlternatingScript(SCRIPT, start=before.position)
        stored = LoadState.from_json(json.loads(json.dumps(state.to_json())))
        rest = list(alternate(after, stored, LIMITS))
        assert before.tape + after.tape == tape
        assert steps[stop + 1 :] == rest
