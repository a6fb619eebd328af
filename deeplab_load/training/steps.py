"""The optimiser steps, each one `tf.function`.

A step may run on several replicas (`training.distribution`), each with its slice of a batch: it minimises the sum of
their shares of the loss, and what it returns is summed up over them.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from deeplab_load import losses, replicas
from deeplab_load.models import discriminator as d
from deeplab_load.models.enlarging import enlarge
from deeplab_load.models.in_training import in_training
from deeplab_load.models.judging import folded_in_inference, on_labels
from deeplab_load.training.momentum import Momentum
from deeplab_load.training.objective import (
    gradient_factors,
    pixel_weights,
    regularization_loss,
    regularized,
    scale_logits,
    scale_loss,
)
from deeplab_load.training.recipe import Recipe


class DiscriminatorOutcome(NamedTuple):
    """Sums over a batch of D: weighted loss, and right answers and maps, `[2]`: of real and of generated ones."""

    loss: tf.Tensor
    right: tf.Tensor
    total: tf.Tensor


class AdversarialOutcome(NamedTuple):
    """Losses of a step, whether they and all weights of g after it are finite, and D's outcome where it trained too."""

    ce: tf.Tensor
    adv: tf.Tensor
    finite: tf.Tensor
    discriminator: DiscriminatorOutcome | None = None


def adversarial_step(
    segmentor: keras.Model,
    discriminator: keras.Model,
    optimizer: Momentum,
    *,
    adversarial_weight: float,
    straight_through: bool,
    mixed_precision: bool = False,
    train_discriminator: Callable[[tf.Tensor, tf.Tensor], DiscriminatorOutcome] | None = None,
) -> Callable[[tf.Tensor, tf.Tensor], AdversarialOutcome]:
    """Makes the step of g: L = CE + λ · (−log D(ŷ | x)), D fixed and in inference mode, batch norm frozen.

    The step takes windows `[batch, h, w, 3]` (0 to 255) and labels uint8 `[batch, h, w]`. With λ = 0 D is not asked.
    Where `train_discriminator` is given, D first takes a step on what it sees of the real maps and of g's.
    """
    size, network = discriminator.input_shape[1], in_training(segmentor, frozen=True, mixed_precision=mixed_precision)
    judge = folded_in_inference(discriminator)
    targets = [v.value for v in optimizer.variables]

    @tf.function
    def step(images: tf.Tensor, labels: tf.Tensor) -> AdversarialOutcome:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(targets)
            logits = network(images, training=False)
            ce = losses.cross_entropy(labels, enlarge(logits, images.shape[1:3]))
            adv, d_outcome = tf.zeros(()), None
            if adversarial_weight:
                maps = d.generated_maps(logits, labels, size=size, straight_through=straight_through)
                generated = d.input_of(discriminator, images, maps)
                if train_discriminator:
                    real = d.hard_maps(labels, labels, num_classes=maps.shape[-1], size=size)
                    with tape.stop_recording():
                        d_outcome = train_discriminator(d.input_of(discriminator, images, real), generated)
                adv = losses.non_saturating(judge(generated, training=False))
            loss = ce + adversarial_weight * adv
        optimizer.apply(replicas.total(_gradients(tape, loss, targets)))
        ce, adv = replicas.total([ce, adv])
        return AdversarialOutcome(ce, adv, all_finite([ce + adversarial_weight * adv, *targets]), d_outcome)

    return step


def _gradients(tape: tf.GradientTape, loss: tf.Tensor, targets: Sequence[tf.Variable]) -> list[tf.Tensor]:
    """The gradients; zeros for what the loss does not depend on, as a head of another segmentor for training alone."""
    return tape.gradient(loss, targets, unconnected_gradients=tf.UnconnectedGradients.ZERO)


class PixelwiseOutcome(NamedTuple):
    """Losses of a step of stage 1: of each scale of the image and of the merged logits, `[scales]`; weight decay's."""

    losses: tf.Tensor
    regularization: tf.Tensor


def pixelwise_step(
    segmentor: keras.Model,
    optimizer: Momentum,
    recipe: Recipe,
    *,
    ignore_label: int = 255,
    mean_counts: tf.Tensor | None = None,
) -> Callable[[tf.Tensor, tf.Tensor, tf.Tensor], PixelwiseOutcome]:
    """Makes the step of stage 1, whose loss weighs classes where `mean_counts` `[classes]` is given.

    The step takes windows `[batch, h, w, 3]` (0 to 255), labels uint8 `[batch, h, w]` and its own number, from 0. The
    optimizer's learning rate is the caller's. Source: deeplab/train.py, _train_deeplab_model.
    """
    targets = [v.value for v in optimizer.variables]
    decayed = regularized(segmentor).values() if recipe.weight_decay else ()
    factors = gradient_factors(segmentor, optimizer.variables, recipe)
    scales = scale_logits(segmentor, recipe)

    @tf.function
    def step(images: tf.Tensor, labels: tf.Tensor, number: tf.Tensor) -> PixelwiseOutcome:
        weights = pixel_weights(labels, recipe, mean_counts, ignore_label)
        how = {'step': number, 'ignore_label': ignore_label, 'class_weights': weights}
        with tf.GradientTape() as tape:
            by_scale = tf.stack([scale_loss(logits, labels, recipe, **how) for logits in scales(images)])
            decay = regularization_loss(decayed, recipe.weight_decay)
            loss = tf.reduce_sum(by_scale) + decay / replicas.count()
        gradients = replicas.total(_gradients(tape, loss, targets))
        optimizer.apply([g if f == 1.0 else f * g for f, g in zip(factors, gradients, strict=True)])
        return PixelwiseOutcome(replicas.total(by_scale), decay)

    return step


# A batch of `data.batches.discriminator_batches`, of any number of maps: their last batches are smaller.
OF_DISCRIMINATOR = {
    'image': tf.TensorSpec([None, None, None, 3], tf.float32),
    'label_map': tf.TensorSpec([None, None, None], tf.uint8),
    'ground_truth': tf.TensorSpec([None, None, None], tf.uint8),
    'real': tf.TensorSpec([None], tf.float32),
    'weight': tf.TensorSpec([None], tf.float32),
}


def discriminator_steps(
    discriminator: keras.Model, optimizer: keras.Optimizer, *, num_classes: int
) -> tuple[Callable[[dict], DiscriminatorOutcome], Callable[[dict], DiscriminatorOutcome]]:
    """Makes the training step of D and its evaluation on a batch of `data.batches.discriminator_batches`."""
    size, judge = discriminator.input_shape[1], on_labels(discriminator, num_classes)
    optimizer.build(discriminator.trainable_variables)
    # Several replicas are called with all their slices at once, which no signature describes.
    alone = tf.distribute.get_strategy().num_replicas_in_sync == 1
    traced = tf.function(input_signature=[OF_DISCRIMINATOR]) if alone else tf.function(reduce_retracing=True)

    def forward(batch: dict, training: bool) -> tuple[tf.Tensor, DiscriminatorOutcome]:
        labels = d.hard_labels(batch['label_map'], batch['ground_truth'], size)
        logits = judge(batch['image'], labels, training)
        return _judge(logits[:, 0], batch['real'], batch['weight'])

    @traced
    def train(batch: dict) -> DiscriminatorOutcome:
        with tf.GradientTape() as tape:
            loss, outcome = forward(batch, training=True)
        _descend(discriminator, optimizer, tape, loss, rows=tf.size(batch['real']))
        return outcome

    @traced
    def evaluate(batch: dict) -> DiscriminatorOutcome:
        return forward(batch, training=False)[1]

    return train, evaluate


def paired_step(
    discriminator: keras.Model, optimizer: keras.Optimizer
) -> Callable[[tf.Tensor, tf.Tensor], DiscriminatorOutcome]:
    """Makes a step of D on what it sees of real maps and of as many generated ones, as `adversarial_step` takes it."""
    optimizer.build(discriminator.trainable_variables)

    def step(real: tf.Tensor, generated: tf.Tensor) -> DiscriminatorOutcome:
        is_real = tf.concat([tf.ones(tf.shape(real)[0]), tf.zeros(tf.shape(generated)[0])], axis=0)
        with tf.GradientTape() as tape:
            with replicas.two_blocks():
                logits = discriminator(tf.concat([real, generated], axis=0), training=True)[:, 0]
            loss, outcome = _judge(logits, is_real, tf.ones_like(is_real))
        _descend(discriminator, optimizer, tape, loss, rows=tf.size(is_real))
        return outcome

    return step


def _judge(logits: tf.Tensor, real: tf.Tensor, weights: tf.Tensor) -> tuple[tf.Tensor, DiscriminatorOutcome]:
    """This replica's share of the loss of D for a batch, and what is summed up of the whole batch."""
    loss = losses.discriminator_cross_entropy(logits, real, weights)
    groups = tf.stack([real, 1 - real])
    right = tf.cast((logits > 0) == (real > 0), tf.float32)
    mean, right, total = replicas.total([loss, tf.linalg.matvec(groups, right), tf.reduce_sum(groups, axis=1)])
    return loss, DiscriminatorOutcome(mean * tf.reduce_sum(total), right, total)


def _descend(
    model: keras.Model, optimizer: keras.Optimizer, tape: tf.GradientTape, loss: tf.Tensor, *, rows: tf.Tensor
) -> None:
    variables = model.trainable_variables
    gradients = tape.gradient(loss, [v.value for v in variables])
    if replicas.count() > 1:  # TensorFlow's depthwise gradient of a slice without rows is what lay in memory.
        gradients = [tf.where(rows > 0, g, tf.zeros_like(g)) for g in gradients]
    optimizer.apply_gradients(zip(gradients, variables, strict=True))  # Keras adds them up over the replicas.


def all_finite(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    """Whether every value of every tensor is finite, as a scalar bool."""
    return tf.reduce_all(tf.stack([tf.reduce_all(tf.math.is_finite(t)) for t in tensors if t.dtype.is_floating]))
