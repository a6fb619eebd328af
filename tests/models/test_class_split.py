"""The convolution of an image split by class without the split, and D on labels: the same outputs and gradients."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab_load.models import discriminator as d
from deeplab_load.models.class_split import split_convolution
from deeplab_load.models.fused_norm import FusedNorm

CLASSES = 5


def windows(side, batch=3):
    """Images, and labels with void pixels and classes that an image lacks."""
    random = np.random.default_rng(side)
    labels = random.integers(-1, CLASSES, (batch, side, side), np.int32)
    labels[0] = 2
    return tf.constant(random.normal(size=(batch, side, side, 3)), tf.float32), tf.constant(labels)


@pytest.mark.parametrize(
    ('side', 'taps', 'strides', 'padding'),
    [(13, 3, 2, 'same'), (16, 3, 2, 'same'), (13, 4, 2, 'same'), (13, 3, 1, 'valid')],
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


@pytest.mark.parametrize('training', [False, True])
def test_the_fused_normalisation_is_kerass(training):
    random = np.random.default_rng(0)
    x = tf.constant(random.normal(2.0, 3.0, (2, 5, 7, 4)), tf.float32)
    outcomes = []
    for fused in (False, True):
        norm = keras.layers.BatchNormalization(momentum=0.9)
        norm.build(x.shape)
        norm.set_weights([np.linspace(0.5, 2, 4), np.arange(4.0), np.arange(4.0), np.linspace(1, 3, 4)])
        layer = FusedNorm(norm) if fused else norm
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=training)
            loss = tf.reduce_sum(tf.sin(y))
        outcomes.append([y, *tape.gradient(loss, [x, norm.gamma.value, norm.beta.value]), *norm.get_weights()])
    for expected, found in zip(*outcomes, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(('network', 'sees'), [('mobilenet', 'image_split'), ('cnn', 'label_map')])
def test_d_on_labels_is_d_on_the_split(network, sees):
    model = d.build_discriminator(CLASSES, network=network, sees=sees, size=64, alpha=0.25, dropout=0.0)
    windows_of_segmentor = tf.random.stateless_uniform([3, 72, 72, 3], [0, 1], maxval=255.0)
    truth = tf.cast(windows(72)[1] % 256, tf.uint8)  # −1 becomes 255.
    labels = d.hard_labels(truth, truth, 64)
    seen = d.input_of(model, windows_of_segmentor, tf.one_hot(labels, CLASSES))
    judge = d.on_labels(model, CLASSES)
    state = model.get_weights()
    outcomes = []
    for logits in (lambda: model(seen, training=True), lambda: judge(windows_of_segmentor, labels, True)):
        model.set_weights(state)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.sin(logits()))
        gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
        outcomes.append([loss, *gradients, *model.get_weights()])
    for expected, found in zip(*outcomes, strict=True):
        scale = max(np.abs(expected).max(), 1e-3)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3 * scale)
