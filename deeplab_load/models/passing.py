"""How the images of a batch pass through a network: at once, or one after the other."""

import functools
from collections.abc import Callable
from typing import Any

import tensorflow as tf

LARGE = 321 * 321  # Pixels of an image from which on its maps in a batch leave the caches; measured in docs/speed.md.


def leave_caches(window: tuple[int, int]) -> bool:
    """Whether a batch of images of this height and width leaves the caches between layers: large ones on CPUs do.

    Exports, whose weights are constants, pass them one after the other: never slower by more than measurements vary.
    Small ones pass faster at once, since an operation of a few microseconds costs as much to begin.
    """
    return not tf.config.list_physical_devices('GPU') and window[0] * window[1] >= LARGE


def is_faster_singly(window: tuple[int, int]) -> bool:
    """Whether a model with variables has images of this size faster one after the other than at once.

    With oneDNN, which lays out weights anew at each call, it has not.
    """
    return leave_caches(window) and not has_dilated_depthwise()


@functools.cache
def has_dilated_depthwise() -> bool:
    """Whether this process can run a dilated depthwise convolution as one operation: on CPUs, whether oneDNN is on."""
    try:
        with tf.init_scope():  # Run now, where a function is being traced too.
            tf.raw_ops.DepthwiseConv2dNative(
                input=tf.zeros([1, 5, 5, 1]), filter=tf.zeros([3, 3, 1, 1]), strides=[1] * 4, padding='SAME',
                dilations=[1, 2, 2, 1],
            )  # fmt: skip
    except tf.errors.UnimplementedError:
        return False
    return True


def image_by_image(function: Callable[[tf.Tensor], tf.Tensor], batch: tf.Tensor) -> tf.Tensor:
    """In a graph: what a function from [batch, ...] to [batch, ...] gives of a batch, image after image."""
    return one_by_one(lambda image: function(image[tf.newaxis])[0], batch)


def one_by_one(function: Callable[[tf.Tensor], Any], rows: tf.Tensor, *, at_once: int = 1) -> Any:
    """In a graph: what a function gives of each row, stacked.

    Args:
        function: from a row to a tensor, or a structure of them, of static types.
        rows: [rows, ...]; all but the first side are static.
        at_once: rows that are computed beside each other.
    """
    traced = tf.function(function)
    of_one = traced.get_concrete_function(tf.TensorSpec(rows.shape[1:], rows.dtype)).structured_outputs
    signature = tf.nest.map_structure(lambda output: tf.TensorSpec(output.shape, output.dtype), of_one)
    return tf.map_fn(traced, rows, parallel_iterations=at_once, fn_output_signature=signature)
