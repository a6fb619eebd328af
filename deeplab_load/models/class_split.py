"""Convolution of an image split by class, computed from the image and its labels: the split itself is never made.

Of the C·K channels that `discriminator.class_split` makes, a hard map leaves C that are not zero at a pixel: those of
its class. So each tap of the convolution takes C multiplications with that class's part of the kernel instead of C·K.

TensorFlow's operations would write what each tap gathers to memory; compiled by XLA, the sums over taps and channels
are one loop. TensorFlow's own builds all have XLA.
"""

import itertools
from collections.abc import Callable, Sequence

import tensorflow as tf

from deeplab_load.models.slim import largest_divisor

Sides = tuple[int, int]

MOST_ROWS = 16  # Of a map, whose products a processor's cache holds.


def split_convolution(
    images: tf.Tensor, labels: tf.Tensor, kernel: tf.Tensor, *, strides: Sides, padding: str
) -> tf.Tensor:
    """tf.nn.conv2d(class_split(images, one_hot(labels)), kernel), but for rounding; differentiable in the kernel.

    y[n, i, :] = Σ_t Σ_c images[n, p, c] · kernel[t, C·labels[n, p] + c, :] with p the pixel under tap t at place i.

    Args:
        images: float32 `[batch, height, width, C]`.
        labels: int32 `[batch, height, width]` in 0..K−1, or −1 at void pixels, which add nothing.
        kernel: `[kernel height, kernel width, C·K, filters]`, the channels of class k at C·k..C·k+C−1.
        strides: of height and width.
        padding: 'same' or 'valid'.

    Returns:
        `[batch, height', width', filters]`.
    """

    @tf.custom_gradient
    def convolve(kernel: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        def gradient(upstream: tf.Tensor) -> tf.Tensor:
            return tf.cond(  # A replica's slice of a small batch may have no images, for which XLA compiles no loop.
                tf.shape(images)[0] > 0,
                lambda: _kernel_gradient(images, labels, upstream, kernel.shape, strides, padding),
                lambda: tf.zeros_like(kernel),
            )

        return _convolved(images, labels, kernel, strides, padding), gradient

    return convolve(kernel)


@tf.function(jit_compile=True)
def _convolved(images: tf.Tensor, labels: tf.Tensor, kernel: tf.Tensor, strides: Sides, padding: str) -> tf.Tensor:
    channels, filters = images.shape[-1], kernel.shape[-1]
    by_class = tf.reshape(kernel, [kernel.shape[0] * kernel.shape[1], -1, channels, filters])
    taps = _taps(images, labels, kernel.shape[:2], strides, padding)
    return tf.add_n([
        values[..., c, tf.newaxis] * tf.gather(by_class[tap, :, c], classes)
        for tap, (values, classes) in enumerate(taps)
        for c in range(channels)
    ])  # fmt: skip


@tf.function(jit_compile=True)
def _kernel_gradient(
    images: tf.Tensor, labels: tf.Tensor, upstream: tf.Tensor, shape: tf.TensorShape, strides: Sides, padding: str
) -> tf.Tensor:
    """Sums over all pixels of a class, by tap: the pixel's values times what came to the place that the tap served."""
    channels, filters = images.shape[-1], shape[-1]
    classes = shape[2] // channels
    taps = _taps(images, labels, shape[:2], strides, padding)
    height, width = taps[0][1].shape[1:]
    rows = largest_divisor(height, MOST_ROWS)

    def in_parts(x: tf.Tensor) -> tf.Tensor:
        return tf.reshape(x, [-1, rows * width, *x.shape[3:]])

    taps = [tuple(map(in_parts, tap)) for tap in taps]
    upstream = in_parts(upstream)

    def add_part(number: tf.Tensor, sums: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        of_part = [
            tf.math.unsorted_segment_sum(
                values[number][:, :, tf.newaxis] * upstream[number][:, tf.newaxis], labels[number], classes
            )
            for values, labels in taps
        ]
        return number + 1, sums + tf.stack(of_part)

    # Part by part, so that the products of one only are in memory.
    zeros = tf.zeros([len(taps), classes, channels, filters])
    _, sums = tf.while_loop(lambda number, _: number < tf.shape(upstream)[0], add_part, (0, zeros))
    return tf.reshape(sums, shape)


def _taps(
    images: tf.Tensor, labels: tf.Tensor, size: Sequence[int], strides: Sides, padding: str
) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """What each tap sees at every place of the output: values `[batch, height', width', C]`, 0 if void, and classes."""
    values = tf.where(labels[..., tf.newaxis] < 0, 0.0, images)
    classes = tf.maximum(labels, 0)
    sides = [_side(*side) for side in zip(images.shape[1:3], size, strides, [padding] * 2, strict=True)]
    margins = [[0, 0], *(margin for _, margin in sides)]
    values, classes = tf.pad(values, [*margins, [0, 0]]), tf.pad(classes, margins)
    spans = [stride * (places - 1) + 1 for (places, _), stride in zip(sides, strides, strict=True)]
    return [
        tuple(x[:, i : i + spans[0] : strides[0], j : j + spans[1] : strides[1]] for x in (values, classes))
        for i, j in itertools.product(*map(range, size))
    ]


def _side(length: int, taps: int, stride: int, padding: str) -> tuple[int, list[int]]:
    """The places of a convolution along one side, and TF's padding before and after it."""
    if padding == 'valid':
        return (length - taps) // stride + 1, [0, 0]
    places = -(-length // stride)
    missing = max((places - 1) * stride + taps - length, 0)
    return places, [missing // 2, missing - missing // 2]
