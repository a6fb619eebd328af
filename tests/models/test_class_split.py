"""The convolution of an image split by class, from labels: that of the split, with its gradient."""

import numpy as np
import pytest
import tensorflow as tf

from deeplab_load.models import discriminator as d
from deeplab_load.models.class_split import split_convolution

CLASSES = 5


def windows(side, batch=3):
    """Images, and labels with void pixels and classes that an image lacks."""
    random = np.random.default_rng(side)
    labels = random.integers(-1, CLASSES, (batch, side, side + 3), np.int32)
    labels[0] = 2
    return tf.constant(random.normal(size=(*labels.shape, 3)), tf.float32), tf.constant(labels)


@pytest.mark.parametrize(
    ('side', 'taps', 'strides', 'padding'),
    [
        (13, 3, 2, 'same'),
        (16, 3, 2, 'same'),
        (13, 4, 2, 'same'),
        (13, 3, 1, 'valid'),
        (40, 3, 2, 'same'),  # Of the gradient's parts two an image.
        (21, 3, 1, 'valid'),  # A part for each of 19 rows.
    ],
)
def test_it_is_the_convolution_of_the_split(side, taps, strides, padding):
    images, labels = windows(side)
    random = np.random.default_rng(1)
    kernel = tf.constant(random.normal(size=(taps, taps, 3 * CLASSES, 6)), tf.float32)
    split = d.class_split(images, tf.one_hot(labels, CLASSES))
    outcomes = []
    for convolution in (
        lambda: tf.nn.conv2d(split, kernel, strides, padding.upper()),
        lambda: split_convolution(images, labels, kernel, strides=(strides, strides), padding=padding),
    ):
        with tf.GradientTape() as tape:
            tape.watch(kernel)
            y = convolution()
            loss = tf.reduce_sum(tf.sin(y))
        outcomes.append((y, tape.gradient(loss, kernel)))
    for expected, found in zip(*outcomes, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6 * np.abs(expected).max())
