import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab_load.catalog import Architecture
from deeplab_load.models import xception
from deeplab_load.models.xception import Block, Network
from deeplab_load.restore.names import tf1_variables

# A tiny Xception at output stride 4, the rates of its last block 1, 2, 1; the original's run in training mode.
MINI = Network(
    (
        Block('entry_flow.block1', (24, 24, 24), 2),
        Block('middle_flow.block1', (24, 24, 24), shortcut='sum'),
        Block('exit_flow.block1', (24, 32, 32), 2),
        Block('exit_flow.block2', (32, 32, 40), shortcut='none', activated=True),
    ),
    low_level={},
)


@pytest.fixture(scope='module')
def golden(testdata):
    with np.load(testdata / 'golden/unit_xception_mini/data.npz') as data:
        return {name: data[name] for name in data.files}


@pytest.fixture(scope='module')
def trained(golden):
    """The model with the golden values after one forward and backward pass in training: (variables, y, gradients)."""
    image = keras.Input((49, 49, 3))
    scope = xception.arg_scope(decay=None, frozen=False, seed=0)
    model = keras.Model(image, xception.stack(image, MINI, 'xception_41', 4, (1, 2, 1), scope).deep)
    variables = tf1_variables(model)
    for name, variable in variables.items():
        variable.assign(golden[f'var/{name}'])
    sources = {name: variable.value for name, variable in variables.items() if variable.trainable}
    sources['image'] = tf.constant(golden['in/image'])
    with tf.GradientTape() as tape:
        tape.watch(sources['image'])
        y = model(sources['image'], training=True)
        loss = tf.reduce_sum(y * golden['in/cotangent']) / tf.size(y, tf.float32)
    gradients = dict(zip(sources, tape.gradient(loss, list(sources.values())), strict=True))
    return variables, y.numpy(), gradients


def test_variables_and_output(golden, trained):
    variables, y, _ = trained
    expected = {name.removeprefix('var/'): value.shape for name, value in golden.items() if name.startswith('var/')}
    assert {name: tuple(variable.shape) for name, variable in variables.items()} == expected
    np.testing.assert_allclose(y, golden['out/y'], rtol=0, atol=2e-4)


def test_gradients(golden, trained):
    gradients = trained[2]
    recorded = {
        name.split('/', 1)[1]: value for name, value in golden.items() if name.startswith(('grad/', 'grad_in/'))
    }
    assert set(recorded) == set(gradients)
    for name, expected in recorded.items():
        # A beta that the next normalisation cancels has no gradient but rounding, of norm 1e-8.
        bound = 3e-2 * np.linalg.norm(expected) + 1e-7
        assert np.linalg.norm(gradients[name] - expected) < bound, name
    assert np.median([np.linalg.norm(value) for value in recorded.values()]) > 1e-3


def test_moving_statistics_after_one_update(golden, trained):
    updated = {name.removeprefix('after/'): value for name, value in golden.items() if name.startswith('after/')}
    assert len(updated) == 56
    for name, expected in updated.items():
        update = np.abs(expected - golden[f'var/{name}']).max()
        np.testing.assert_allclose(trained[0][name].numpy(), expected, rtol=0, atol=1e-3 * update, err_msg=name)


@pytest.mark.parametrize(('variant', 'units'), [('xception_41', 13), ('xception_65', 21), ('xception_71', 23)])
def test_modules_of_each_network(variant, units):
    assert sum(block.units for block in xception.NETWORKS[variant].blocks) == units


def converted(variant: str, output_stride: int, **changes) -> dict[str, tuple[int, tuple[int, int]]]:
    """Stride and rates of the third depthwise convolution of every module, by its block and unit."""
    image = keras.Input((None, None, 3))
    scope = xception.arg_scope(decay=None, frozen=True, seed=0)
    asked = Architecture(variant, 2, output_stride, **changes)
    model = keras.Model(image, xception.backbone(image, asked, scope).deep)
    return {
        layer.name.split('.', 1)[1].removesuffix('.xception_module.separable_conv3_depthwise'): (
            layer.strides[0],
            layer.dilation_rate[0],
        )
        for layer in model.layers
        if layer.name.endswith('separable_conv3_depthwise')
    }


def test_strides_and_rates():
    at_16, at_8 = converted('xception_41', 16), converted('xception_71', 8, multi_grid=(1, 2, 4))
    assert at_16['entry_flow.block3.unit_1'] == (2, 1)
    assert at_16['exit_flow.block1.unit_1'] == (1, 1)
    assert at_16['exit_flow.block2.unit_1'] == (1, 2)
    assert at_8['entry_flow.block3.unit_1'] == (2, 1)
    assert at_8['entry_flow.block5.unit_1'] == (1, 1)
    assert at_8['middle_flow.block1.unit_16'] == (1, 2)
    assert at_8['exit_flow.block1.unit_1'] == (1, 2)
    assert at_8['exit_flow.block2.unit_1'] == (1, 4 * 4)


def test_a_decoder_takes_the_features_at_its_stride():
    image = keras.Input((65, 65, 3))
    scope = xception.arg_scope(decay=None, frozen=True, seed=0)
    low_level = xception.backbone(image, Architecture('xception_71', 2, 32), scope).low_level
    assert {stride: x.shape[1:] for stride, x in low_level.items()} == {
        4: (17, 17, 256),
        8: (9, 9, 728),
        16: (5, 5, 1024),
    }
    assert xception.low_level_channels('xception_71') == xception.low_level_channels('xception_41')
    assert xception.low_level_channels('xception_41') == {4: 256, 8: 728, 16: 1024}
