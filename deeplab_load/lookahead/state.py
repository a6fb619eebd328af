"""The state of Algorithm 3, immutable: numbers and names, never tensors."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from deeplab_load.errors import UserError
from deeplab_load.lookahead.buffer import MapSet

# What the run does next. Stopping and going on is possible at every one of them.
START, DISCRIMINATOR, CYCLE, PROPAGATE = 'start', 'discriminator', 'cycle', 'propagate'


@dataclass(frozen=True)
class Limits:
    """The hyperparameters of Algorithms 1 and 3, under the article's symbols.

    mIoU is a fraction in [0, 1]. Not the article's: `total_cycles` and `total_propagations` bound the whole run (0: no
    bound), `retain` is the number of peaks whose sets stay in the buffer (1 flushes, as the article does).
    """

    beta_l: float
    beta_u: float
    patience: int
    peak_patience: int
    max_cycles: int
    buffer_size: int
    total_cycles: int = 0
    total_propagations: int = 0
    retain: int = 1

    def __post_init__(self) -> None:
        """Raises UserError for values with which the algorithm cannot run."""
        bounds = {
            'beta_l': (self.beta_l > 0, 'above 0'),
            'beta_u': (self.beta_u >= 0, 'at least 0'),
            'patience': (self.patience >= 1, 'at least 1'),
            'peak_patience': (self.peak_patience >= 0, 'at least 0'),
            'max_cycles': (self.max_cycles >= 1, 'at least 1'),
            'buffer_size': (self.buffer_size >= 2, 'at least 2: a peak and an ending model'),
            'total_cycles': (self.total_cycles >= 0, 'at least 0'),
            'total_propagations': (self.total_propagations >= 0, 'at least 0'),
            'retain': (0 < self.retain < self.buffer_size, 'at least 1 and below --buffer_size'),
        }
        for name, (holds, rule) in bounds.items():
            if not holds:
                raise UserError(f'--{name}={getattr(self, name)} must be {rule}.')


@dataclass(frozen=True)
class LoadState:
    """Where Algorithm 3 stands; symbols follow the article.

    Attributes:
      phase: what comes next: START, DISCRIMINATOR, CYCLE or PROPAGATE.
      cycle: cycles begun before the present one, over the whole run.
      psi: ψ, cycles since the last peak.
      propagation: propagations done, over the whole run.
      propagations: propagations done in the present cycle.
      gamma: γ, the divergence patience counter.
      omega: ω, the peak finder patience counter.
      mu: μ of the present g; None after a propagation that was not finite.
      mu_0: μ_s at the start of the cycle.
      mu_s: μ_s, of the start model.
      mu_best: μ*, of the best model.
      mu_end: the last finite μ of the cycle, μ_s before there is one.
      g_s: snapshot of the start model.
      g_best: snapshot of g*.
      buffer: B.
      divergences: cycles that ended diverged.
    """

    phase: str
    cycle: int
    psi: int
    propagation: int
    propagations: int
    gamma: int
    omega: int
    mu: float | None
    mu_0: float
    mu_s: float
    mu_best: float
    mu_end: float
    g_s: str
    g_best: str
    buffer: tuple[MapSet, ...]
    divergences: int

    @classmethod
    def initial(cls, miou: float, snapshot: str = 'g0') -> 'LoadState':
        """The state before the first cycle: g_s = g* = g_0, B = [g_0(X_t)]."""
        return cls(
            phase=START, cycle=0, psi=0, propagation=0, propagations=0, gamma=0, omega=0,
            mu=miou, mu_0=miou, mu_s=miou, mu_best=miou, mu_end=miou, g_s=snapshot, g_best=snapshot,
            buffer=(MapSet(name='g0', snapshot=snapshot),), divergences=0,
        )  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """The state as JSON values; floats keep every bit."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> 'LoadState':
        """The state that `to_json` wrote."""
        return cls(**{**record, 'buffer': tuple(MapSet(**m) for m in record['buffer'])})

    def snapshots(self) -> frozenset[str]:
        """Names of the snapshots that this state still needs; g_0 is always one of them."""
        return frozenset({'g0', self.g_s, self.g_best, *(m.snapshot for m in self.buffer)})
