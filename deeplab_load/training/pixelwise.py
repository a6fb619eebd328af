"""Stage 1: the segmentor alone, trained with pixel-wise cross-entropy."""

import functools
import itertools
import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from deeplab_load.data.batches import training_batches
from deeplab_load.data.examples import Examples
from deeplab_load.data.preprocessing import decode_label_map, resize_label_map
from deeplab_load.errors import UserError
from deeplab_load.models.foreign import padding_colour
from deeplab_load.reporting.progress import progress, say
from deeplab_load.restore.names import settle
from deeplab_load.shortages import memory_for
from deeplab_load.training.distribution import ONE_DEVICE, Distribution
from deeplab_load.training.momentum import Momentum
from deeplab_load.training.recipe import Recipe
from deeplab_load.training.resumption import Resumption, Variable, numbered
from deeplab_load.training.schedule import learning_rate
from deeplab_load.training.steps import PixelwiseOutcome, all_finite, pixelwise_step


@memory_for('stage 1', '--pixelwise_batch_size or --train_crop_size')
def train_pixelwise(
    segmentor: keras.Model,
    examples: Examples,
    recipe: Recipe,
    *,
    crop_size: tuple[int, int],
    seed: int,
    resumption: Callable[[Mapping[str, Variable]], Resumption],
    distribution: Distribution = ONE_DEVICE,
) -> None:
    """Trains the segmentor in place, first on class-weighted cross-entropy where there are weighted epochs.

    `resumption` makes what stores the training from the variables that the steps change.

    Raises:
      UserError: the loss or a weight was not finite, which names the step, or more steps are done than asked for.
      Stopped: the run was asked to stop.
    """
    with distribution.scope():
        optimizer = Momentum(segmentor.trainable_variables, learning_rate=0.0, momentum=recipe.pixelwise_momentum)
    total = step_counts(recipe, len(examples))[1]
    step_at = _steps(segmentor, optimizer, examples, recipe, distribution)
    training = resumption({**numbered('segmentor', segmentor.variables), **numbered('slot', optimizer.slots)})
    stored = training.restore()
    settle(segmentor)
    first, recent = _first_step(stored, total), deque(stored.get('recent', ()), maxlen=100)
    batches = training_batches(
        examples,
        crop_size=crop_size,
        batch_size=recipe.pixelwise_batch_size,
        seed=seed,
        first_batch=first,
        scales=recipe.scales,
        part=distribution.part,
        colour=padding_colour(segmentor),
    )
    left = itertools.islice(batches, total - first)
    for number, batch in enumerate(progress(left, 'stage 1', total=total - first), first):
        optimizer.learning_rate.assign(learning_rate(recipe, number, total))
        outcome = step_at(number)(batch['image'], batch['label'], tf.constant(number))
        recent.append(_finite(outcome, number))
        if (number + 1) % 100 == 0 or number + 1 == total:
            say(f'stage 1: step {number + 1} of {total}, cross-entropy {np.mean(recent):.4f}')
        training.step_done(number + 1, {'step': number + 1, 'recent': list(recent)})
    if not bool(all_finite([v.value for v in segmentor.weights])):
        raise UserError(f'A weight is not finite after step {total} of stage 1; lower --pixelwise_learning_rate.')


def _first_step(stored: Mapping[str, Any], total: int) -> int:
    """The step to go on with; a fork may ask for fewer steps than are done."""
    first = stored.get('step', 0)
    if first > total:
        raise UserError(
            f'Stage 1 stands at step {first}, but the options ask for {total} steps in all: go on in another --fork '
            'with more --pixelwise_epochs or --training_number_of_steps.'
        )
    return first


def step_counts(recipe: Recipe, images: int) -> tuple[int, int]:
    """The number of class-weighted steps, which come first, and of all steps over so many images."""
    weighted, total = (
        math.ceil(epochs * images / recipe.pixelwise_batch_size)
        for epochs in (recipe.pixelwise_weighted_epochs, recipe.epochs)
    )
    return weighted, recipe.training_number_of_steps or total


def _steps(
    segmentor: keras.Model, optimizer: Momentum, examples: Examples, recipe: Recipe, distribution: Distribution
) -> Callable[[int], Callable[..., PixelwiseOutcome]]:
    """The step to take by its number: class-weighted or plain."""
    make = functools.partial(pixelwise_step, segmentor, optimizer, recipe, ignore_label=examples.spec.ignore_label)
    plain, weighted = distribution.replicated(make()), step_counts(recipe, len(examples))[0]
    if not weighted:
        return lambda number: plain
    balanced = distribution.replicated(make(mean_counts=tf.constant(mean_class_counts(examples), tf.float32)))
    return lambda number: balanced if number < weighted else plain


def _finite(outcome: PixelwiseOutcome, number: int) -> float:
    """The sum of the losses of all scales."""
    loss = float(tf.reduce_sum(outcome.losses))
    if not math.isfinite(loss + float(outcome.regularization)):
        raise UserError(f'The loss of stage 1 is {loss} at step {number + 1}; lower --pixelwise_learning_rate.')
    return loss


def mean_class_counts(examples: Examples) -> np.ndarray:
    """Pixels of each class in the examples, divided by the number of images: float64 `[classes]`."""
    classes = len(examples.spec.classes)
    counts = np.zeros(256)
    for index in progress(range(len(examples)), 'counting classes', unit='image'):
        label = decode_label_map(tf.constant(examples.encoded(index)[1]))
        counts += np.bincount(resize_label_map(label, examples.resize).numpy().ravel(), minlength=256)
    return counts[:classes] / len(examples)
