"""The optimiser steps, each one `tf.function`."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from deeplab_load import losses
from deeplab_load.models import discriminator as d
from deeplab_load.models.inference import upsampled_logits
from deeplab_load.training.momentum import Momentum


class AdversarialOutcome(NamedTuple):
    """Losses of a step, and whether they and all weights after it are finite."""

    ce: tf.Tensor
    adv: tf.Tensor
    finite: tf.Tensor


def adversarial_step(
    segmentor: keras.Model,
    discriminator: keras.Model,
    optimizer: Momentum,
    *,
    adversarial_weight: float,
    straight_through: bool,
) -> Callable[[tf.Tensor, tf.Tensor], AdversarialOutcome]:
    """Makes the step of g: L = CE + λ · (−log D(ŷ | x)), D fixed and in inference mode, batch norm frozen.

    The step takes windows `[batch, h, w, 3]` (0 to 255) and labels uint8 `[batch, h, w]`. With λ = 0 D is not asked.
    """
    size = discriminator.input_shape[1]
    targets = [v.value for v in optimizer.variables]

    @tf.function
    def step(images: tf.Tensor, labels: tf.Tensor) -> AdversarialOutcome:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(targets)
            logits = segmentor(images, training=False)
            ce = losses.cross_entropy(labels, upsampled_logits(logits, images.shape[1:3]))
            adv = tf.zeros(())
            if adversarial_weight:
                maps = d.generated_maps(logits, labels, size=size, straight_through=straight_through)
                split = d.class_split(d.discriminator_images(images, size), maps)
                adv = losses.non_saturating(discriminator(split, training=False))
            loss = ce + adversarial_weight * adv
        optimizer.apply(tape.gradient(loss, targets))
        return AdversarialOutcome(ce=ce, adv=adv, finite=all_finite([loss, *targets]))

    return step


def pixelwise_step(
    segmentor: keras.Model, optimizer: Momentum, *, mean_counts: tf.Tensor | None = None
) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """Makes the step of stage 1: cross-entropy alone, class-weighted where `mean_counts` `[classes]` is given.

    The step takes windows `[batch, h, w, 3]` (0 to 255) and labels uint8 `[batch, h, w]` and returns the loss.
    """
    targets = [v.value for v in optimizer.variables]

    @tf.function
    def step(images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        weights = None if mean_counts is None else losses.balancing_weights(labels, mean_counts)
        with tf.GradientTape() as tape:
            logits = upsampled_logits(segmentor(images, training=True), images.shape[1:3])
            loss = losses.cross_entropy(labels, logits, class_weights=weights)
        optimizer.apply(tape.gradient(loss, targets))
        return loss

    return step


class DiscriminatorOutcome(NamedTuple):
    """Sums over a batch of D: weighted loss, and right answers and maps, `[2]`: of real and of generated ones."""

    loss: tf.Tensor
    right: tf.Tensor
    total: tf.Tensor


def discriminator_steps(
    discriminator: keras.Model, optimizer: keras.Optimizer, *, num_classes: int
) -> tuple[Callable[[dict], DiscriminatorOutcome], Callable[[dict], DiscriminatorOutcome]]:
    """Makes the training step of D and its evaluation on a batch of `data.batches.discriminator_batches`."""
    size = discriminator.input_shape[1]
    optimizer.build(discriminator.trainable_variables)

    def forward(batch: dict, training: bool) -> tuple[tf.Tensor, DiscriminatorOutcome]:
        maps = d.hard_maps(batch['label_map'], batch['ground_truth'], num_classes=num_classes, size=size)
        split = d.class_split(d.discriminator_images(batch['image'], size), maps)
        logits = discriminator(split, training=training)[:, 0]
        loss = losses.discriminator_cross_entropy(logits, batch['real'], batch['weight'])
        groups = tf.stack([batch['real'], 1 - batch['real']])
        right = tf.cast((logits > 0) == (batch['real'] > 0), tf.float32)
        total = tf.reduce_sum(groups, axis=1)
        return loss, DiscriminatorOutcome(loss * tf.reduce_sum(total), tf.linalg.matvec(groups, right), total)

    @tf.function(reduce_retracing=True)
    def train(batch: dict) -> DiscriminatorOutcome:
        with tf.GradientTape() as tape:
            loss, outcome = forward(batch, training=True)
        variables = discriminator.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, [v.value for v in variables]), variables, strict=True))
        return outcome

    @tf.function(reduce_retracing=True)
    def evaluate(batch: dict) -> DiscriminatorOutcome:
        return forward(batch, training=False)[1]

    return train, evaluate


def all_finite(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    """Whether every value of every tensor is finite, as a scalar bool."""
    return tf.reduce_all(tf.stack([tf.reduce_all(tf.math.is_finite(t)) for t in tensors]))
