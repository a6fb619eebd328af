"""The compiled gradient of bilinear resizing: TensorFlow's own."""

import numpy as np
import pytest
import tensorflow as tf

from deeplab_load.models.enlarging import enlarge
from deeplab_load.models.slim import resize_bilinear


def outcome(function, images, size):
    """The resized images, a loss's gradient, and the types of the operations that made both."""

    @tf.function
    def run(images):
        with tf.GradientTape() as tape:
            tape.watch(images)
            resized = function(images, size)
            loss = tf.reduce_sum(tf.sin(resized))
        return resized, tape.gradient(loss, images)

    graph = run.get_concrete_function(images).graph
    return run(images), {operation.type for operation in graph.get_operations()}


@pytest.mark.parametrize(
    ('sides', 'size'),
    [
        ((9, 9), (33, 33)),
        ((9, 13), (32, 49)),
        ((33, 33), (32, 20)),
        ((5, 7), (5, 7)),
        ((4, 3), (1, 2)),
        ((2, 9), (12, 9)),
        ((1, 1), (3, 5)),
    ],
)
def test_values_and_gradient_are_tensorflows(sides, size):
    images = tf.random.stateless_normal([3, *sides, 5], [1, 2])
    (expected, plain), _ = outcome(resize_bilinear, images, size)
    (values, gradient), operations = outcome(enlarge, images, size)
    assert 'ResizeBilinearGrad' not in operations
    np.testing.assert_array_equal(values, expected)
    np.testing.assert_allclose(gradient, plain, rtol=0, atol=1e-6 * np.abs(plain).max())


def test_a_batch_without_images_has_an_empty_gradient():
    (values, gradient), _ = outcome(enlarge, tf.zeros([0, 9, 9, 5]), (33, 33))
    assert (values.shape, gradient.shape) == ((0, 33, 33, 5), (0, 9, 9, 5))


def test_the_gradient_has_the_type_of_the_images():
    (_, gradient), _ = outcome(enlarge, tf.ones([1, 3, 3, 2], tf.float16), (5, 5))
    assert gradient.dtype == tf.float16


def test_two_pixels_made_many_have_tensorflows_gradient():
    images = tf.random.stateless_normal([2, 2, 2, 3], [1, 2])
    (_, expected), _ = outcome(resize_bilinear, images, (65, 65))
    (_, gradient), operations = outcome(enlarge, images, (65, 65))
    assert 'ResizeBilinearGrad' in operations
    np.testing.assert_array_equal(gradient, expected)
