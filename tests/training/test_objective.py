"""What stage 1 minimises: the original's losses, and each part of them on numbers worked out by hand."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from deeplab_load import losses
from deeplab_load.catalog import Architecture
from deeplab_load.models.deeplab import build_segmentor
from deeplab_load.models.inference import Inference, pyramid_logits
from deeplab_load.models.slim import resize_nearest
from deeplab_load.restore.names import tf1_variables
from deeplab_load.training.objective import (
    gradient_factors,
    gradient_multipliers,
    pixel_weights,
    regularization_loss,
    regularized,
    scale_logits,
    scale_loss,
)
from deeplab_load.training.recipe import Recipe

from ..golden import parametrize

DEEPLAB = Recipe(recipe='deeplab', last_layer_gradient_multiplier=10.0)


def loss_and_gradient(logits, labels, recipe, step=0, ignore_label=255):
    logits, labels = tf.constant(logits), tf.constant(labels)
    weights = pixel_weights(labels, recipe, None, ignore_label)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = scale_loss(
            logits, labels, recipe, step=tf.constant(step), ignore_label=ignore_label, class_weights=weights
        )
    return float(loss), tape.gradient(loss, logits).numpy()


@parametrize('case', 'loss_unit', lambda meta: 'all_ignored' in meta)
def test_the_originals_losses_and_their_gradients(case):
    arrays = case.arrays()
    labels = arrays['labels'][..., 0]
    for name, entry in case.meta.items():
        options = {{'loss_weight': 'label_weights'}.get(k, k): v for k, v in entry.get('kwargs', {}).items()}
        recipe = dataclasses.replace(Recipe(), **options)
        seen = np.full_like(labels, 255) if name == 'all_ignored' else labels
        loss, gradient = loss_and_gradient(arrays['logits'], seen, recipe)
        assert loss == pytest.approx(entry['loss'], rel=1e-6), name
        expected = arrays.get(f'grad_{name}', np.zeros_like(gradient))
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max(), err_msg=name)


# Probabilities of the first class 1/2, 1/4, 1/8, 1/16.
LOGITS = np.log(np.array([[[[1, 1], [1, 3]], [[1, 7], [1, 15]]]], np.float32))
FOUR = np.zeros((1, 2, 2), np.uint8)


def test_the_hardest_pixels_by_hand():
    half = Recipe(top_k_percent_pixels=0.5)
    assert loss_and_gradient(LOGITS, FOUR, half)[0] == pytest.approx(np.log(8 * 16) / 2, rel=1e-6)
    # At step 5 of 10 three quarters of the pixels count, from step 10 on a half.
    ramp = Recipe(top_k_percent_pixels=0.5, hard_example_mining_step=10)
    expected = {0: np.log(2 * 4 * 8 * 16) / 4, 5: np.log(4 * 8 * 16) / 3, 20: np.log(8 * 16) / 2}
    for step, loss in expected.items():
        assert loss_and_gradient(LOGITS, FOUR, ramp, step)[0] == pytest.approx(loss, rel=1e-6)


def test_void_pixels_are_not_among_the_hardest():
    labels = np.array([[[0, 0], [255, 255]]], np.uint8)
    loss, gradient = loss_and_gradient(LOGITS, labels, Recipe(top_k_percent_pixels=0.75))
    assert loss == pytest.approx(np.log(2 * 4) / 2, rel=1e-6)
    assert not gradient[0, 1].any()


def test_another_label_may_be_void():
    labels = np.array([[[0, 1], [1, 0]]], np.uint8)
    loss, gradient = loss_and_gradient(LOGITS, labels, Recipe(), ignore_label=0)
    assert loss == pytest.approx((np.log(4 / 3) + np.log(8 / 7)) / 2, rel=1e-6)
    assert not gradient[0, 0, 0].any()
    assert gradient[0, 0, 1].any()


def test_labels_are_taken_down_to_the_logits():
    labels = np.random.default_rng(0).integers(0, 2, (1, 5, 5)).astype(np.uint8)
    small = resize_nearest(labels[..., None], (2, 2))[..., 0]
    np.testing.assert_array_equal(small, labels[:, ::4, ::4])
    loss = loss_and_gradient(LOGITS, labels, Recipe(upsample_logits=False))[0]
    assert loss == pytest.approx(float(losses.cross_entropy(small, tf.constant(LOGITS))), rel=1e-6)


def test_label_weights_multiply_what_balances():
    labels, recipe = tf.constant([[[0, 0], [1, 255]]], tf.uint8), Recipe(label_weights=(2.0, 0.5))
    np.testing.assert_allclose(pixel_weights(labels, recipe, None, 255), [[2.0, 0.5]])
    np.testing.assert_allclose(pixel_weights(labels, recipe, tf.constant([3.0, 8.0]), 255), [[3.0, 4.0]])
    assert pixel_weights(labels, Recipe(), None, 255) is None


def test_weight_decay_is_of_the_weights_of_plain_convolutions(small_segmentor):
    weights = regularized(small_segmentor)
    assert {'MobilenetV2/Conv/weights', 'image_pooling/weights', 'logits/semantic/weights'} <= set(weights)
    assert len(weights) == len([name for name in tf1_variables(small_segmentor) if name.endswith('/weights')])
    total = sum(float(np.sum(np.square(v.numpy().astype(np.float64)))) for v in weights.values())
    assert float(regularization_loss(weights.values(), 1e-3)) == pytest.approx(1e-3 * total / 2, rel=1e-5)


def test_multipliers_by_hand():
    names = ['aspp0/weights', 'aspp0/BatchNorm/gamma', 'logits/semantic/biases', 'X/biases', 'X/weights']
    assert gradient_multipliers(names, DEEPLAB) == {
        'aspp0/weights': 10.0,
        'aspp0/BatchNorm/gamma': 10.0,
        'logits/semantic/biases': 20.0,
        'X/biases': 2.0,
    }
    only = dataclasses.replace(DEEPLAB, last_layers_contain_logits_only=True)
    assert gradient_multipliers(names, only) == {'logits/semantic/biases': 20.0, 'X/biases': 2.0}
    assert set(gradient_multipliers(names, Recipe()).values()) == {1.0}


def test_each_variable_gets_its_own_factor(small_segmentor):
    variables = list(reversed(small_segmentor.trainable_variables))
    factors = gradient_factors(small_segmentor, variables, DEEPLAB)
    logits = small_segmentor.get_layer('logits.semantic')
    told = dict(zip(map(id, variables), factors, strict=True))
    assert (told[id(logits.bias)], told[id(logits.kernel)]) == (20.0, 10.0)
    assert told[id(small_segmentor.get_layer('MobilenetV2.Conv').kernel)] == 1.0


def test_every_scale_of_the_image_pyramid_and_the_merged_logits(small_segmentor):
    recipe = Recipe(image_pyramid=(0.5, 1.0), merge_method='avg')
    images = tf.random.stateless_uniform([1, 65, 65, 3], [0, 0], maxval=255.0)
    small, plain, merged = scale_logits(small_segmentor, recipe)(images)
    assert small.shape == plain.shape == merged.shape == (1, 5, 5, 7)
    np.testing.assert_allclose(merged, (small + plain) / 2, rtol=1e-5, atol=1e-6)
    assert len(scale_logits(small_segmentor, Recipe())(images)) == 1


@pytest.mark.parametrize('fine_tune_batch_norm', [False, True])
def test_scaled_images_are_pooled_over_a_scaled_window(fine_tune_batch_norm):
    architecture = Architecture('mobilenet_v2', 5, 16, depth_multiplier=0.1, image_pooling_crop_size=(33, 33))
    segmentor = build_segmentor(architecture, fine_tune_batch_norm=fine_tune_batch_norm, seed=1)
    segmentor.get_layer('concat_projection_dropout').rate = 0.0
    images = tf.random.stateless_uniform([2, 65, 65, 3], [0, 0], maxval=255.0)
    recipe = Recipe(image_pyramid=(0.75, 1.25), fine_tune_batch_norm=fine_tune_batch_norm)
    layers = pyramid_logits(segmentor, images, 16, Inference(image_pyramid=recipe.image_pyramid), training=True)
    found = scale_logits(segmentor, recipe)(images)
    assert len(found) == len(layers) == 3
    for expected, logits in zip(layers, found, strict=True):
        np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
