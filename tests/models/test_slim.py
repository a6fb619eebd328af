import fractions
import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab_load.models.slim import (
    SMALLEST_EPSILON,
    ArgScope,
    BatchNorm,
    ResizeToStride,
    atrous_conversion,
    convolution,
    depthwise,
    resize_bilinear,
    resize_nearest,
    scale_dimension,
)


def batch_norm(**changes) -> BatchNorm:
    layer = BatchNorm(**{'epsilon': 1e-3, 'decay': 0.9, 'frozen': False, **changes})
    layer.build((None, None, None, 2))
    return layer


# One pixel each of two images: means 2 and 5, biased variances 1 and 9, Bessel-corrected 2 and 18.
PAIR = np.array([[1.0, 2.0], [3.0, 8.0]], np.float32).reshape(2, 1, 1, 2)


def test_batch_norm_normalises_with_biased_variance_and_averages_the_corrected_one():
    layer = batch_norm()
    y = layer(PAIR, training=True).numpy().reshape(2, 2)
    expected = np.array([[-1 / np.sqrt(1.001), -3 / np.sqrt(9.001)], [1 / np.sqrt(1.001), 3 / np.sqrt(9.001)]])
    np.testing.assert_allclose(y, expected, rtol=1e-6)
    np.testing.assert_allclose(layer.moving_mean, [0.2, 0.5], rtol=1e-6)
    np.testing.assert_allclose(layer.moving_variance, [0.9 + 0.2, 0.9 + 1.8], rtol=1e-6)


@pytest.mark.parametrize(('frozen', 'training'), [(True, True), (False, False), (True, False)])
def test_batch_norm_uses_and_keeps_its_averages_when_frozen_or_not_training(frozen, training):
    layer = batch_norm(frozen=frozen)
    layer.moving_mean.assign([1.0, 2.0])
    layer.moving_variance.assign([4.0, 9.0])
    y = layer(PAIR, training=training).numpy().reshape(2, 2)
    np.testing.assert_allclose(y, [[0, 0], [2 / np.sqrt(4.001), 6 / np.sqrt(9.001)]], rtol=1e-6)
    np.testing.assert_array_equal(layer.moving_mean, [1, 2])
    np.testing.assert_array_equal(layer.moving_variance, [4, 9])
    assert len(layer.trainable_weights) == 2


def test_batch_norm_raises_epsilon_to_the_fused_minimum():
    layer = batch_norm(epsilon=1e-5, frozen=True)
    layer.moving_variance.assign([0.0, 0.0])
    y = layer(np.ones((1, 1, 1, 2), np.float32)).numpy()
    np.testing.assert_allclose(y, 1 / np.sqrt(SMALLEST_EPSILON), rtol=1e-6)


@pytest.mark.parametrize('explicit_padding', [True, False])
@pytest.mark.parametrize('layer', [convolution, depthwise])
def test_padding_of_a_strided_convolution_on_an_even_size(layer, explicit_padding):
    scope = ArgScope('linear', 0.0, 0.9, True, stddev=0.1, seed=0, explicit_padding=explicit_padding)
    image = keras.Input((4, 4, 1))
    arguments = (1, 'layer') if layer is convolution else ('layer',)
    model = keras.Model(image, layer(image, *arguments, scope, kernel_size=3, stride=2))
    kernel = model.get_layer('layer').kernel
    kernel.assign(tf.ones_like(kernel))
    x = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    padded = np.pad(x[0, :, :, 0], 1 if explicit_padding else (0, 1))
    expected = [[padded[r : r + 3, c : c + 3].sum() for c in (0, 2)] for r in (0, 2)]
    np.testing.assert_allclose(model(x)[0, :, :, 0], expected, rtol=1e-4)


def test_scale_dimension_truncates_and_agrees_between_integers_and_tensors():
    assert [scale_dimension(513, 1 / stride) for stride in (4, 8, 16, 32)] == [129, 65, 33, 17]
    assert scale_dimension(500, 1 / 16) == 32
    assert scale_dimension(513, 1.75) == 897
    for side in range(1, 700, 13):
        for scale in (1 / 16, 1 / 8, 1 / 4, 0.5, 1.25):
            assert scale_dimension(tf.constant(side), scale).numpy() == scale_dimension(side, scale)


def nearest_by_hand(x: np.ndarray, size: int) -> np.ndarray:
    """Rows at round-half-up of index * (in - 1) / (out - 1), by the definition of aligned corners."""
    scale = np.float32((len(x) - 1) / (size - 1)) if size > 1 else np.float32(0)
    return x[np.floor(np.arange(size, dtype=np.float32) * scale + 0.5).astype(int)]


@pytest.mark.parametrize('size', [1, 4, 5, 7, 9])
def test_resizes_align_corners(size):
    x = np.array([0.0, 10.0, 30.0, 40.0, 80.0], np.float32)
    positions = np.linspace(0, 4, size) if size > 1 else [0]
    bilinear = resize_bilinear(x.reshape(1, 5, 1, 1), (size, 1)).numpy().ravel()
    np.testing.assert_allclose(bilinear, np.interp(positions, np.arange(5), x), atol=1e-5)
    labels = x.astype(np.int32).reshape(1, 5, 1, 1)
    nearest = resize_nearest(labels, (size, 1)).numpy().ravel()
    np.testing.assert_array_equal(nearest, nearest_by_hand(x.astype(int), size))


def test_resizes_are_the_originals(testdata):
    with np.load(testdata / 'golden/preprocess/inputs.npz') as inputs:
        x = inputs['resize/x']
    with np.load(testdata / 'golden/preprocess/outputs.npz') as golden:
        expected = {name: golden[name] for name in golden.files if name.startswith('resize/')}
    assert len(expected) >= 10
    for name, value in expected.items():
        resize = resize_bilinear if 'bilinear' in name else resize_nearest
        np.testing.assert_allclose(resize(x, value.shape[1:3]), value, rtol=1e-6, atol=1e-6, err_msg=name)


def test_scale_dimension_is_the_originals(testdata):
    meta = json.loads((testdata / 'golden/preprocess/meta.json').read_text())
    for key, expected in {**meta['scale_dimension'], **meta['scale_dimension_pyramid']}.items():
        side, scale = map(fractions.Fraction, key.split('*'))
        assert scale_dimension(int(side), float(scale)) == expected, key
    for key, expected in meta['scale_dimension_tensor'].items():
        side, scale = key.split('*')
        assert scale_dimension(tf.constant(int(side)), float(scale)).numpy() == expected, key


def test_resize_to_stride_knows_its_shape_where_the_image_does():
    features, image = keras.Input((None, None, 8)), keras.Input((65, None, 3))
    assert ResizeToStride(16)(features, image).shape == (None, 5, None, 8)


def test_atrous_conversion_stops_the_stride_and_gathers_the_rate():
    strides = [2, 1, 2, 2, 1, 2, 1, 2, 1]
    assert atrous_conversion(strides, 8) == [
        *((2, 1), (1, 1), (2, 1), (2, 1), (1, 1)),
        *((1, 1), (1, 2), (1, 2), (1, 4)),
    ]
    assert atrous_conversion(strides, 32) == [(stride, 1) for stride in strides]
