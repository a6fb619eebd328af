"""Batch normalisation and ReLU in training, with their gradients: loops over memory, compiled by XLA.

A sum over all pixels is made of sums over parts of rows, of whole rows, and of all: XLA adds many values at a time in
the first two, and the third is small. All at once, it adds one after the other.
"""

from typing import NamedTuple

import tensorflow as tf

from deeplab_load.models.slim import largest_divisor, values_by_channel

MOST_PARTS = 8  # Of a row, which are added up beside each other.


class Norm(NamedTuple):
    """Mean and biased variance of a batch, γ and β, by channel, the layer's ε, and where the ReLU after it ends."""

    mean: tf.Tensor
    variance: tf.Tensor
    gamma: tf.Tensor
    beta: tf.Tensor
    epsilon: float
    most: float

    def linear(self) -> tuple[tf.Tensor, tf.Tensor]:
        """Scale and shift of x."""
        scale = self.gamma * tf.math.rsqrt(self.variance + self.epsilon)
        return scale, self.beta - self.mean * scale


def moments(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean and biased variance of x `[batch, height, width, channels]` by channel; the width is known."""
    number = values_by_channel(x)
    mean = _total(_sums(x)) / number
    return mean, _total(_squares(x, mean)) / number


def norm_relu(x: tf.Tensor, norm: Norm) -> tf.Tensor:
    """min(max(γ (x − mean) / √(variance + ε) + β, 0), most)."""
    return _clipped(x, *norm.linear(), norm.most)


def norm_relu_gradients(x: tf.Tensor, upstream: tf.Tensor, norm: Norm) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The gradients of `norm_relu` by x, γ and β, where the mean and the variance are those of x."""
    scale, shift = norm.linear()
    of_beta, products = map(_total, _passed_sums(x, upstream, norm.mean, scale, shift, norm.most))
    number = values_by_channel(x)
    by_x = scale * products / (norm.variance + norm.epsilon) / number
    rest = scale * of_beta / number - by_x * norm.mean
    of_x = _input_gradient(x, upstream, scale, shift, by_x, rest, norm.most)
    return of_x, products * tf.math.rsqrt(norm.variance + norm.epsilon), of_beta


def _total(sums: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(sums, axis=(0, 1))


def _by_row(x: tf.Tensor) -> tf.Tensor:
    """Sums over the width, `[batch, height, channels]`."""
    width = x.shape[2]
    parts = largest_divisor(width, MOST_PARTS)
    part = width // parts
    return tf.reduce_sum(tf.add_n([x[:, :, n * part : (n + 1) * part] for n in range(parts)]), axis=2)


@tf.function(jit_compile=True)
def _sums(x: tf.Tensor) -> tf.Tensor:
    return _by_row(x)


@tf.function(jit_compile=True)
def _squares(x: tf.Tensor, mean: tf.Tensor) -> tf.Tensor:
    return _by_row(tf.square(x - mean))


@tf.function(jit_compile=True)
def _clipped(x: tf.Tensor, scale: tf.Tensor, shift: tf.Tensor, most: float) -> tf.Tensor:
    return tf.minimum(tf.maximum(x * scale + shift, 0.0), most)


def _passed(x: tf.Tensor, upstream: tf.Tensor, scale: tf.Tensor, shift: tf.Tensor, most: float) -> tf.Tensor:
    """What of the gradient passes the ReLU."""
    y = x * scale + shift
    return tf.where((y > 0.0) & (y < most), upstream, 0.0)


@tf.function(jit_compile=True)
def _passed_sums(
    x: tf.Tensor, upstream: tf.Tensor, mean: tf.Tensor, scale: tf.Tensor, shift: tf.Tensor, most: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Sums over rows of what passes, and of its products with x − mean."""
    passed = _passed(x, upstream, scale, shift, most)
    return _by_row(passed), _by_row(passed * (x - mean))


@tf.function(jit_compile=True)
def _input_gradient(
    x: tf.Tensor, upstream: tf.Tensor, scale: tf.Tensor, shift: tf.Tensor, by_x: tf.Tensor, rest: tf.Tensor, most: float
) -> tf.Tensor:
    return scale * _passed(x, upstream, scale, shift, most) - (x * by_x + rest)
