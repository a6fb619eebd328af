"""Depthwise convolutions of large dilation in training, as sums of shifted maps."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import tensorflow as tf

# Up to here TensorFlow's way is as fast: it takes the image apart into one for each phase of the rate, which for large
# rates are more padding than image.
LARGEST_RATE_APART = 4


def dilated_depthwise(x: tf.Tensor, kernel: tf.Tensor, rate: int) -> tf.Tensor:
    """tf.nn.depthwise_conv2d(x, kernel, SAME, dilations=[rate, rate]) of stride 1, but for rounding; compiled by XLA.

    y[i, j] = Σ_{u, v ∈ −1..1} kernel[u, v] · x[i + u·rate, j + v·rate], as the sum over the taps of a map's part that
    lies under the tap.

    Args:
        x: `[batch, height, width, channels]`, height and width known.
        kernel: `[3, 3, channels, 1]`.
        rate: the dilation of both sides.

    Returns:
        `[batch, height, width, channels]`, with a gradient to x and the kernel.
    """

    @tf.custom_gradient
    def convolve(x: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple]]:
        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            of_kernel = tf.reduce_sum(_by_row(x, upstream, rate), axis=(1, 2))
            return _shifted_sum(upstream, tf.reverse(kernel, [0, 1]), rate), tf.reshape(of_kernel, kernel.shape)

        return _shifted_sum(x, kernel, rate), gradient

    return convolve(x, kernel)


class Tap(NamedTuple):
    """A tap that meets the map: its place in the kernel, and the rows and columns of x and of y that it joins."""

    place: tuple[int, int]
    of_x: tuple[slice, ...]
    of_y: tuple[slice, ...]
    margins: list[list[int]]


def _taps(sides: tuple[int, int], rate: int) -> Iterator[Tap]:
    for u in range(3):
        for v in range(3):
            shifts = ((u - 1) * rate, (v - 1) * rate)
            if all(abs(shift) < side for shift, side in zip(shifts, sides, strict=True)):
                of_x, of_y = (
                    tuple(slice(max(s, 0), n + min(s, 0)) for s, n in zip(signed, sides, strict=True))
                    for signed in (shifts, [-s for s in shifts])
                )
                margins = [[max(-s, 0), max(s, 0)] for s in shifts]
                yield Tap((u, v), of_x, of_y, [[0, 0], *margins, [0, 0]])


@tf.function(jit_compile=True)
def _shifted_sum(x: tf.Tensor, kernel: tf.Tensor, rate: int) -> tf.Tensor:
    parts = [
        tf.pad(x[:, tap.of_x[0], tap.of_x[1]] * kernel[tap.place[0], tap.place[1], :, 0], tap.margins)
        for tap in _taps(tuple(x.shape[1:3]), rate)
    ]
    return tf.add_n(parts)


@tf.function(jit_compile=True)
def _by_row(x: tf.Tensor, upstream: tf.Tensor, rate: int) -> tf.Tensor:
    """The kernel's gradient before it is summed up over the batch and the rows: `[9, batch, height, channels]`.

    XLA sums up a side at a time many times as fast as all at once.
    """
    height, width, channels = x.shape[1:]
    zeros = tf.zeros([tf.shape(x)[0], height, channels], x.dtype)
    sums = [zeros] * 9
    for tap in _taps((height, width), rate):
        products = x[:, tap.of_x[0], tap.of_x[1]] * upstream[:, tap.of_y[0], tap.of_y[1]]
        rows = tf.reduce_sum(products, axis=2)
        sums[3 * tap.place[0] + tap.place[1]] = tf.pad(rows, [[0, 0], [0, height - rows.shape[1]], [0, 0]])
    return tf.stack(sums)
