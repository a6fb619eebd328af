"""Label maps from logits at their stride, without logits at full size."""

import numpy as np
import tensorflow as tf

from deeplab_load.models.slim import resize_bilinear

Size = tuple[int, int]


def upsampled_labels(logits: tf.Tensor, size: Size) -> tf.Tensor:
    """The best class after bilinear upsampling with aligned corners, computed only where it can change.

    Between four neighbouring logits an interpolated one is their weighted mean: where all four have the same best
    class, so has everything between. Only the other cells are interpolated.

    Args:
        logits: [batch, height, width, classes], height and width static and at least 2.
        size: (height, width) of the result; each less one a multiple, the same for both, of the logits' less one. Other
            sizes are upsampled whole.

    Returns:
        int32 [batch, *size].
    """
    height, width = logits.shape[1:3]
    stride = _stride((height, width), size)
    if stride is None:
        return tf.argmax(resize_bilinear(logits, size), axis=3, output_type=tf.int32)
    best = tf.argmax(logits, axis=3, output_type=tf.int32)
    corners = _corners(best)
    mixed = tf.where(tf.reduce_any(corners != best[tf.newaxis], axis=0))
    labels = tf.tile(best[..., tf.newaxis], [1, 1, 1, stride**2])
    labels = tf.tensor_scatter_nd_update(labels, mixed, _interpolated_labels(logits, mixed, stride))
    labels = tf.reshape(labels, [-1, height, width, stride, stride])
    labels = tf.reshape(tf.transpose(labels, [0, 1, 3, 2, 4]), [-1, height * stride, width * stride])
    return labels[:, : size[0], : size[1]]


def _stride(small: Size, large: Size) -> int | None:
    """The whole stride that lies between two sizes with aligned corners, if there is one."""
    if min(small) < 2:
        return None
    strides = {divmod(full - 1, part - 1) for part, full in zip(small, large, strict=True)}
    (stride, rest), *others = strides
    return None if rest or others else stride


def _corners(values: tf.Tensor) -> tf.Tensor:
    """[4, batch, height, width, ...]: each place's own value, its right, lower and lower right neighbours'.

    Beyond the edge the edge's own values stand.
    """
    right = tf.concat([values[:, :, 1:], values[:, :, -1:]], axis=2)
    both = tf.stack([values, right])
    return tf.concat([both, tf.concat([both[:, :, 1:], both[:, :, -1:]], axis=2)], axis=0)


def _interpolated_labels(logits: tf.Tensor, cells: tf.Tensor, stride: int) -> tf.Tensor:
    """The best class at the stride² pixels of each cell [cells, (image, row, column)]: int32 [cells, stride²]."""
    count, classes = tf.shape(cells)[0], logits.shape[3]
    values = tf.gather_nd(tf.transpose(_corners(logits), [1, 2, 3, 0, 4]), cells)
    values = tf.reshape(tf.transpose(values, [1, 0, 2]), [4, count * classes])
    pixels = tf.reshape(tf.matmul(_weights(stride), values), [stride**2, count, classes])
    return tf.transpose(tf.argmax(pixels, axis=2, output_type=tf.int32))


def _weights(stride: int) -> np.ndarray:
    """[stride², 4]: what the four corners of a cell weigh at its pixels."""
    steps = np.arange(stride) / stride
    down, right = (side.ravel() for side in np.meshgrid(steps, steps, indexing='ij'))
    weights = [(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right]
    return np.stack(weights, axis=1).astype(np.float32)
