"""Frozen batch normalisation folded in the graph: the same outputs, the same gradients, the same variables."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab_load.catalog import Architecture
from deeplab_load.models.deeplab import build_segmentor
from deeplab_load.models.folding import convolved, folded_in_graph, folded_weights, norms_of
from deeplab_load.models.foreign import build_foreign
from deeplab_load.models.in_training import in_training

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


@pytest.mark.parametrize('fold', [folded_in_graph, functools.partial(in_training, frozen=True)])
def test_logits_and_gradients_are_those_of_the_segmentor(segmentor, fold):
    variables = segmentor.trainable_variables
    folded = fold(segmentor)
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


def test_another_segmentor_stays_as_it_is():
    foreign = build_foreign('tests.foreign_segmentors:plain', num_classes=3, windows=[(33, 33)], seed=0)
    assert folded_in_graph(foreign) is foreign
