"""The events of a run: what `events.jsonl` holds, one frozen class an event."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class Event:
    """An event; `kind` is its name in the log."""

    kind: ClassVar[str]

    def record(self) -> dict[str, Any]:
        """The event as JSON values; numbers that are not finite become null."""
        return {'event': self.kind, **{k: _finite(v) for k, v in dataclasses.asdict(self).items()}}


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(frozen=True)
class RunStart(Event):
    """A run began."""

    kind = 'run_start'
    config_digest: str
    versions: dict[str, str]


@dataclass(frozen=True)
class Resume(Event):
    """A stopped run went on, after `propagations` propagations in all."""

    kind = 'resume'
    config_digest: str
    versions: dict[str, str]
    propagations: int


@dataclass(frozen=True)
class Baseline(Event):
    """g_0 was evaluated: μ on the hold-out, mIoU on the whole evaluation split."""

    kind = 'baseline'
    miou: float
    val_miou: float


@dataclass(frozen=True)
class Discriminator(Event):
    """D was retrained on D_t ∪ B; accuracies are balanced over real and generated maps."""

    kind = 'discriminator'
    cycle: int
    epochs: int
    holdout_loss: float
    holdout_accuracy: float
    training_accuracy: float
    sets: tuple[str, ...]


@dataclass(frozen=True)
class Propagation(Event):
    """One propagation of g and its evaluation; `miou` is None where loss or weights were not finite."""

    kind = 'propagation'
    cycle: int
    gamma: int
    omega: int
    miou: float | None
    start_miou: float
    best_miou: float
    raised: bool
    loss_ce: float
    loss_adv: float


@dataclass(frozen=True)
class Alternation(Propagation):
    """A propagation in which D was trained too: its mean loss and balanced accuracy; not finite where λ = 0.

    There are no cycles: `cycle` and `omega` stay 0, `gamma` counts propagations, `start_miou` is g_0's.
    """

    loss_d: float
    accuracy_d: float


@dataclass(frozen=True)
class CycleEnd(Event):
    """A cycle ended; all values as they stand after the buffer's update."""

    kind = 'cycle_end'
    cycle: int
    reason: str
    propagations: int
    end_miou: float
    peak: bool
    psi: int
    start_miou: float
    best_miou: float
    buffer: tuple[str, ...]


@dataclass(frozen=True)
class Result(Event):
    """The run is over: g* on the hold-out and on the whole evaluation split."""

    kind = 'result'
    holdout_miou: float
    val_miou: float
    per_class: dict[str, float | None]
    baseline_val_miou: float
    divergences: int
    step_backs: int
    cycles: int
    success: bool
    stopped_by: str
