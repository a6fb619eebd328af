import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab_load.catalog import Architecture
from deeplab_load.models import heads
from deeplab_load.restore.names import tf1_variables


@pytest.fixture(scope='module')
def golden(testdata):
    with np.load(testdata / 'golden/unit_head_aspp_decoder/data.npz') as data:
        return {name: data[name] for name in data.files}


@pytest.fixture(scope='module')
def trained(golden):
    """The head with the golden values after one forward and backward pass in training: (model, y, gradients)."""
    model = aspp_and_decoder()
    variables = tf1_variables(model)
    for name, variable in variables.items():
        variable.assign(golden[f'var/{name}'])
    inputs = [tf.constant(golden['in/features']), tf.constant(golden['in/low']), tf.zeros([6, 65, 65, 3])]
    trainable = {name: variable for name, variable in variables.items() if variable.trainable}
    sources = {
        **{name: variable.value for name, variable in trainable.items()},
        'features': inputs[0],
        'low': inputs[1],
    }
    with tf.GradientTape() as tape:
        tape.watch(inputs[:2])
        y = model(inputs, training=True)
        loss = tf.reduce_sum(y * golden['in/cotangent']) / tf.size(y, tf.float32)
    return model, y.numpy(), dict(zip(sources, tape.gradient(loss, list(sources.values())), strict=True))


def aspp_and_decoder() -> keras.Model:
    features, low, image = keras.Input((9, 9, 32)), keras.Input((17, 17, 24)), keras.Input((65, 65, 3))
    scope = heads.arg_scope(decay=None, frozen=False, seed=0)
    architecture = Architecture('mobilenet_v2', 21, 8, atrous_rates=(2, 4, 6), decoder_output_stride=4)
    x = heads.aspp(features, image, architecture, scope)
    x = heads.decoder(x, {4: low}, image, architecture, scope)
    model = keras.Model([features, low, image], heads.logits(x, 21, scope))
    # The golden data were made without dropout.
    model.get_layer('concat_projection_dropout').rate = 0.0
    return model


def test_the_head_has_the_originals_variables(golden):
    expected = {name.removeprefix('var/'): value.shape for name, value in golden.items() if name.startswith('var/')}
    assert {name: tuple(v.shape) for name, v in tf1_variables(aspp_and_decoder()).items()} == expected


def test_training_logits(golden, trained):
    np.testing.assert_allclose(trained[1], golden['out/y'], atol=1e-4)


def test_gradients(golden, trained):
    recorded = {
        name.split('/', 1)[1]: value for name, value in golden.items() if name.startswith(('grad/', 'grad_in/'))
    }
    assert set(recorded) == set(trained[2])
    for name, expected in recorded.items():
        deviation = np.linalg.norm(trained[2][name] - expected) / np.linalg.norm(expected)
        assert deviation < 3e-2, f'{name}: {deviation}'


def test_moving_statistics_after_one_update(golden, trained):
    variables = tf1_variables(trained[0])
    updated = {name.removeprefix('after/'): value for name, value in golden.items() if name.startswith('after/')}
    assert len(updated) == 28
    for name, expected in updated.items():
        update = np.abs(expected - golden[f'var/{name}']).max()
        # Bessel's correction of the largest batch here, 486 pixels, is 2e-3 of the update.
        np.testing.assert_allclose(variables[name].numpy(), expected, rtol=0, atol=1e-3 * update, err_msg=name)
