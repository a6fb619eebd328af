"""Training of the discriminator on D_t ∪ B, with early stopping on the hold-out."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from deeplab_load.errors import UserError
from deeplab_load.lookahead.algorithm import Retraining
from deeplab_load.reporting.progress import progress, say
from deeplab_load.training.steps import DiscriminatorOutcome, discriminator_steps
from deeplab_load.training.stopping import StopSignal


@dataclass(frozen=True)
class DiscriminatorOptions:
    """How D is trained; names as the flags without `discriminator_`."""

    learning_rate: float
    batch_size: int
    paired: bool
    patience: int
    epochs: int


@dataclass(frozen=True)
class Score:
    """Weighted loss of D and its accuracy, balanced over real and generated maps."""

    loss: float
    accuracy: float

    def words(self) -> str:
        """Loss and accuracy for a line of the log."""
        return f'loss {self.loss:.4f}, balanced accuracy {100 * self.accuracy:.1f} %'


class DiscriminatorTrainer:
    """Trains one discriminator again and again, each time from its current weights with fresh Adagrad slots."""

    def __init__(self, model: keras.Model, *, num_classes: int, options: DiscriminatorOptions, seed: int):
        self.model, self.options, self.seed = model, options, seed
        self.optimizer = keras.optimizers.Adagrad(options.learning_rate)
        self._train, self._evaluate = discriminator_steps(model, self.optimizer, num_classes=num_classes)
        self._fresh = [v.numpy() for v in self.optimizer.variables]

    def retrain(
        self,
        cycle: int,
        *,
        training_batches: Callable[[int], tf.data.Dataset],
        holdout_batches: Callable[[], tf.data.Dataset],
        stop: StopSignal,
    ) -> Retraining:
        """Trains until the hold-out loss has not fallen for `patience` epochs; keeps the best weights.

        Args:
          cycle: the cycle that D is prepared for; with the seed it fixes the dropout.
          training_batches: the batches of an epoch, by its number.
          holdout_batches: the batches of the hold-out.
          stop: checked after each batch.

        Raises:
          UserError: the loss was not finite; the step is named.
        """
        self.start_afresh()
        self.seed_dropout(cycle)
        best: Retraining | None = None
        best_weights: list[np.ndarray] = []
        epoch = best_epoch = 0
        while epoch < self.options.epochs and epoch - best_epoch < self.options.patience:
            batches = training_batches(cycle * self.options.epochs + epoch)
            epoch += 1
            title = f'discriminator {cycle}, epoch {epoch}'
            training = self._score(self._train, batches, title, stop)
            held = self._score(self._evaluate, holdout_batches(), f'{title}, hold-out', stop)
            say(f'{title}: {training.words()}; hold-out {held.words()}')
            if best is None or held.loss < best.holdout_loss:
                best = Retraining(epoch, held.loss, held.accuracy, training.accuracy)
                best_weights, best_epoch = self._weights(), epoch
        assert best is not None
        self.model.set_weights(best_weights)
        return dataclasses.replace(best, epochs=epoch)

    def start_afresh(self) -> None:
        """Gives the optimiser fresh slots."""
        for variable, value in zip(self.optimizer.variables, self._fresh, strict=True):
            variable.assign(value)

    def seed_dropout(self, number: int) -> None:
        """Lets the dropout from here on follow from the seed and a number."""
        for layer in self.model.layers:
            if isinstance(layer, keras.layers.Dropout):
                layer.seed_generator.state.assign([self.seed, number])

    def _weights(self) -> list[np.ndarray]:
        return [np.array(w) for w in self.model.get_weights()]

    def _score(
        self,
        step: Callable[[dict], DiscriminatorOutcome],
        batches: tf.data.Dataset,
        title: str,
        stop: StopSignal,
    ) -> Score:
        loss, right, total = 0.0, np.zeros(2), np.zeros(2)
        for number, batch in enumerate(progress(batches, title, unit='batch'), 1):
            outcome = step(batch)
            if not math.isfinite(float(outcome.loss)):
                raise UserError(
                    f'The loss of the discriminator is {float(outcome.loss)} ({title}, step {number}); '
                    'lower --discriminator_learning_rate.'
                )
            loss += float(outcome.loss)
            right, total = right + outcome.right.numpy(), total + outcome.total.numpy()
            stop.check()
        return Score(loss=loss / total.sum(), accuracy=float(np.mean(right / np.maximum(total, 1))))
