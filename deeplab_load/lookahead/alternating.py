"""Alternating adversarial training (Luc et al. 2016), the article's adversarial baseline, in the terms of Algorithm 3.

D and g take gradient steps in turn, without cycles: nothing is aggregated, nothing steps back. D starts as LoAd's does,
trained on D_t ∪ g_0(X_t), so that both begin with the same players.
"""

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from deeplab_load.lookahead import events
from deeplab_load.lookahead.algorithm import Losses, Players, Step, begin_cycle, is_spent, retrain
from deeplab_load.lookahead.state import CYCLE, DISCRIMINATOR, START, Limits, LoadState


@dataclass(frozen=True)
class AlternatingLosses(Losses):
    """Mean losses of one propagation in which D was trained too, and D's balanced accuracy; not finite without D."""

    d: float = math.nan
    accuracy: float = math.nan


class AlternatingPlayers(Players, Protocol):
    """g and D, where a propagation trains both."""

    def propagate(self, propagation: int) -> AlternatingLosses:
        """Trains D and g in turn for one propagation; leaves g as it was where its outcome is not finite."""


def alternate(
    players: AlternatingPlayers, state: LoadState, limits: Limits, *, adversarial: bool = True
) -> Iterator[Step]:
    """Runs `total_propagations` propagations from g_0 and keeps the best model.

    Args:
      players: g and D. Their weights must be those that belong to `state`.
      state: `LoadState.initial` or any state that was yielded before.
      limits: of them only `total_propagations` counts, which must be above 0.
      adversarial: without it D is not trained beforehand: cross-entropy alone asks none.

    Yields:
      (state, event) after D's first training and after each propagation. The run can be stopped after any of them and
      taken up again from that state. It ends early after a propagation that was not finite: there is no step back.
    """
    if state.phase == START and adversarial:
        players.make_maps(state.buffer[0])
        state = dataclasses.replace(state, phase=DISCRIMINATOR)
    if state.phase == DISCRIMINATOR:
        state, event = retrain(players, state)
        yield state, event
    if state.phase in (START, CYCLE):
        state = begin_cycle(players, state)
    while state.mu is not None and not is_spent(state, limits):
        state, event = propagate(players, state)
        yield state, event


def propagate(players: AlternatingPlayers, state: LoadState) -> Step:
    """One propagation; g is kept where it is the best so far."""
    losses = players.propagate(state.propagation)
    number = state.propagation + 1
    state = dataclasses.replace(state, propagation=number, propagations=number, gamma=number, mu=None)
    if losses.finite:
        mu = players.evaluate()
        state = dataclasses.replace(state, mu=mu, mu_end=mu)
        if mu > state.mu_best:
            players.snapshot(f'propagation-{number}')
            state = dataclasses.replace(state, mu_best=mu, g_best=f'propagation-{number}')
    else:
        state = dataclasses.replace(state, divergences=state.divergences + 1)
    event = events.Alternation(
        cycle=0, gamma=number, omega=0, miou=state.mu, start_miou=state.mu_s, best_miou=state.mu_best, raised=False,
        loss_ce=losses.ce, loss_adv=losses.adv, loss_d=losses.d, accuracy_d=losses.accuracy,
    )  # fmt: skip
    return state, event
