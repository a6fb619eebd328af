"""Bilinear resizing in training: TensorFlow's values, and their gradient several times as fast."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from deeplab_load.models.slim import ResizeToStride, Size, resize_bilinear

MOST_TERMS = 32  # Enlarging 16 times takes 31; more, and the compiled loop grows long.


def enlarge(images: tf.Tensor, size: Size) -> tf.Tensor:
    """`slim.resize_bilinear`, with its gradient gathered by XLA where all sides are known.

    TensorFlow's own adds each value of the gradient to the four places that it came from, one at a time; here each
    place gathers what came from it, first by rows, then by columns.

    Args:
        images: `[batch, height, width, channels]`.
        size: height and width of the result.
    """
    sides, size = tuple(images.shape[1:3]), tuple(size)
    if not all(isinstance(side, int) and _is_short(side, of) for side, of in zip(sides, size, strict=True)):
        return resize_bilinear(images, size)

    @tf.custom_gradient
    def resize(images: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        return resize_bilinear(images, size), lambda upstream: tf.cast(_gathered(upstream, sides, size), images.dtype)

    return resize(images)


class EnlargeToStride(ResizeToStride):
    """`ResizeToStride` with that gradient."""

    def call(self, x, image):
        """As in `ResizeToStride`."""
        return enlarge(x, self.size_of(image))


def _is_short(length: int, enlarged: int | tf.Tensor) -> bool:
    """Whether a side is of a single pixel, or little of the enlarged side comes of each."""
    return isinstance(enlarged, int) and (length == 1 or len(_sources(length, enlarged)[0]) <= MOST_TERMS)


def _sources(length: int, enlarged: int) -> tuple[np.ndarray, np.ndarray]:
    """What comes of each place along a side: `[terms, length]`, the numbers of enlarged places and their weights.

    Source: TF's resize_bilinear_op.cc, compute_interpolation_weights, with its rounding.
    """
    scale = np.float32(length - 1) / np.float32(max(enlarged - 1, 1))
    places = np.arange(enlarged, dtype=np.float32) * scale
    lower = np.floor(places)
    weights = np.zeros((length, enlarged), np.float32)
    upper = np.minimum(np.ceil(places), length - 1).astype(int)
    np.add.at(weights, (lower.astype(int), range(enlarged)), 1 - (places - lower))
    np.add.at(weights, (upper, range(enlarged)), places - lower)
    terms = max(np.count_nonzero(weights, axis=1).max(), 1)
    numbers = np.argsort(weights == 0, axis=1, kind='stable')[:, :terms]
    return numbers.T, np.take_along_axis(weights, numbers, axis=1).T


@tf.function(jit_compile=True)
def _gathered(upstream: tf.Tensor, sides: tuple[int, int], size: tuple[int, int]) -> tf.Tensor:
    for axis, both in enumerate(zip(sides, size, strict=True), start=1):
        if both[0] == 1:
            upstream = tf.reduce_sum(upstream, axis, keepdims=True)
            continue
        numbers, weights = _sources(*both)
        shape = [-1] + [1] * (3 - axis)
        upstream = tf.add_n([
            tf.gather(upstream, n, axis=axis) * tf.reshape(w, shape) for n, w in zip(numbers, weights, strict=True)
        ])  # fmt: skip
    return upstream
