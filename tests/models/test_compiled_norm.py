"""Batch normalisation and ReLU in compiled loops: the values and gradients of TensorFlow's operations."""

import numpy as np
import pytest
import tensorflow as tf

from deeplab_load.models.compiled_norm import Norm, moments, norm_relu, norm_relu_gradients


@pytest.mark.parametrize('most', [6.0, float('inf')])
@pytest.mark.parametrize('width', [16, 7, 11, 1])
def test_values_and_gradients_are_tensorflows(width, most):
    random = np.random.default_rng(width)
    x = tf.constant(random.normal(20.0, 3.0, (3, 5, width, 4)), tf.float32)
    upstream = tf.constant(random.normal(size=x.shape), tf.float32)
    gamma, beta = tf.constant([0.5, 1.0, 4.0, 9.0]), tf.constant([1.0, 0.0, -2.0, 3.0])
    with tf.GradientTape() as tape:
        tape.watch([x, gamma, beta])
        mean, variance = tf.nn.moments(x, (0, 1, 2))
        y = tf.clip_by_value(tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-3), 0.0, most)
    expected = [mean, variance, y, *tape.gradient(y, [x, gamma, beta], upstream)]
    norm = Norm(*moments(x), gamma, beta, 1e-3, most)
    found = [norm.mean, norm.variance, norm_relu(x, norm), *norm_relu_gradients(x, upstream, norm)]
    assert 0.1 < np.mean((y > 0) & (y < most)) < 0.9
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=2e-5 * np.abs(b).max())
