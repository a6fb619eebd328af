"""Training of the discriminator on D_t ∪ B, with early stopping on the hold-out."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from deeplab_load.errors import UserError
from deeplab_load.lookahead.algorithm import Retraining
from deeplab_load.reporting.progress import progress, say
from deeplab_load.shortages import memory_for
from deeplab_load.training.distribution import ONE_DEVICE, Distribution
from deeplab_load.training.resumption import Resumption, Variable, copies, numbered
from deeplab_load.training.steps import DiscriminatorOutcome, discriminator_steps


@dataclass(frozen=True)
class DiscriminatorOptions:
    """How D is trained; names as the flags without `discriminator_`."""

    learning_rate: float
    batch_size: int
    paired: bool
    patience: int
    epochs: int
    keep_slots: bool = False


@dataclass(frozen=True)
class Score:
    """Weighted loss of D and its accuracy, balanced over real and generated maps."""

    loss: float
    accuracy: float

    def words(self) -> str:
        """Loss and accuracy for a line of the log."""
        return f'loss {self.loss:.4f}, balanced accuracy {100 * self.accuracy:.1f} %'


@dataclass(frozen=True)
class Position:
    """Where a training of D stands, as JSON values.

    Attributes:
      step: batches done in all, those of the hold-out included.
      epoch: the present epoch, from 1.
      batch: batches done in the present pass.
      sums: of the present pass: weighted loss, right answers (real, generated), maps (real, generated).
      training: the score of the present epoch's training pass once that is over, as loss and accuracy.
      best: the best epoch so far, as `Retraining`; its weights are kept beside those of D.
    """

    step: int = 0
    epoch: int = 1
    batch: int = 0
    sums: Sequence[float] = (0.0,) * 5
    training: Sequence[float] | None = None
    best: Mapping[str, Any] | None = None

    def after_batch(self, outcome: DiscriminatorOutcome) -> 'Position':
        """The position one batch later."""
        batch = [float(outcome.loss), *map(float, outcome.right), *map(float, outcome.total)]
        sums = [a + b for a, b in zip(self.sums, batch, strict=True)]
        return dataclasses.replace(self, step=self.step + 1, batch=self.batch + 1, sums=sums)

    def score(self) -> Score:
        """The score of the pass, once it is over."""
        loss, right, total = self.sums[0], np.array(self.sums[1:3]), np.array(self.sums[3:])
        return Score(loss=loss / total.sum(), accuracy=float(np.mean(right / np.maximum(total, 1))))

    def after_pass(self, **changes: Any) -> 'Position':
        """The position at the start of the next pass."""
        return dataclasses.replace(self, batch=0, sums=Position.sums, **changes)


class DiscriminatorTrainer:
    """Trains one discriminator again and again, each time from its current weights; Adagrad slots are fresh or kept."""

    def __init__(
        self,
        model: keras.Model,
        *,
        num_classes: int,
        options: DiscriminatorOptions,
        seed: int,
        distribution: Distribution = ONE_DEVICE,
    ):
        self.model, self.options, self.seed = model, options, seed
        with distribution.scope():
            self.optimizer = keras.optimizers.Adagrad(options.learning_rate)
            steps = discriminator_steps(model, self.optimizer, num_classes=num_classes)
        self._train, self._evaluate = map(distribution.replicated, steps)
        self._fresh = [v.numpy() for v in self.optimizer.variables]
        self._best = copies(model.weights)

    def variables(self) -> dict[str, Variable]:
        """All that a training changes: D with its statistics and dropout seeds, Adagrad, the best weights."""
        return {
            **numbered('discriminator', self.model.variables),
            **numbered('adagrad', self.optimizer.variables),
            **numbered('best', self._best),
        }

    def kept_variables(self) -> dict[str, Variable]:
        """What outlives a training: D's weights, and Adagrad's slots where they are kept."""
        slots = numbered('adagrad', self.optimizer.variables) if self.options.keep_slots else {}
        return {**numbered('discriminator', self.model.weights), **slots}

    def retrain(
        self,
        cycle: int,
        *,
        training_batches: Callable[[int, int], Iterable[dict]],
        holdout_batches: Callable[[int], Iterable[dict]],
        resumption: Resumption,
    ) -> Retraining:
        """Trains until the hold-out loss has not fallen for `patience` epochs; keeps the best weights.

        Args:
          cycle: the cycle that D is prepared for; with the seed it fixes the dropout.
          training_batches: the batches of an epoch from one on, by the numbers of both.
          holdout_batches: the batches of the hold-out from one on, by its number.
          resumption: told of each batch.

        Raises:
          UserError: the loss was not finite; the step is named.
          Stopped: the run was asked to stop.
        """
        self.start_afresh()
        self.seed_dropout(cycle)
        position = Position(**resumption.restore())
        while position.epoch <= self.options.epochs and not self._out_of_patience(position):
            title = f'discriminator {cycle}, epoch {position.epoch}'
            if position.training is None:
                epoch = cycle * self.options.epochs + position.epoch - 1
                position = self._pass(self._train, training_batches(epoch, position.batch), title, position, resumption)
                position = position.after_pass(training=dataclasses.astuple(position.score()))
            batches = holdout_batches(position.batch)
            position = self._pass(self._evaluate, batches, f'{title}, hold-out', position, resumption)
            position = self._end_epoch(position, title)
        assert position.best is not None
        self.model.set_weights([v.numpy() for v in self._best])
        return dataclasses.replace(Retraining(**position.best), epochs=position.epoch - 1)

    def _out_of_patience(self, position: Position) -> bool:
        return position.best is not None and position.epoch - 1 - position.best['epochs'] >= self.options.patience

    def start_afresh(self) -> None:
        """Gives the optimiser fresh slots, unless they are kept."""
        if self.options.keep_slots:
            return
        for variable, value in zip(self.optimizer.variables, self._fresh, strict=True):
            variable.assign(value)

    def seed_dropout(self, number: int) -> None:
        """Lets the dropout from here on follow from the seed and a number."""
        for layer in self.model.layers:
            if isinstance(layer, keras.layers.Dropout) and layer.rate:  # Without a rate it has no seed.
                layer.seed_generator.state.assign([self.seed, number])

    @memory_for('training the discriminator', '--discriminator_batch_size or --discriminator_size')
    def _pass(
        self,
        step: Callable[[dict], DiscriminatorOutcome],
        batches: Iterable[dict],
        title: str,
        position: Position,
        resumption: Resumption,
    ) -> Position:
        """Goes through the batches that the pass still has; returns the position after the last."""
        for batch in progress(batches, title, unit='batch'):
            outcome = step(batch)
            position = position.after_batch(outcome)
            if not math.isfinite(float(outcome.loss)):
                raise UserError(
                    f'The loss of the discriminator is {float(outcome.loss)} ({title}, step {position.batch}); '
                    'lower --discriminator_learning_rate.'
                )
            resumption.step_done(position.step, dataclasses.asdict(position))
        return position

    def _end_epoch(self, position: Position, title: str) -> Position:
        """Scores the epoch whose passes are over and keeps its weights if they are the best."""
        assert position.training is not None
        training, held = Score(*position.training), position.score()
        say(f'{title}: {training.words()}; hold-out {held.words()}')
        best = position.best
        if best is None or held.loss < best['holdout_loss']:
            best = dataclasses.asdict(Retraining(position.epoch, held.loss, held.accuracy, training.accuracy))
            for kept, variable in zip(self._best, self.model.weights, strict=True):
                kept.assign(variable.value)
        return position.after_pass(epoch=position.epoch + 1, training=None, best=best)
