"""Losses of the segmentor and of the discriminator: pure functions, each with its source.

Where a step runs on several replicas, each returns this replica's share of the loss of the whole batch.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from deeplab_load import replicas


def cross_entropy(
    labels: tf.Tensor, logits: tf.Tensor, *, ignore_label: int = 255, class_weights: tf.Tensor | None = None
) -> tf.Tensor:
    """Pixel-wise cross-entropy, averaged over the pixels that are not void.

    L_p = Σ_i w(y_i) · (−log softmax(z_i)[y_i]) / #{i : y_i ≠ ignore}; 0 where every pixel is void.

    Args:
      labels: integers `[batch, height, width]` in 0..classes−1 or `ignore_label`.
      logits: `[batch, height, width, classes]`.
      ignore_label: the label of void pixels.
      class_weights: `[batch, classes]`, a weight per image and class; 1 by default.

    Returns:
      A scalar, at least 0.

    Source: the article, eq. 3, first term, averaged instead of summed (ours); TF1 `train_utils.
    add_softmax_cross_entropy_loss_for_each_scale` divides by the same count.
    """
    losses = _pixel_losses(labels, logits, ignore_label, class_weights)
    count = tf.math.count_nonzero(tf.not_equal(labels, ignore_label), dtype=losses.dtype)
    return tf.math.divide_no_nan(tf.reduce_sum(losses), replicas.total(count))


def hard_cross_entropy(
    labels: tf.Tensor,
    logits: tf.Tensor,
    *,
    share: float | tf.Tensor,
    ignore_label: int = 255,
    class_weights: tf.Tensor | None = None,
) -> tf.Tensor:
    """Pixel-wise cross-entropy of the hardest pixels of the batch, averaged over those of them whose loss is not 0.

    Args:
      labels: as in `cross_entropy`.
      logits: as in `cross_entropy`.
      share: of all pixels, void ones counted, that are taken: those with the largest weighted losses; in (0, 1].
      ignore_label: as in `cross_entropy`.
      class_weights: as in `cross_entropy`.

    Returns:
      A scalar, at least 0.

    Source: TF1 `train_utils.add_softmax_cross_entropy_loss_for_each_scale`, its top_k_percent_pixels.
    """
    losses = tf.reshape(_pixel_losses(labels, logits, ignore_label, class_weights), [-1])
    number = tf.cast(share * tf.cast(tf.size(losses), tf.float32), tf.int32)
    hardest = tf.math.top_k(losses, number).values
    return tf.math.divide_no_nan(tf.reduce_sum(hardest), tf.math.count_nonzero(hardest, dtype=hardest.dtype))


def _pixel_losses(
    labels: tf.Tensor, logits: tf.Tensor, ignore_label: int, class_weights: tf.Tensor | None
) -> tf.Tensor:
    """Weighted losses `[batch, height, width]`, 0 where the pixel is void."""
    labels = tf.cast(labels, tf.int32)
    valid = tf.not_equal(labels, ignore_label)
    safe = tf.where(valid, labels, 0)
    losses = softmax_cross_entropy(safe, logits)
    weights = tf.cast(valid, losses.dtype)
    if class_weights is not None:
        weights *= tf.cast(tf.gather(class_weights, safe, batch_dims=1), losses.dtype)
    return losses * weights


def softmax_cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """`tf.nn.sparse_softmax_cross_entropy_with_logits`, compiled by XLA: on CPUs half of the time.

    Args:
      labels: integers `[...]` in 0..classes−1.
      logits: `[..., classes]`.

    Returns:
      −log softmax(z)[y], `[...]`, with its first derivative by the logits; NaN where y is no class.
    """
    # On GPUs XLA needs a library of CUDA's for exp and log that may be missing.
    if tf.config.list_physical_devices('GPU'):
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)

    @tf.custom_gradient
    def losses_of(logits: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        losses, *normaliser = _cross_entropy(labels, logits)
        return losses, lambda upstream: _cross_entropy_gradient(labels, logits, *normaliser, upstream)

    return losses_of(logits)


@tf.function(jit_compile=True)
def _cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The losses, the largest logits m, and log Σ_i exp (z_i − m)."""
    largest = tf.reduce_max(logits, axis=-1)
    total = tf.math.log(tf.reduce_sum(tf.exp(logits - largest[..., tf.newaxis]), axis=-1))
    is_class = (labels >= 0) & (labels < logits.shape[-1])
    chosen = tf.gather(logits, tf.where(is_class, labels, 0), batch_dims=labels.shape.rank)
    return tf.where(is_class, total + (largest - chosen), np.nan), largest, total


@tf.function(jit_compile=True)
def _cross_entropy_gradient(
    labels: tf.Tensor, logits: tf.Tensor, largest: tf.Tensor, total: tf.Tensor, upstream: tf.Tensor
) -> tf.Tensor:
    soft = tf.exp(logits - largest[..., tf.newaxis] - total[..., tf.newaxis])
    return (soft - tf.one_hot(labels, logits.shape[-1], dtype=soft.dtype)) * upstream[..., tf.newaxis]


def balancing_weights(labels: tf.Tensor, mean_counts: tf.Tensor, *, ignore_label: int = 255) -> tf.Tensor:
    """Class weights of an image: mean pixel count of the class over the training set, over its count in the image.

    Args:
      labels: integers `[batch, height, width]`.
      mean_counts: `[classes]`, pixels of each class in the training set divided by the number of images.
      ignore_label: the label of void pixels.

    Returns:
      `[batch, classes]` float32; 0 for a class that the image lacks.

    Source: the article, section 4, Stanford Background.
    """
    classes = mean_counts.shape[0]
    one_hot = tf.one_hot(tf.where(labels == ignore_label, -1, tf.cast(labels, tf.int32)), classes)
    return tf.math.divide_no_nan(tf.cast(mean_counts, tf.float32), tf.reduce_sum(one_hot, axis=(1, 2)))


def non_saturating(generated: tf.Tensor) -> tf.Tensor:
    """The generator's adversarial loss: −log D(ŷ|x), the mean over the batch.

    Args:
      generated: logits of D for generated maps, `[batch]` or `[batch, 1]`.

    Returns:
      A scalar, at least 0.

    Source: the article, section 2: the third term of eq. 3 in its non-saturating form (Goodfellow et al. 2014).
    """
    return replicas.mean(tf.nn.softplus(-generated))


def discriminator_cross_entropy(logits: tf.Tensor, real: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Weighted binary cross-entropy of D: −log D for real maps, −log(1 − D) for generated ones.

    Args:
      logits: `[batch]`, D before its sigmoid.
      real: `[batch]`, 1 for a real map, 0 for a generated one.
      weights: `[batch]`, at least 0, with a mean of 1 over an epoch.

    Returns:
      The mean over the batch of weight × loss, a scalar of at least 0. It is not divided by the batch's own weights:
      then real maps would weigh the less, the more of them a batch happens to hold.

    Source: the article, eq. 2, weighted as section 4 says.
    """
    losses = tf.nn.sigmoid_cross_entropy_with_logits(labels=real, logits=logits)
    return replicas.mean(losses * weights)
