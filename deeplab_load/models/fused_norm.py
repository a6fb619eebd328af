"""Keras' batch normalisation by TensorFlow's fused operation, where Keras composes it of a dozen operations."""

from typing import Any

import keras
import tensorflow as tf

from deeplab_load.models.slim import fused_batch_norm, values_by_channel


class FusedNorm(keras.layers.Layer):
    """A `keras.layers.BatchNormalization` over `[batch, height, width]` as one operation, with the layer's variables.

    What it returns and the moving averages are Keras': the averages are of the biased variance, which the operation
    corrects by n/(n − 1).
    """

    def __init__(self, norm: keras.layers.BatchNormalization, **kwargs: Any) -> None:
        super().__init__(name=norm.name, **kwargs)
        self.norm = norm

    def call(self, x, training=False):
        """Normalises x `[batch, height, width, channels]`, and updates the moving averages when training."""
        if not training:
            return fused_batch_norm(x, self.norm, is_training=False)[0]
        y, mean, variance = fused_batch_norm(x, self.norm, is_training=True)
        number = values_by_channel(x)
        update_averages(self.norm, mean, variance * ((number - 1.0) / number))
        return y

    def compute_output_shape(self, input_shape):
        """The input's shape."""
        return input_shape


def update_averages(norm: keras.layers.BatchNormalization, mean: tf.Tensor, variance: tf.Tensor) -> None:
    """Updates a layer's moving averages by the mean and the biased variance of a batch, as Keras does."""
    for moving, batch in ((norm.moving_mean, mean), (norm.moving_variance, variance)):
        moving.assign(moving * norm.momentum + tf.stop_gradient(batch) * (1.0 - norm.momentum))
