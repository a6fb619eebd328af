"""The discriminator D: MobileNet on the RGB image split by class (the article, section 4 and Fig. 2)."""

import warnings

import keras
import tensorflow as tf

from deeplab_load.models import slim

BATCH_NORM_MOMENTUM = 0.9  # Keras' 0.99 lags behind trainings of a few hundred steps.


def build_discriminator(
    num_classes: int, *, size: int = 224, alpha: float = 1.0, dropout: float = 0.01, seed: int = 0
) -> keras.Model:
    """Builds D: class-split images `[batch, size, size, 3·classes]` to one logit `[batch, 1]`, log D/(1 − D).

    Args:
      num_classes: K; the input has 3K channels.
      size: side of the input in pixels, at least 32.
      alpha: α, MobileNet's factor on the channels.
      dropout: rate before the last layer.
      seed: seed of the initial weights and of the dropout.

    Source: Howard et al. 2017 as in keras.applications; the article: MobileNet-224, α = 1, dropout 0.01.
    """
    keras.utils.set_random_seed(seed)
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'This model usually expects 1 or 3 input channels')
        model = keras.applications.MobileNet(
            input_shape=(size, size, 3 * num_classes), alpha=alpha, dropout=dropout, weights=None, classes=1,
            classifier_activation=None, name='discriminator',
        )  # fmt: skip
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = BATCH_NORM_MOMENTUM
    return model


def class_split(images: tf.Tensor, maps: tf.Tensor) -> tf.Tensor:
    """Splits images by class: image × map[k] for k = 0..K−1, stacked in channels (class k at 3k..3k+2).

    Args:
      images: `[batch, height, width, 3]` in [−1, 1].
      maps: `[batch, height, width, classes]`, one-hot or soft; zero at void pixels.

    Returns:
      `[batch, height, width, 3·classes]`.
    """
    split = maps[..., :, None] * images[..., None, :]
    height, width, classes = maps.shape[1:]
    return tf.reshape(split, [-1, height, width, 3 * classes])


def discriminator_images(images: tf.Tensor, size: int) -> tf.Tensor:
    """Scales the segmentor's windows `[batch, h, w, 3]`, 0 to 255, to D's `[batch, size, size, 3]` in [−1, 1]."""
    return slim.resize_bilinear(images * (2.0 / 255.0) - 1.0, (size, size))


def hard_maps(label_maps: tf.Tensor, ground_truth: tf.Tensor, *, num_classes: int, size: int) -> tf.Tensor:
    """Label maps as D sees them: nearest-resized, one-hot, zero where the ground truth is void.

    Args:
      label_maps: uint8 `[batch, height, width]`, real or generated.
      ground_truth: uint8 `[batch, height, width]`, 255 at void pixels and padding.
      num_classes: K.
      size: side of D's input.

    Returns:
      float32 `[batch, size, size, classes]`.
    """
    both = tf.cast(tf.stack([label_maps, ground_truth], axis=-1), tf.float32)
    both = tf.cast(slim.resize_nearest(both, (size, size)), tf.int32)
    return tf.one_hot(tf.where(both[..., 1] == 255, -1, both[..., 0]), num_classes)


def generated_maps(logits: tf.Tensor, ground_truth: tf.Tensor, *, size: int, straight_through: bool) -> tf.Tensor:
    """The segmentor's map as D sees it, with a gradient to the logits.

    Args:
      logits: `[batch, h, w, classes]` at any stride.
      ground_truth: uint8 `[batch, height, width]`, 255 at void pixels and padding.
      size: side of D's input.
      straight_through: hard one-hot values with the gradient of the softmax, instead of the softmax itself.

    Returns:
      float32 `[batch, size, size, classes]`, zero where the ground truth is void.
    """
    maps = tf.nn.softmax(slim.resize_bilinear(logits, (size, size)))
    if straight_through:
        hard = tf.one_hot(tf.argmax(maps, axis=-1), maps.shape[-1])
        maps += tf.stop_gradient(hard - maps)
    labels = slim.resize_nearest(tf.cast(ground_truth, tf.float32)[..., None], (size, size))
    return maps * tf.cast(tf.not_equal(labels, 255.0), tf.float32)
