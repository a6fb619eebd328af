"""The discriminator: its input by class, void, windows, and the gradient to the segmentor."""

import numpy as np
import pytest
import tensorflow as tf

from deeplab_load.models import discriminator as d
from deeplab_load.models import slim


def test_the_class_split_puts_class_k_in_channels_3k_to_3k_plus_2():
    images = tf.random.stateless_uniform([2, 4, 5, 3], [0, 1])
    labels = np.random.default_rng(0).integers(0, 7, (2, 4, 5))
    split = d.class_split(images, tf.one_hot(labels, 7)).numpy()
    assert split.shape == (2, 4, 5, 21)
    for k in range(7):
        np.testing.assert_array_equal(split[..., 3 * k : 3 * k + 3], images * (labels == k)[..., None])


def test_void_is_zero_in_every_channel_for_real_and_generated_maps_alike():
    truth = np.zeros((1, 8, 8), np.uint8)
    truth[:, :, 4:] = 255
    real = d.hard_maps(tf.constant(truth), tf.constant(truth), num_classes=3, size=8)
    generated = d.hard_maps(tf.ones([1, 8, 8], tf.uint8), tf.constant(truth), num_classes=3, size=8)
    soft = d.generated_maps(tf.zeros([1, 3, 3, 3]), tf.constant(truth), size=8, straight_through=False)
    for maps in (real, generated, soft):
        assert not np.any(maps.numpy()[:, :, 4:])
        np.testing.assert_allclose(maps.numpy()[:, :, :4].sum(axis=-1), 1, rtol=1e-6)


def test_padding_of_generated_maps_is_void():
    truth = np.full((1, 4, 4), 255, np.uint8)
    assert not np.any(d.hard_maps(tf.constant(truth), tf.constant(truth), num_classes=3, size=4))


def test_straight_through_has_hard_values_and_the_gradient_of_the_softmax():
    logits = tf.random.stateless_normal([2, 3, 3, 4], [0, 2])
    truth = tf.zeros([2, 9, 9], tf.uint8)
    weight = tf.random.stateless_normal([2, 9, 9, 4], [3, 4])
    gradients = {}
    for straight_through in (False, True):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            maps = d.generated_maps(logits, truth, size=9, straight_through=straight_through)
            loss = tf.reduce_sum(maps * weight)
        gradients[straight_through] = tape.gradient(loss, logits)
    np.testing.assert_allclose(maps, np.round(maps), atol=1e-6)
    np.testing.assert_allclose(gradients[True], gradients[False], rtol=1e-5, atol=1e-6)
    assert np.any(np.abs(gradients[True]) > 1e-3)


def test_images_reach_minus_one_and_one():
    images = tf.concat([tf.zeros([1, 9, 9, 3]), tf.fill([1, 9, 9, 3], 255.0)], axis=0)
    scaled = d.discriminator_images(images, 5)
    assert scaled.shape == (2, 5, 5, 3)
    np.testing.assert_allclose(scaled[0], -1)
    np.testing.assert_allclose(scaled[1], 1, rtol=1e-6)


@pytest.mark.parametrize(('classes', 'parameters'), [(21, 3_247_169), (8, 3_235_937)])
def test_the_default_is_mobilenet_224_with_3k_channels(classes, parameters):
    model = d.build_discriminator(classes)
    assert model.input_shape == (None, 224, 224, 3 * classes)
    assert model.output_shape == (None, 1)
    # Howard et al.'s 3,228,864 up to the pooling, with 3K input channels for 3, and one logit.
    assert model.count_params() == 3_228_864 + 9 * 32 * 3 * (classes - 1) + 1025 == parameters
    assert [layer.rate for layer in model.layers if layer.__class__.__name__ == 'Dropout'] == [0.01]


def parameters_of_cnn(channels):
    kernels = 16 * (channels * 32 + 32 * 64 + 64 * 128 + 128 * 256 + 256 * 512)
    return kernels + 32 + 4 * (64 + 128 + 256 + 512) + 513


@pytest.mark.parametrize(('sees', 'channels'), [('image_split', 15), ('label_map', 5)])
@pytest.mark.parametrize(
    ('network', 'parameters'),
    [
        ('mobilenet', lambda channels: 3_228_864 + 9 * 32 * (channels - 3) + 1025),
        ('vgg16', lambda channels: 14_714_688 + 9 * 64 * (channels - 3) + 513),
        ('cnn', parameters_of_cnn),
    ],
)
def test_every_network_of_d_by_its_parameters(network, parameters, sees, channels):
    model = d.build_discriminator(5, network=network, sees=sees, size=32, dropout=0.25)
    assert model.input_shape == (None, 32, 32, channels)
    assert model.output_shape == (None, 1)
    assert model.count_params() == parameters(channels)
    assert [layer.rate for layer in model.layers if layer.__class__.__name__ == 'Dropout'] == [0.25]
    momenta = {layer.momentum for layer in model.layers if layer.__class__.__name__ == 'BatchNormalization'}
    assert momenta <= {0.9}
    assert bool(momenta) == (network != 'vgg16')


def test_alpha_scales_the_cnn():
    narrow = d.build_discriminator(2, network='cnn', size=32, alpha=0.25)
    assert [v.shape[-1] for v in narrow.trainable_variables if len(v.shape) == 4] == [8, 16, 32, 64, 128]


def test_what_d_sees_follows_its_channels():
    images = tf.random.stateless_uniform([2, 9, 9, 3], [0, 1], maxval=255.0)
    maps = tf.one_hot(np.random.default_rng(0).integers(0, 5, (2, 32, 32)), 5)
    split, alone = (d.build_discriminator(5, network='cnn', sees=sees, size=32) for sees in d.INPUTS)
    np.testing.assert_array_equal(d.input_of(alone, images, maps), maps)
    np.testing.assert_array_equal(
        d.input_of(split, images, maps), d.class_split(d.discriminator_images(images, 32), maps)
    )


def test_the_seed_fixes_the_weights():
    first, again, other = (d.build_discriminator(2, size=32, alpha=0.25, seed=seed).get_weights() for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_labels_are_resized_as_the_original_resizes():
    random = np.random.default_rng(0)
    for height, width in ((5, 7), (70, 50), (32, 33)):
        maps = random.integers(0, 21, (2, height, width)).astype(np.uint8)
        truth = np.where(random.uniform(size=maps.shape) < 0.2, 255, maps).astype(np.uint8)
        labels, void = (slim.resize_nearest(m[..., None], (32, 32)).numpy()[..., 0] for m in (maps, truth))
        np.testing.assert_array_equal(d.hard_labels(maps, truth, 32), np.where(void == 255, -1, labels.astype(int)))
