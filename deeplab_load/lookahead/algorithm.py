"""Algorithm 3 of the article: lookahead adversarial learning (LoAd), detailed version.

The generator `load` decides; the players it talks to train, evaluate and store. Whoever drives it logs, saves and
stops.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from deeplab_load.lookahead import events
from deeplab_load.lookahead.buffer import MapSet, aggregate
from deeplab_load.lookahead.state import CYCLE, DISCRIMINATOR, PROPAGATE, START, Limits, LoadState

PEAK = 'propagation-'  # Opens the names of snapshots of peaks; the propagation's number follows.


@dataclass(frozen=True)
class Losses:
    """Mean losses of one propagation; `finite` is false where a loss or a weight was NaN or infinite."""

    ce: float
    adv: float
    finite: bool = True


@dataclass(frozen=True)
class Retraining:
    """How a training of D ended; the accuracies are balanced over real and generated maps."""

    epochs: int
    holdout_loss: float
    holdout_accuracy: float
    training_accuracy: float


class Players(Protocol):
    """The segmentor g and the discriminator D, as Algorithm 3 needs them."""

    def propagate(self, propagation: int) -> Losses:
        """Trains g adversarially for one propagation; leaves g as it was where the outcome is not finite."""

    def evaluate(self) -> float:
        """Evaluates the mIoU of g on the hold-out, in [0, 1]."""

    def snapshot(self, name: str) -> None:
        """Stores g under `name`."""

    def restore(self, name: str) -> None:
        """Sets g to a snapshot, with fresh optimiser slots."""

    def make_maps(self, map_set: MapSet) -> None:
        """Writes the label maps of the set's snapshot; g is that snapshot afterwards."""

    def retrain_discriminator(self, cycle: int, sets: tuple[MapSet, ...]) -> Retraining:
        """Trains D on D_t ∪ B from its current weights, before `cycle` begins."""


Step = tuple[LoadState, events.Event]


def load(players: Players, state: LoadState, limits: Limits) -> Iterator[Step]:
    """Runs Algorithm 3 from `state` to its end.

    Args:
      players: g and D. Their weights must be those that belong to `state`.
      state: `LoadState.initial` or any state that was yielded before.
      limits: β_l, β_u, Γ, Ω, Ψ, B_max and the bounds on the whole run.

    Yields:
      (state, event) after each training of D, each propagation and each cycle. The run can be stopped after any of
      them and taken up again from that state. The result of the run is the last state's g*.
    """
    if state.phase == START:
        players.make_maps(state.buffer[0])
        state = dataclasses.replace(state, phase=DISCRIMINATOR)
    while True:
        if state.phase == DISCRIMINATOR:
            state, event = retrain(players, state)
            yield state, event
        if state.phase == CYCLE:
            if stopped_by(state, limits) is not None:
                return
            state = begin_cycle(players, state)
        while cycle_ends(state, limits) is None:
            state, event = propagate(players, state, limits)
            yield state, event
        state, event = end_cycle(players, state, limits)
        yield state, event


def stopped_by(state: LoadState, limits: Limits) -> str | None:
    """The limit that ends the run after a cycle: 'max_cycles' (Ψ), 'total_cycles', 'total_propagations', or None."""
    if state.psi >= limits.max_cycles:
        return 'max_cycles'
    if limits.total_cycles and state.cycle >= limits.total_cycles:
        return 'total_cycles'
    if is_spent(state, limits):
        return 'total_propagations'
    return None


def is_spent(state: LoadState, limits: Limits) -> bool:
    """Whether the run has had all its propagations."""
    return 0 < limits.total_propagations <= state.propagation


def cycle_ends(state: LoadState, limits: Limits) -> str | None:
    """Why the cycle ends here: 'diverged' before 'patience' (Γ) before 'total_propagations'; None if it goes on."""
    if not is_ahead(state, limits):
        return 'diverged'
    if state.gamma >= limits.patience:
        return 'patience'
    return 'total_propagations' if is_spent(state, limits) else None


def is_ahead(state: LoadState, limits: Limits) -> bool:
    """Whether g has not diverged: μ_s − β_l < μ (line 7), never true of a model that is not finite."""
    return state.mu is not None and state.mu_s - limits.beta_l < state.mu


def retrain(players: Players, state: LoadState) -> Step:
    """Trains D on D_t ∪ B (lines 2 and 35)."""
    outcome = players.retrain_discriminator(state.cycle, state.buffer)
    event = events.Discriminator(
        cycle=state.cycle, sets=tuple(m.name for m in state.buffer), **dataclasses.asdict(outcome)
    )
    return dataclasses.replace(state, phase=CYCLE), event


def begin_cycle(players: Players, state: LoadState) -> LoadState:
    """Steps back to g_s and starts the counters (lines 4 to 6)."""
    players.restore(state.g_s)
    return dataclasses.replace(
        state, phase=PROPAGATE, propagations=0, gamma=0, omega=0, mu=state.mu_s, mu_0=state.mu_s, mu_end=state.mu_s
    )


def propagate(players: Players, state: LoadState, limits: Limits) -> Step:
    """One propagation and the search for a peak (lines 8 to 23)."""
    losses = players.propagate(state.propagation)
    state = dataclasses.replace(state, propagation=state.propagation + 1, propagations=state.propagations + 1, mu=None)
    raised = False
    if losses.finite:
        mu = players.evaluate()
        state = dataclasses.replace(state, mu=mu, mu_end=mu)
        if mu > state.mu_s + limits.beta_u:
            state, raised = follow_peak(players, state, mu, limits)
    state = dataclasses.replace(state, gamma=state.gamma + 1)
    event = events.Propagation(
        cycle=state.cycle, gamma=state.gamma, omega=state.omega, miou=state.mu, start_miou=state.mu_s,
        best_miou=state.mu_best, raised=raised, loss_ce=losses.ce, loss_adv=losses.adv,
    )  # fmt: skip
    return state, event


def follow_peak(players: Players, state: LoadState, mu: float, limits: Limits) -> tuple[LoadState, bool]:
    """Keeps g where it is the best so far, and raises the start once the peak finder's patience is over (11 to 21)."""
    is_best, raises = mu > state.mu_best, state.omega > limits.peak_patience
    snapshot = f'{PEAK}{state.propagation}'
    if is_best or raises:
        players.snapshot(snapshot)
    if is_best:
        state = dataclasses.replace(state, mu_best=mu, g_best=snapshot)
    if raises:
        state = dataclasses.replace(state, mu_s=mu, g_s=snapshot, omega=0, gamma=0)
    return dataclasses.replace(state, omega=state.omega + 1), raises


def end_cycle(players: Players, state: LoadState, limits: Limits) -> Step:
    """Aggregates the label maps of the ending model, and of a new peak, and steps back (lines 25 to 34)."""
    reason = cycle_ends(state, limits) or ''
    name = f'end-{state.cycle}'
    ending = MapSet(name=name, snapshot=name, ending=True, propagation=state.propagation)
    players.snapshot(ending.snapshot)
    players.make_maps(ending)
    peak = None
    if state.mu_best > state.mu_0:
        number = int(state.g_best.removeprefix(PEAK))
        peak = MapSet(name=f'peak-{state.cycle}', snapshot=state.g_best, propagation=number)
        players.make_maps(peak)
        state = dataclasses.replace(state, g_s=state.g_best, mu_s=state.mu_best)
    state = dataclasses.replace(
        state,
        phase=DISCRIMINATOR,
        cycle=state.cycle + 1,
        psi=0 if peak else state.psi + 1,
        divergences=state.divergences + (reason == 'diverged'),
        buffer=aggregate(state.buffer, ending, peak, buffer_size=limits.buffer_size, retain=limits.retain),
    )
    return state, _cycle_end(state, reason=reason, peak=peak is not None)


def _cycle_end(state: LoadState, *, reason: str, peak: bool) -> events.CycleEnd:
    return events.CycleEnd(
        cycle=state.cycle - 1, reason=reason, propagations=state.propagations,
        end_miou=state.mu_end, peak=peak, psi=state.psi, start_miou=state.mu_s, best_miou=state.mu_best,
        buffer=tuple(m.name for m in state.buffer),
    )  # fmt: skip
