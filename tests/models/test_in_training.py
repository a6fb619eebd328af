"""The segmentor as training calls it: the values of its layers, batch norm trained or frozen, and mixed precision."""

import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from deeplab_load import segmentor
from deeplab_load.catalog import Architecture
from deeplab_load.losses import cross_entropy
from deeplab_load.models import in_training as module
from deeplab_load.models.deeplab import build_segmentor
from deeplab_load.models.enlarging import enlarge
from deeplab_load.models.folding import convolved, norms_of
from deeplab_load.models.foreign import build_foreign
from deeplab_load.models.in_training import convolved_in_training, gains_from_mixed_precision, in_training
from deeplab_load.models.passing import has_dilated_depthwise

ASPP = Architecture('mobilenet_v2', 5, 16, atrous_rates=(1, 2, 6), decoder_output_stride=4, depth_multiplier=0.1)


def images(size):
    return tf.random.stateless_uniform([2, size, size, 3], [0, 0], maxval=255.0)


def graph(network):
    return tf.function(lambda x: network(x, training=True)).get_concrete_function(images(33)).graph


def test_batch_norm_that_is_trained_stays_and_averages_as_before():
    models = [build_segmentor(ASPP, fine_tune_batch_norm=True, seed=1) for _ in range(2)]
    networks = [models[0], in_training(models[1])]
    assert len(norms_of(networks[1])) == len(norms_of(models[1])) > 10
    for model in models:
        model.get_layer('concat_projection_dropout').rate = 0.0
    expected, found = (tf.function(network)(images(65), training=True) for network in networks)
    # Batch statistics of few values amplify rounding.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3 * np.abs(expected).max())
    before = build_segmentor(ASPP, fine_tune_batch_norm=True, seed=1).variables
    for a, b, old in zip(models[0].variables, models[1].variables, before, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-4 * np.abs(a).max())
        assert np.array_equal(b, old) != ('moving' in a.path)


def test_of_frozen_batch_norm_nothing_is_left():
    network = in_training(build_segmentor(ASPP))
    assert not norms_of(network)
    assert not [o for o in graph(network).get_operations() if 'BatchNorm' in o.type]


@pytest.mark.parametrize('fine_tune', [False, True])
def test_mixed_precision_is_for_the_dense_convolutions_that_batch_norm_follows(fine_tune):
    model = build_segmentor(ASPP, fine_tune_batch_norm=fine_tune)
    network = in_training(model, mixed_precision=True)
    norms, dense = norms_of(model), [layer for layer in model.layers if type(layer) is keras.layers.Conv2D]
    reduced = [layer for layer in dense if layer.name in norms]
    types = {}
    for operation in graph(network).get_operations():
        types.setdefault(operation.type, []).append(operation.outputs[0].dtype if operation.outputs else None)
    assert len(dense) > len(reduced) > 20
    assert types['Conv2D'].count(tf.bfloat16) == len(reduced)
    assert types['Conv2D'].count(tf.float32) == len(dense) - len(reduced)
    assert set(types['DepthwiseConv2dNative']) == {tf.float32}
    assert network(images(33)).dtype == tf.float32


def rounded(values):
    return tf.cast(tf.cast(values, tf.bfloat16), tf.float32)


def sums_in_float32():
    """Whether TensorFlow adds up products of bfloat16 in float32: oneDNN with AVX-512. Else it rounds every sum."""
    return has_dilated_depthwise() and 'avx512f' in module._processor_flags()


@pytest.mark.parametrize('size', [1, 3])
def test_mixed_precision_rounds_factors_results_and_gradients_to_bfloat16(size):
    layer = keras.layers.Conv2D(6, size, padding='same', use_bias=False)
    layer.build((2, 9, 8, 4))
    x, kernel = tf.random.stateless_normal([2, 9, 8, 4], [0, 0]), tf.convert_to_tensor(layer.kernel)
    upstream = tf.random.stateless_normal([2, 9, 8, 6], [0, 1])

    def outcome(convolve, x, kernel, upstream):
        with tf.GradientTape() as tape:
            tape.watch([x, kernel])
            y = convolve(x, kernel, layer)
        return [y, *tape.gradient(y, [x, kernel], upstream)]

    factors = [rounded(values) for values in (x, kernel, upstream)]
    exact = outcome(convolved_in_training, *factors)
    sizes = outcome(convolved_in_training, *map(tf.abs, factors))  # The products' sizes, added up.
    found = outcome(module._convolved_in_bfloat16, x, kernel, upstream)
    for expected, values, size in zip(exact, found, sizes, strict=True):
        assert values.dtype == tf.float32
        assert np.array_equal(values, rounded(values))
        # Of the exact result of rounded factors the result alone is rounded, to 8 bits, or the sums on the way too.
        most = 2**-8 * np.abs(expected) + (1e-5 * np.abs(expected).max() if sums_in_float32() else 2**-6 * size)
        np.testing.assert_array_less(np.abs(values - expected), most)


def test_mixed_precision_of_the_published_network_goes_the_same_way(testdata):
    """On photographs: the same label nearly everywhere, and a gradient of nearly the same direction."""
    data = testdata / 'data'
    model = segmentor(checkpoint=data / 'zoo' / 'deeplabv3_mnv2_dm05_pascal_trainaug')
    x, labels = voc(data / 'voc2012_subset' / 'VOCdevkit' / 'VOC2012', count=3)
    (exact, gradient), (mixed, found) = (
        outcome(in_training(model, frozen=True, mixed_precision=asked), x, labels) for asked in (False, True)
    )
    assert np.mean(np.argmax(exact, axis=-1) == np.argmax(mixed, axis=-1)) > 0.99
    assert 1e-3 < np.abs(exact - mixed).max() / np.ptp(exact) < 0.05
    assert gradient @ found > 0.95 * np.linalg.norm(gradient) * np.linalg.norm(found)


def voc(folder, count):
    """Corners of 321x321 of the first photographs that are large enough, and their labels."""
    corners = []
    for place in sorted((folder / 'SegmentationClass').glob('*.png')):
        with Image.open(folder / 'JPEGImages' / f'{place.stem}.jpg') as image, Image.open(place) as labels:
            if min(image.size) >= 321 and len(corners) < count:
                corners.append([np.asarray(picture)[:321, :321] for picture in (image, labels)])
    images, labels = map(np.stack, zip(*corners, strict=True))
    return tf.constant(images, tf.float32), tf.constant(labels)


def outcome(network, x, labels):
    """Logits, and the gradient of the cross-entropy by all weights, as one vector."""
    targets = [v.value for v in network.trainable_variables]

    @tf.function
    def run():
        with tf.GradientTape() as tape:
            logits = network(x, training=False)
            loss = cross_entropy(labels, enlarge(logits, x.shape[1:3]))
        return logits, tf.concat([tf.reshape(g, [-1]) for g in tape.gradient(loss, targets)], axis=0)

    return [values.numpy() for values in run()]


@pytest.mark.parametrize(
    ('flags', 'has_onednn', 'gains'),
    [
        ('avx2 avx512_bf16', True, True),
        ('amx_bf16', True, True),
        ('avx2 avx512f', True, False),
        ('amx_bf16', False, False),
    ],
)
def test_which_processors_gain_from_mixed_precision(monkeypatch, flags, has_onednn, gains):
    monkeypatch.setattr(tf.config, 'list_physical_devices', lambda kind: [])
    monkeypatch.setattr(pathlib.Path, 'exists', lambda path: True)
    monkeypatch.setattr(pathlib.Path, 'read_text', lambda path, **how: f'flags\t: fpu {flags}\n')
    monkeypatch.setattr(module, 'has_dilated_depthwise', lambda: has_onednn)
    assert gains_from_mixed_precision() == gains


@pytest.mark.parametrize(('capabilities', 'gains'), [([(8, 0), (9, 0)], True), ([(9, 0), (7, 5)], False)])
def test_which_gpus_gain_from_mixed_precision(monkeypatch, capabilities, gains):
    monkeypatch.setattr(tf.config, 'list_physical_devices', lambda kind: capabilities)
    monkeypatch.setattr(
        tf.config.experimental, 'get_device_details', lambda capability: {'compute_capability': capability}
    )
    assert gains_from_mixed_precision() == gains


def test_another_segmentor_stays_as_it_is():
    foreign = build_foreign('tests.foreign_segmentors:plain', num_classes=3, windows=[(33, 33)], seed=0)
    assert in_training(foreign, mixed_precision=True) is foreign


@pytest.mark.parametrize('rates', [(1, 1), (4, 4), (6, 6), (18, 18), (6, 3), (18, 15), (6, 21)])
@pytest.mark.parametrize('kind', [keras.layers.Conv2D, keras.layers.DepthwiseConv2D])
def test_in_training_a_convolution_of_any_dilation_is_the_layers(kind, rates):
    arguments = {'filters': 3} if kind is keras.layers.Conv2D else {}
    layer = kind(kernel_size=3, padding='same', dilation_rate=rates, use_bias=False, **arguments)
    layer.build((2, 21, 23, 4))
    random = np.random.default_rng(0)
    x, kernel = (tf.constant(random.normal(size=s), tf.float32) for s in ((2, 21, 23, 4), layer.kernel.shape))
    outcomes = []
    for convolve in (convolved, convolved_in_training):
        with tf.GradientTape() as tape:
            tape.watch([x, kernel])
            y = convolve(x, kernel, layer)
            loss = tf.reduce_sum(tf.sin(y))
        outcomes.append([y, *tape.gradient(loss, [x, kernel])])
    for expected, found in zip(*outcomes, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=5e-6 * np.abs(expected).max())


def test_a_padding_in_place_of_the_layers_is_heeded_in_training():
    layer = keras.layers.DepthwiseConv2D(3, padding='same', dilation_rate=6, use_bias=False)
    layer.build((2, 21, 23, 4))
    x, kernel = tf.random.stateless_normal([2, 21, 23, 4], [0, 0]), tf.random.stateless_normal([3, 3, 4, 1], [0, 1])
    expected, found = (f(x, kernel, layer, padding='valid') for f in (convolved, convolved_in_training))
    assert found.shape == (2, 9, 11, 4)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize('groups', [1, 2])
def test_in_training_a_convolution_of_groups_is_the_layers(groups):
    layer = keras.layers.Conv2D(6, 1, padding='same', groups=groups, use_bias=False)
    layer.build((2, 9, 8, 4))
    x, kernel = tf.random.stateless_normal([2, 9, 8, 4], [0, 0]), tf.convert_to_tensor(layer.kernel)
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        found = convolved_in_training(x, kernel, layer)
    np.testing.assert_allclose(found, layer(x), rtol=0, atol=1e-5)
    assert tape.gradient(found, kernel).shape == kernel.shape


@pytest.mark.parametrize(('strides', 'filter_gradients'), [(1, 0), (2, 1)])
@pytest.mark.parametrize('padding', ['same', 'valid'])
def test_in_training_a_convolution_of_1x1_is_the_layers(strides, filter_gradients, padding):
    layer = keras.layers.Conv2D(3, 1, strides=strides, padding=padding, use_bias=False)
    layer.build((2, 9, 8, 4))
    random = np.random.default_rng(0)
    x, kernel = (tf.constant(random.normal(size=s), tf.float32) for s in ((2, 9, 8, 4), layer.kernel.shape))

    @tf.function
    def outcome(convolve):
        with tf.GradientTape() as tape:
            tape.watch([x, kernel])
            y = convolve(x, kernel, layer)
            loss = tf.reduce_sum(tf.sin(y))
        return [y, *tape.gradient(loss, [x, kernel])]

    for expected, found in zip(*map(outcome, (convolved, convolved_in_training)), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=5e-6 * np.abs(expected).max())
    operations = outcome.get_concrete_function(convolved_in_training).graph.get_operations()
    assert [o.type for o in operations].count('Conv2DBackpropFilter') == filter_gradients
