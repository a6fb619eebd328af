"""The players of Luc et al. 2016: D and g take gradient steps in turn."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from deeplab_load.errors import UserError
from deeplab_load.lookahead.alternating import AlternatingLosses
from deeplab_load.training.players import Step, TensorFlowPlayers
from deeplab_load.training.steps import AdversarialOutcome, all_finite, paired_step


class LucPlayers(TensorFlowPlayers):
    """g and D; implements `lookahead.alternating.AlternatingPlayers`.

    In each step D learns, in training mode, from a batch's real maps and from g's of the same windows, just as g shows
    them to it; then g learns, with that D in inference mode. D's slots begin fresh and are kept.
    """

    def _make_step(self, **more: Any) -> Step:
        """The step of g, with one of D before it."""
        paired = paired_step(self.trainer.model, self.trainer.optimizer)
        return super()._make_step(train_discriminator=paired, **more)

    def propagate(self, propagation: int) -> AlternatingLosses:
        """Trains D and g for `steps_per_propagation` steps; puts both back where g's outcome was not finite.

        Raises:
          UserError: D's was not, though g's maps were; the propagation is named.
        """
        self.trainer.seed_dropout(propagation + 1)  # D's first training had 0.
        before = [tf.convert_to_tensor(variable) for _, variable in self._discriminator_state()]
        losses, outcomes = self._take_steps(propagation)
        if not self.options.weight:
            return AlternatingLosses(losses.ce, losses.adv, losses.finite)
        if math.isfinite(outcomes[-1].ce) and not self._discriminator_is_finite(outcomes[-1]):
            raise UserError(
                f'The loss or a weight of the discriminator is not finite in propagation {propagation + 1}; '
                'lower --discriminator_learning_rate.'
            )
        if not losses.finite:
            for (_, variable), value in zip(self._discriminator_state(), before, strict=True):
                variable.assign(value)
            return AlternatingLosses(losses.ce, losses.adv, finite=False)
        return AlternatingLosses(losses.ce, losses.adv, True, *_score(outcomes))

    def _discriminator_is_finite(self, last: AdversarialOutcome) -> bool:
        assert last.discriminator is not None
        return bool(all_finite([last.adv, last.discriminator.loss, *(v.value for v in self.trainer.model.weights)]))

    def restore(self, name: str) -> None:
        """Sets g to a snapshot, with fresh optimiser slots of g and D."""
        super().restore(name)
        self.trainer.start_afresh()

    def _working_state(self) -> dict[str, tf.Tensor]:
        discriminator = {name: tf.convert_to_tensor(variable) for name, variable in self._discriminator_state()}
        return {**super()._working_state(), **discriminator}

    def _assign_working_state(self, values: dict[str, np.ndarray]) -> None:
        super()._assign_working_state(values)
        for name, variable in self._discriminator_state():
            variable.assign(values[name])

    def _discriminator_state(self) -> Iterable[tuple[str, tf.Variable]]:
        """D's weights and slots, by number."""
        variables = [*self.trainer.model.weights, *self.trainer.optimizer.variables]
        return [(f'discriminator/{number:03d}', variable) for number, variable in enumerate(variables)]


def _score(outcomes: Iterable[AdversarialOutcome]) -> tuple[float, float]:
    """The mean loss of D and its balanced accuracy over the steps of a propagation."""
    scores = [o.discriminator for o in outcomes if o.discriminator is not None]
    right, total = np.sum([s.right for s in scores], axis=0), np.sum([s.total for s in scores], axis=0)
    return sum(float(s.loss) for s in scores) / float(total.sum()), float(np.mean(right / total))
