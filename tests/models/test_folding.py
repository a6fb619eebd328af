"""Frozen batch normalisation folded in the graph: the same outputs, the same gradients, the same variables."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab_load.catalog import Architecture
from deeplab_load.models.deeplab import build_segmentor
from deeplab_load.models.folding import convolved, convolved_in_training, folded_in_graph, folded_weights, norms_of
from deeplab_load.models.foreign import build_foreign

ASPP = {'atrous_rates': (1, 2, 6), 'decoder_output_stride': 4, 'depth_multiplier': 0.1}
NETWORKS = {
    'aspp and decoder': Architecture('mobilenet_v2', 5, 16, **ASPP),
    'explicit padding': Architecture('resnet_v1_18', 5, 16),
}


@pytest.fixture(scope='module', params=NETWORKS)
def segmentor(request):
    """A network whose moving averages are those of two images, so that every layer is alive."""
    model = build_segmentor(NETWORKS[request.param], fine_tune_batch_norm=True, batch_norm_decay=0.0, seed=1)
    tf.function(model)(images(65), training=True)
    return model


def images(size):
    return tf.random.stateless_uniform([2, size, size, 3], [0, 0], maxval=255.0)


def outcome(model, variables):
    """Logits, and the gradients of a loss of them."""
    targets = [v.value for v in variables]

    @tf.function
    def run(x):
        with tf.GradientTape() as tape:
            y = model(x, training=False)
            loss = tf.reduce_sum(tf.sin(y))
        return y, tape.gradient(loss, targets)

    return run(images(33))


@pytest.mark.parametrize('training', [False, True])
def test_logits_and_gradients_are_those_of_the_segmentor(segmentor, training):
    variables = segmentor.trainable_variables
    folded = folded_in_graph(segmentor, training=training)
    (expected, plain), (logits, gradients) = (outcome(m, variables) for m in (segmentor, folded))
    assert np.ptp(expected) > 0.01
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    norms, folded_norms = (np.array([np.linalg.norm(g) for g in found]) for found in (plain, gradients))
    assert np.all(norms > 0)
    # A beta or mean that a later layer takes away again has no gradient but rounding.
    told = norms > 1e-5 * norms.max()
    assert np.mean(told) > 0.7
    np.testing.assert_allclose(folded_norms[told], norms[told], rtol=1e-3)


def test_it_has_the_segmentors_variables_and_no_batch_normalisation(segmentor):
    folded = folded_in_graph(segmentor)
    assert {id(v) for v in folded.variables} == {id(v) for v in segmentor.variables}
    assert len(norms_of(segmentor)) > 10
    assert not norms_of(folded)
    graph = tf.function(folded).get_concrete_function(images(33), training=True).graph
    assert not [o for o in graph.get_operations() if 'BatchNorm' in o.type]


@pytest.mark.parametrize(
    ('layer', 'channels'),
    [
        (keras.layers.Conv2D(6, 3, strides=2, padding='same', use_bias=False), 6),
        (keras.layers.DepthwiseConv2D(3, padding='same', dilation_rate=2, use_bias=False), 4),
    ],
    ids=['dense', 'depthwise'],
)
def test_float64_gradients_are_the_unfolded_ones_to_1e_9(layer, channels):
    layer.build((2, 9, 9, 4))
    random = np.random.default_rng(0)
    x, kernel = (tf.constant(random.normal(size=shape)) for shape in ((2, 9, 9, 4), layer.kernel.shape))
    gamma, beta, mean = (tf.constant(random.normal(size=channels)) for _ in range(3))
    variance = tf.constant(random.uniform(0.5, 2, channels))

    def unfolded():
        y = convolved(x, kernel, layer)
        return tf.nn.batch_normalization(y, mean, variance, beta, gamma, variance_epsilon=1e-3)

    def folded():
        with_norm, bias = folded_weights(kernel, gamma, beta, mean, variance, epsilon=1e-3)
        return convolved(x, with_norm, layer) + bias

    outcomes = []
    for network in (unfolded, folded):
        with tf.GradientTape() as tape:
            tape.watch([x, kernel, gamma, beta])
            y = network()
            loss = tf.reduce_sum(tf.sin(y))
        outcomes.append([y, *tape.gradient(loss, [x, kernel, gamma, beta])])
    for expected, found in zip(*outcomes, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


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


def test_another_segmentor_stays_as_it_is():
    foreign = build_foreign('tests.foreign_segmentors:plain', num_classes=3, windows=[(33, 33)], seed=0)
    assert folded_in_graph(foreign) is foreign
