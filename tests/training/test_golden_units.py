"""Pieces of the original's networks in training mode: outputs, gradients, moving statistics, regularised weights."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab_load.catalog import Architecture
from deeplab_load.models import heads, xception
from deeplab_load.models.xception import Block, Network
from deeplab_load.restore.names import tf1_shapes, tf1_variables
from deeplab_load.training.objective import regularization_loss, regularized
from deeplab_load.training.recipe import DEEPLAB

from ..golden import Case, parametrize

pytestmark = parametrize('case', 'unit_', lambda meta: 'unit' in meta)


def xception_mini() -> keras.Model:
    """A tiny Xception at output stride 4, the rates of its last block 1, 2, 1."""
    blocks = (
        Block('entry_flow.block1', (24, 24, 24), 2),
        Block('middle_flow.block1', (24, 24, 24), shortcut='sum'),
        Block('exit_flow.block1', (24, 32, 32), 2),
        Block('exit_flow.block2', (32, 32, 40), shortcut='none', activated=True),
    )
    image = keras.Input((49, 49, 3), name='image')
    scope = xception.arg_scope(decay=None, frozen=False, seed=0)
    network = Network(blocks, low_level={})
    return keras.Model([image], xception.stack(image, network, 'xception_41', 4, (1, 2, 1), scope).deep)


def head_aspp_decoder() -> keras.Model:
    """ASPP, decoder and logits of a crop of 65, the features at output stride 8, without dropout."""
    features, low = keras.Input((9, 9, 32), name='features'), keras.Input((17, 17, 24), name='low')
    image = keras.ops.zeros((1, 65, 65, 3))
    scope = heads.arg_scope(decay=None, frozen=False, seed=0)
    architecture = Architecture('mobilenet_v2', 21, 8, atrous_rates=(2, 4, 6), decoder_output_stride=4)
    x = heads.aspp(features, image, architecture, scope)
    x = heads.decoder(x, {4: low}, image, architecture, scope)
    model = keras.Model([features, low], heads.logits(x, 21, scope))
    model.get_layer('concat_projection_dropout').rate = 0.0
    return model


# The unit is told from its variables' names: (a prefix of some of them, how it is built).
BUILDERS = {'xception_41/': xception_mini, 'aspp0/': head_aspp_decoder}


@dataclasses.dataclass(frozen=True)
class Pass:
    """One forward and backward pass in training."""

    model: keras.Model
    initial_regularization: float
    y: np.ndarray
    gradients: dict[str, np.ndarray]


@pytest.fixture(scope='module')
def golden(case: Case) -> dict[str, np.ndarray]:
    return case.arrays()


@pytest.fixture(scope='module')
def trained(case: Case, golden) -> Pass:
    values = case.group(golden, 'var')
    known = [build for prefix, build in BUILDERS.items() if any(name.startswith(prefix) for name in values)]
    assert len(known) == 1, f'{case.folder.name}: no builder is known here for a unit with {sorted(values)[:3]}'
    model = known[0]()
    assert tf1_shapes(model) == {name: value.shape for name, value in values.items()}
    variables = tf1_variables(model)
    for name, variable in variables.items():
        variable.assign(values[name])
    decay = float(regularization_loss(regularized(model).values(), DEEPLAB['weight_decay']))
    inputs = {tensor.name: tf.constant(golden[f'in/{tensor.name}']) for tensor in model.inputs}
    sources = {**{n: v.value for n, v in variables.items() if v.trainable}, **inputs}
    with tf.GradientTape() as tape:
        tape.watch(list(inputs.values()))
        y = model(list(inputs.values()), training=True)
        loss = tf.reduce_sum(y * golden['in/cotangent']) / tf.size(y, tf.float32)
    gradients = dict(zip(sources, tape.gradient(loss, list(sources.values())), strict=True))
    return Pass(model, decay, y.numpy(), {name: np.asarray(value) for name, value in gradients.items()})


def test_output(case, golden, trained):
    floors = [floor['y_max_abs'] for floor in case.meta.get('noise_floor', {}).values()]
    tolerance = max(4 * max(floors, default=0.0), 1e-4)
    np.testing.assert_allclose(trained.y, golden['out/y'], rtol=0, atol=tolerance)


def test_gradients(case, golden, trained):
    recorded = {**case.group(golden, 'grad'), **case.group(golden, 'grad_in')}
    assert set(recorded) == set(trained.gradients)
    norms = {name: np.linalg.norm(value) for name, value in recorded.items()}
    # A beta that the next normalisation cancels has no gradient but rounding.
    told = [name for name, norm in norms.items() if norm > 1e-5 * max(norms.values())]
    deviations = {name: np.linalg.norm(trained.gradients[name] - recorded[name]) / norms[name] for name in told}
    print(
        len(told), len(norms), np.median(list(deviations.values())), sorted(deviations.items(), key=lambda x: -x[1])[:5]
    )
    assert len(told) > 0.7 * len(norms)
    assert np.median(list(deviations.values())) < 1e-2
    assert max(deviations.values()) < 3e-2, max(deviations, key=deviations.get)


def test_moving_statistics_after_one_update(case, golden, trained):
    updated, variables = case.group(golden, 'after'), tf1_variables(trained.model)
    assert set(updated) == {name for name, variable in variables.items() if not variable.trainable}
    for name, expected in updated.items():
        update = np.abs(expected - golden[f'var/{name}']).max()
        # Bessel's correction of the largest batch of the head, 486 pixels, is 2e-3 of the update.
        np.testing.assert_allclose(variables[name].numpy(), expected, rtol=0, atol=1e-3 * update, err_msg=name)


def test_regularised_weights(case, trained):
    names = [name.removesuffix('/kernel/Regularizer/l2_regularizer') for name in case.meta['regularized']]
    assert sorted(names) == sorted(name.removesuffix('/weights') for name in regularized(trained.model))
    np.testing.assert_allclose(trained.initial_regularization, case.meta['regularization_loss'], rtol=1e-6)
