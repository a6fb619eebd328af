"""Windows of resized images, computed without the rest of the image; corners aligned, as in TF1's resize ops."""

from typing import NamedTuple

import tensorflow as tf

from deeplab_load.models.slim import resize_bilinear

# How many times larger than its window a resized image is from which on the window alone is faster (measured).
SMALL = 3


class Taps(NamedTuple):
    """Where a resized axis reads: positions below and above, int32 [n], and the share of the latter, float32 [n]."""

    lower: tf.Tensor
    upper: tf.Tensor
    share: tf.Tensor


def bilinear_window(image: tf.Tensor, size: tf.Tensor, offset: tf.Tensor, window: tf.Tensor) -> tf.Tensor:
    """The window at `offset` of an image that is resized bilinearly to `size`: as of the whole, but for rounding.

    Where the window is a small part of the resized image, it alone is computed, by the arithmetic of TF's op in its
    order (they differ by 4e-6 of 255 at most); else TF's op, the faster one per pixel, does the whole.

    Args:
        image: [height, width, channels], uint8 or float32.
        size: int32 [2], the size of the whole resized image.
        offset: int32 [2], down and right.
        window: int32 [2]; it lies in the resized image.

    Returns:
        float32 [window height, window width, channels].
    """
    unchanged = tf.reduce_all(tf.equal(size, tf.shape(image)[:2]))
    small = tf.reduce_prod(size) > SMALL * tf.reduce_prod(window)
    return tf.case(
        [
            (unchanged, lambda: tf.cast(_slice(image, offset, window), tf.float32)),
            (small, lambda: _interpolated(image, size, offset, window)),
        ],
        default=lambda: _slice(resize_bilinear(image[tf.newaxis], tf.unstack(size))[0], offset, window),
    )


def _slice(image: tf.Tensor, offset: tf.Tensor, window: tf.Tensor) -> tf.Tensor:
    return image[offset[0] : offset[0] + window[0], offset[1] : offset[1] + window[1]]


def _interpolated(image: tf.Tensor, size: tf.Tensor, offset: tf.Tensor, window: tf.Tensor) -> tf.Tensor:
    """Interpolates along the rows, then the columns, each time on the first axis: there a gather copies blocks."""
    rows = _taps(tf.shape(image)[0], size[0], offset[0], window[0])
    columns = _taps(tf.shape(image)[1], size[1], offset[1], window[1])
    top, left = rows.lower[0], columns.lower[0]
    source = image[top : rows.upper[-1] + 1, left : columns.upper[-1] + 1]
    across = _lerp(tf.cast(tf.transpose(source, [1, 0, 2]), tf.float32), columns, left)
    return _lerp(tf.transpose(across, [1, 0, 2]), rows, top)


def nearest_window(label_map: tf.Tensor, size: tf.Tensor, offset: tf.Tensor, window: tf.Tensor) -> tf.Tensor:
    """The window at `offset` of a label map [height, width] resized to `size` by the nearest label; halves go up."""
    for axis in (0, 1):
        places = _places(tf.shape(label_map)[axis], size[axis], offset[axis], window[axis])
        nearest = tf.cast(tf.floor(places + 0.5), tf.int32)
        label_map = tf.gather(label_map, tf.minimum(nearest, tf.shape(label_map)[axis] - 1), axis=axis)
    return label_map


def _places(side: tf.Tensor, resized: tf.Tensor, start: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Where the resized axis' pixels start ... start + count - 1 lie on the original one, in float32 as in TF."""
    scale = tf.where(resized > 1, tf.cast(side - 1, tf.float32) / tf.cast(tf.maximum(resized - 1, 1), tf.float32), 0.0)
    return tf.cast(tf.range(start, start + count), tf.float32) * scale


def _taps(side: tf.Tensor, resized: tf.Tensor, start: tf.Tensor, count: tf.Tensor) -> Taps:
    places = _places(side, resized, start, count)
    below = tf.floor(places)
    upper = tf.minimum(tf.cast(tf.math.ceil(places), tf.int32), side - 1)
    return Taps(tf.cast(below, tf.int32), upper, places - below)


def _lerp(source: tf.Tensor, taps: Taps, first: tf.Tensor) -> tf.Tensor:
    """Interpolates along the first axis, which begins at position `first`."""
    lower, upper = tf.gather(source, taps.lower - first), tf.gather(source, taps.upper - first)
    return lower + (upper - lower) * taps.share[:, tf.newaxis, tf.newaxis]
