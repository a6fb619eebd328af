"""Convolutions of 1x1 in training, with their gradients as products of matrices."""

from collections.abc import Callable

import tensorflow as tf

from deeplab_load.models.passing import has_dilated_depthwise


def pointwise(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """tf.nn.conv2d(x, kernel, 1, SAME), whose gradients are faster on CPUs.

    With rows of pixels X and of upstream gradients U, the kernel's gradient is XᵀU, and that of x is U kernelᵀ; the
    latter is left to oneDNN's convolution where there is one.

    Args:
        x: `[batch, height, width, channels]`.
        kernel: `[1, 1, channels, filters]`.

    Returns:
        `[batch, height, width, filters]`.
    """
    by_convolution = has_dilated_depthwise()

    @tf.custom_gradient
    def convolve(x: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple]]:
        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            # Of a batch without images oneDNN's map has x's channels, and so has its gradient.
            upstream = tf.reshape(upstream, tf.concat([tf.shape(x)[:-1], kernel.shape[-1:]], axis=0))
            rows = _rows(upstream)
            of_kernel = tf.reshape(tf.matmul(_rows(x), rows, transpose_a=True), kernel.shape)
            with tf.control_dependencies([of_kernel]):  # Now nothing else needs x.
                if by_convolution:
                    of_x = tf.raw_ops.Conv2DBackpropInput(
                        input_sizes=tf.shape(x), filter=kernel, out_backprop=upstream, strides=[1] * 4, padding='SAME'
                    )
                else:
                    of_x = tf.reshape(tf.matmul(rows, kernel[0, 0], transpose_b=True), tf.shape(x))
            return of_x, of_kernel

        return tf.nn.conv2d(x, kernel, 1, 'SAME'), gradient

    return convolve(x, kernel)


def _rows(x: tf.Tensor) -> tf.Tensor:
    return tf.reshape(x, [-1, x.shape[-1]])
