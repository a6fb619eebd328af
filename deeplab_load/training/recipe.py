"""The options of stage 1, pixel-wise training, with the article's defaults and the original DeepLab's."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from deeplab_load.data.specs import ScaleRange
from deeplab_load.errors import UserError
from deeplab_load.spellings import demand, option

# What the original's train.py has by default where the article's stage 1 has something else.
DEEPLAB: dict[str, Any] = {
    'training_number_of_steps': 30000,
    'pixelwise_batch_size': 8,
    'pixelwise_schedule': 'poly',
    'fine_tune_batch_norm': True,
    'weight_decay': 4e-5,
    'min_scale_factor': 0.5,
    'max_scale_factor': 2.0,
}


@dataclass(frozen=True)
class Recipe:
    """How stage 1 trains; where the original has an option too, it has the original's name and meaning.

    The original's base_learning_rate, learning_policy, momentum and train_batch_size are called `pixelwise_*`.

    Raises:
        UserError: a value with which nothing can be trained.
    """

    recipe: str = option(
        'article',
        "Defaults of the options of stage 1: the article's, or those of the original's train.py.",
        ('article', 'deeplab'),
    )
    pixelwise_weighted_epochs: int = option(0, 'Stage 1: epochs of class-weighted cross-entropy, first.')
    pixelwise_epochs: int = option(0, 'Stage 1: epochs of plain cross-entropy.')
    training_number_of_steps: int = option(0, 'Stage 1: optimiser steps, instead of epochs; deeplab: 30000.')
    pixelwise_batch_size: int = option(7, 'Stage 1: images in a batch; deeplab: 8.')
    pixelwise_momentum: float = option(0.9, 'Stage 1: momentum.')
    # Random scales.
    min_scale_factor: float = option(1.0, 'Stage 1: least factor by which images are scaled at random; deeplab: 0.5.')
    max_scale_factor: float = option(1.0, 'Stage 1: greatest factor; deeplab: 2.')
    scale_factor_step_size: float = option(0.25, 'Stage 1: step between the factors; 0: any factor between the two.')
    # The learning rate.
    pixelwise_learning_rate: float = option(1e-4, 'Stage 1: learning rate, at first where it falls.')
    pixelwise_schedule: str = option(
        'constant', 'Stage 1: course of the learning rate; deeplab: poly.', ('constant', 'poly', 'step', 'cosine')
    )
    learning_power: float = option(0.9, 'Stage 1, poly: power.')
    decay_steps: int = option(0, 'Stage 1, poly: steps after which the rate falls no more; 0: all of them.')
    end_learning_rate: float = option(0.0, 'Stage 1, poly: rate that it falls to.')
    learning_rate_decay_step: int = option(2000, 'Stage 1, step: steps between two falls.')
    learning_rate_decay_factor: float = option(0.1, 'Stage 1, step: factor of a fall.')
    slow_start_step: int = option(0, 'Stage 1: steps before the schedule begins.')
    slow_start_learning_rate: float = option(1e-4, 'Stage 1: learning rate before the schedule begins.')
    slow_start_burnin_type: str = option(
        'none', 'Stage 1: whether the rate before the schedule begins rises to it.', ('none', 'linear')
    )
    # Precision.
    mixed_precision: bool = option(
        False, 'In every stage: compute dense convolutions that batch norm follows in bfloat16.'
    )
    # Batch norm.
    fine_tune_batch_norm: bool = option(False, 'Stage 1: normalise with the statistics of the batch; deeplab: so.')
    batch_norm_decay: float | None = option(None, "Stage 1: decay of batch-norm statistics; the original's if absent.")
    # Gradients.
    weight_decay: float = option(0.0, 'Stage 1: L2 of the weights of convolutions but depthwise ones; deeplab: 4e-5.')
    last_layer_gradient_multiplier: float = option(1.0, 'Stage 1: factor on the gradients of the last layers.')
    last_layers_contain_logits_only: bool = option(False, 'Stage 1: not all after the backbone but the logits alone.')
    # The loss.
    upsample_logits: bool = option(True, 'Stage 1: compare at the size of the labels, not at that of the logits.')
    label_weights: tuple[float, ...] = option((), 'Stage 1: weight of each class in the loss.')
    top_k_percent_pixels: float = option(1.0, 'Stage 1: share of pixels, those with the largest losses, that count.')
    hard_example_mining_step: int = option(0, 'Stage 1: steps in which that share falls from 1; 0: at once.')
    image_pyramid: tuple[float, ...] = option((1.0,), 'Stage 1: scales of the image that the network sees.')
    merge_method: str = option('max', 'Stage 1: how the logits of these scales are merged.', ('max', 'avg'))

    def __post_init__(self) -> None:
        """Raises UserError for values with which stage 1 cannot train."""
        self._require_length()
        self._require_schedule()
        for name in ('weight_decay', 'last_layer_gradient_multiplier', 'hard_example_mining_step'):
            demand(getattr(self, name) >= 0, self, name, 'at least 0')
        demand(self.min_scale_factor > 0, self, 'min_scale_factor', 'above 0')
        demand(self.min_scale_factor <= self.max_scale_factor, self, 'max_scale_factor', 'at least --min_scale_factor')
        demand(self.max_scale_factor < math.inf, self, 'max_scale_factor', 'finite')
        demand(self.scale_factor_step_size >= 0, self, 'scale_factor_step_size', 'at least 0')
        demand(all(weight >= 0 for weight in self.label_weights), self, 'label_weights', 'at least 0 each')
        demand(
            all(0 < scale < math.inf for scale in self.image_pyramid), self, 'image_pyramid', 'finite and above 0 each'
        )
        demand(len(self.image_pyramid) > 0, self, 'image_pyramid', 'one scale or more, such as 0.5,1')
        demand(0 < self.top_k_percent_pixels <= 1, self, 'top_k_percent_pixels', 'above 0 and at most 1')
        decay = self.batch_norm_decay
        demand(decay is None or 0 <= decay <= 1, self, 'batch_norm_decay', 'at least 0 and at most 1')

    def _require_length(self) -> None:
        for name in ('pixelwise_weighted_epochs', 'pixelwise_epochs', 'training_number_of_steps'):
            demand(getattr(self, name) >= 0, self, name, 'at least 0')
        demand(self.pixelwise_batch_size > 0, self, 'pixelwise_batch_size', 'above 0')
        if self.epochs and self.training_number_of_steps:
            raise UserError(
                '--training_number_of_steps and --pixelwise_epochs (or --pixelwise_weighted_epochs) both say how long '
                'stage 1 is; leave one out, or set it to 0 where a flagfile gives it.'
            )

    def _require_schedule(self) -> None:
        for name in ('pixelwise_learning_rate', 'learning_power', 'learning_rate_decay_step'):
            demand(getattr(self, name) > 0, self, name, 'above 0')
        for name in ('decay_steps', 'end_learning_rate', 'slow_start_step', 'slow_start_learning_rate'):
            demand(getattr(self, name) >= 0, self, name, 'at least 0')
        demand(0 <= self.pixelwise_momentum < 1, self, 'pixelwise_momentum', 'at least 0 and below 1')
        factor = self.learning_rate_decay_factor
        demand(0 < factor <= 1, self, 'learning_rate_decay_factor', 'above 0 and at most 1')

    def require_label_weights(self, num_classes: int) -> None:
        """Raises UserError unless there is a weight for each class, or none at all."""
        number = len(self.label_weights)
        demand(number in (0, num_classes), self, 'label_weights', f'{num_classes} weights, one for each class')

    @property
    def epochs(self) -> int:
        """Epochs of stage 1, weighted ones and plain ones."""
        return self.pixelwise_weighted_epochs + self.pixelwise_epochs

    @property
    def trains(self) -> bool:
        """Whether there is a stage 1."""
        return bool(self.epochs or self.training_number_of_steps)

    @property
    def scales(self) -> ScaleRange | None:
        """The random scales; None if images are not scaled."""
        if self.min_scale_factor == self.max_scale_factor == 1:
            return None
        return ScaleRange(self.min_scale_factor, self.max_scale_factor, self.scale_factor_step_size)

    @property
    def bias_gradient_multiplier(self) -> float:
        """Factor on the gradients of biases, which the original doubles."""
        return 2.0 if self.recipe == 'deeplab' else 1.0


def recipe_defaults(recipe: str, given: Collection[str]) -> dict[str, Any]:
    """What a recipe sets otherwise than the article, of the options that are not `given`."""
    if recipe != 'deeplab':
        return {}
    if {'pixelwise_epochs', 'pixelwise_weighted_epochs'} & set(given):
        given = {*given, 'training_number_of_steps'}
    return {name: value for name, value in DEEPLAB.items() if name not in given}
