"""Losses against numbers worked out by hand, their gradients, and void == subset."""

import numpy as np
import pytest
import tensorflow as tf

from deeplab_load import losses

LOGITS = tf.constant([[[[0.0, np.log(3.0)], [np.log(7.0), 0.0]]]], tf.float32)  # probabilities 1/4 3/4, 7/8 1/8


def test_cross_entropy_by_hand():
    labels = tf.constant([[[1, 0]]], tf.uint8)
    expected = -(np.log(3 / 4) + np.log(7 / 8)) / 2
    assert float(losses.cross_entropy(labels, LOGITS)) == pytest.approx(expected, rel=1e-6)


def test_void_pixels_are_as_if_they_were_not_there():
    rng = np.random.default_rng(0)
    logits = tf.constant(rng.normal(size=(2, 4, 5, 3)), tf.float32)
    labels = rng.integers(0, 3, (2, 4, 5)).astype(np.uint8)
    labels[:, 2:] = 255
    whole = losses.cross_entropy(tf.constant(labels), logits)
    subset = losses.cross_entropy(tf.constant(labels[:, :2]), logits[:, :2])
    assert float(whole) == pytest.approx(float(subset), rel=1e-6)


def test_only_void_gives_zero_and_a_zero_gradient():
    labels = tf.fill([1, 1, 2], tf.constant(255, tf.uint8))
    with tf.GradientTape() as tape:
        tape.watch(LOGITS)
        loss = losses.cross_entropy(labels, LOGITS)
    assert float(loss) == 0
    assert not np.any(tape.gradient(loss, LOGITS))


def test_class_weights_multiply_the_loss_but_not_the_count():
    labels = tf.constant([[[1, 0]]], tf.uint8)
    expected = -(5 * np.log(3 / 4) + 2 * np.log(7 / 8)) / 2
    loss = losses.cross_entropy(labels, LOGITS, class_weights=tf.constant([[2.0, 5.0]]))
    assert float(loss) == pytest.approx(expected, rel=1e-6)


def test_balancing_weights_by_hand():
    labels = tf.constant([[[0, 0], [1, 255]], [[1, 1], [1, 1]]], tf.uint8)
    weights = losses.balancing_weights(labels, tf.constant([3.0, 8.0, 1.0]))
    np.testing.assert_allclose(weights, [[1.5, 8.0, 0.0], [0.0, 2.0, 0.0]])


def test_non_saturating_by_hand_and_its_gradient():
    logits = tf.constant([[0.0], [np.log(3.0)]], tf.float32)  # D = 1/2 and 3/4
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = losses.non_saturating(logits)
    assert float(loss) == pytest.approx(-(np.log(1 / 2) + np.log(3 / 4)) / 2, rel=1e-6)
    np.testing.assert_allclose(tape.gradient(loss, logits)[:, 0], [-0.25, -0.125], rtol=1e-6)  # (D − 1) / batch


def test_non_saturating_does_not_saturate_where_d_is_sure():
    logits = tf.constant([-40.0])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = losses.non_saturating(logits)
    assert float(loss) == pytest.approx(40.0)
    assert float(tape.gradient(loss, logits)[0]) == pytest.approx(-1.0)


def test_discriminator_loss_by_hand():
    logits = tf.constant([np.log(3.0), np.log(3.0), 100.0], tf.float32)
    real, weights = tf.constant([1.0, 0.0, 0.0]), tf.constant([1.0, 0.5, 0.0])
    expected = -(np.log(3 / 4) + 0.5 * np.log(1 / 4)) / 3
    assert float(losses.discriminator_cross_entropy(logits, real, weights)) == pytest.approx(expected, rel=1e-6)


def test_two_generated_sets_at_half_weight_equal_one_at_full_weight():
    one = losses.discriminator_cross_entropy(tf.constant([1.0, 2.0]), tf.constant([1.0, 0.0]), tf.constant([1.0, 1.0]))
    two = losses.discriminator_cross_entropy(
        tf.constant([1.0, 2.0, 2.0]), tf.constant([1.0, 0.0, 0.0]), tf.constant([1.5, 0.75, 0.75])
    )
    assert float(one) == pytest.approx(float(two), rel=1e-6)


@pytest.mark.parametrize('scale', [1.0, 300.0, 1e6])
@pytest.mark.parametrize('dtype', [tf.float32, tf.float64])
def test_the_compiled_cross_entropy_is_tensorflows(scale, dtype):
    random = np.random.default_rng(0)
    logits = tf.constant(scale * random.normal(size=(2, 5, 7, 21)), dtype)
    labels, weights = (
        tf.constant(random.integers(0, 21, (2, 5, 7)), tf.int32),
        tf.constant(random.random((2, 5, 7)), dtype),
    )
    outcomes = []
    for function in (losses.softmax_cross_entropy, tf.nn.sparse_softmax_cross_entropy_with_logits):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = function(labels=labels, logits=logits)
            total = tf.reduce_sum(loss * weights)
        outcomes.append((loss, tape.gradient(total, logits)))
    for found, expected in zip(*outcomes, strict=True):
        assert found.dtype == dtype
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_the_compiled_cross_entropy_of_no_pixels_is_empty():
    assert losses.softmax_cross_entropy(tf.zeros([0, 5, 7], tf.int32), tf.zeros([0, 5, 7, 3])).shape == (0, 5, 7)


def test_a_label_that_is_no_class_makes_the_loss_nan():
    found = losses.softmax_cross_entropy(tf.constant([-1, 0, 1, 2, 255]), tf.zeros([5, 2]))
    np.testing.assert_array_equal(np.isnan(found), [True, False, False, True, True])


def test_logits_that_are_not_finite_are_told_by_the_loss():
    labels = tf.constant([0, 1, 1])
    logits = tf.constant([[np.nan, 0.0], [np.inf, 0.0], [0.0, np.nan]])
    assert not np.any(np.isfinite(losses.softmax_cross_entropy(labels, logits)))
