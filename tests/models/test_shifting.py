"""Dilated depthwise convolutions as sums of shifted maps: TensorFlow's values and gradients."""

import numpy as np
import pytest
import tensorflow as tf

from deeplab_load.models.shifting import dilated_depthwise


@pytest.mark.parametrize(('sides', 'rate'), [((9, 13), 6), ((21, 21), 18), ((5, 7), 6), ((16, 11), 2)])
def test_it_is_tensorflows_convolution(sides, rate):
    random = np.random.default_rng(0)
    x, kernel = (tf.constant(random.normal(size=shape), tf.float32) for shape in ((2, *sides, 5), (3, 3, 5, 1)))
    outcomes = []
    for convolve in (
        lambda x, kernel: tf.nn.depthwise_conv2d(x, kernel, [1] * 4, 'SAME', dilations=[rate, rate]),
        lambda x, kernel: dilated_depthwise(x, kernel, rate),
    ):
        with tf.GradientTape() as tape:
            tape.watch([x, kernel])
            y = convolve(x, kernel)
            loss = tf.reduce_sum(tf.sin(y))
        outcomes.append((y, *tape.gradient(loss, [x, kernel])))
    for expected, found in zip(*outcomes, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6 * np.abs(expected).max())


def test_a_batch_without_images_has_a_gradient_of_zeros():
    x, kernel = tf.zeros([0, 9, 9, 4]), tf.ones([3, 3, 4, 1])
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        y = dilated_depthwise(x, kernel, 6)
    np.testing.assert_array_equal(tape.gradient(y, kernel), tf.zeros_like(kernel))
