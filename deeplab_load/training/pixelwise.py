"""Stage 1 of the article: the segmentor alone, trained with pixel-wise cross-entropy."""

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from deeplab_load.catalog import mean_pixel
from deeplab_load.data.batches import training_batches
from deeplab_load.data.examples import Examples
from deeplab_load.data.preprocessing import decode_label_map
from deeplab_load.errors import UserError
from deeplab_load.reporting.progress import progress, say
from deeplab_load.training.momentum import Momentum
from deeplab_load.training.resumption import Resumption, Variable, numbered
from deeplab_load.training.steps import all_finite, pixelwise_step


@dataclass(frozen=True)
class PixelwiseOptions:
    """How stage 1 trains; names as the flags without `pixelwise_`."""

    weighted_epochs: int
    epochs: int
    learning_rate: float
    momentum: float
    batch_size: int
    poly: bool
    seed: int


def train_pixelwise(
    segmentor: keras.Model,
    examples: Examples,
    options: PixelwiseOptions,
    *,
    crop_size: tuple[int, int],
    resumption: Callable[[Mapping[str, Variable]], Resumption],
) -> None:
    """Trains the segmentor in place: epochs of class-weighted cross-entropy, then of plain cross-entropy.

    `resumption` makes what stores the training from the variables that the steps change.

    Raises:
      UserError: the loss or a weight was not finite; the step is named.
      Stopped: the run was asked to stop.
    """
    optimizer = Momentum(segmentor.trainable_variables, learning_rate=options.learning_rate, momentum=options.momentum)
    weighted = _steps(options.weighted_epochs, len(examples), options.batch_size)
    total = _steps(options.weighted_epochs + options.epochs, len(examples), options.batch_size)
    plain_step = pixelwise_step(segmentor, optimizer)
    weighted_step = plain_step
    if weighted:
        counts = tf.constant(mean_class_counts(examples), tf.float32)
        weighted_step = pixelwise_step(segmentor, optimizer, mean_counts=counts)
    training = resumption({**numbered('segmentor', segmentor.variables), **numbered('slot', optimizer.slots)})
    stored = training.restore()
    first, recent = stored.get('step', 0), deque(stored.get('recent', ()), maxlen=100)
    batches = training_batches(
        examples,
        crop_size=crop_size,
        batch_size=options.batch_size,
        seed=options.seed,
        first_batch=first,
        colour=mean_pixel(segmentor.name),
    ).take(total - first)
    for number, batch in enumerate(progress(batches, 'stage 1', total=total - first), first):
        if options.poly:
            optimizer.learning_rate.assign(poly(options.learning_rate, number, total))
        step = weighted_step if number < weighted else plain_step
        recent.append(_finite(step(batch['image'], batch['label']), number))
        if (number + 1) % 100 == 0 or number + 1 == total:
            say(f'stage 1: step {number + 1} of {total}, cross-entropy {np.mean(recent):.4f}')
        training.step_done(number + 1, {'step': number + 1, 'recent': list(recent)})
    if not bool(all_finite([v.value for v in segmentor.weights])):
        raise UserError(f'A weight is not finite after step {total} of stage 1; lower --pixelwise_learning_rate.')


def poly(learning_rate: float, step: int, steps: int, power: float = 0.9) -> float:
    """The original's decay: learning_rate · (1 − step / steps)^power (TF1 `train_utils.get_model_learning_rate`)."""
    return learning_rate * (1 - step / steps) ** power


def _steps(epochs: int, images: int, batch_size: int) -> int:
    return math.ceil(epochs * images / batch_size)


def _finite(loss: tf.Tensor, number: int) -> float:
    if not math.isfinite(float(loss)):
        raise UserError(f'The loss of stage 1 is {float(loss)} at step {number + 1}; lower --pixelwise_learning_rate.')
    return float(loss)


def mean_class_counts(examples: Examples) -> np.ndarray:
    """Pixels of each class in the examples, divided by the number of images: float64 `[classes]`."""
    classes = len(examples.spec.classes)
    counts = np.zeros(256)
    for index in progress(range(len(examples)), 'counting classes', unit='image'):
        label = decode_label_map(tf.constant(examples.encoded(index)[1])).numpy()
        counts += np.bincount(label.ravel(), minlength=256)
    return counts[:classes] / len(examples)
