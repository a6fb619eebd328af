"""ImageNet weights of slim's MobileNet-v1 start the discriminator."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab_load import networks, stages
from deeplab_load.config import Config
from deeplab_load.errors import UserError
from deeplab_load.models.discriminator import build_discriminator, class_split
from deeplab_load.restore.checkpoint import write_checkpoint
from deeplab_load.restore.mobilenet_v1 import restore_discriminator, slim_variables

CLASSES, SIZE, ALPHA = 4, 64, 0.25
STRIDES = {0: 2, 2: 2, 4: 2, 6: 2, 12: 2}
FIRST = 'MobilenetV1/Conv2d_0/weights'


@pytest.fixture(scope='module')
def values() -> dict[str, np.ndarray]:
    """Values of a narrow MobileNet-v1 for photographs, with statistics far from the initial ones."""
    model = build_discriminator(1, size=SIZE, alpha=ALPHA)
    random, drawn = np.random.default_rng(0), {}
    for name, variable in slim_variables(model).items():
        centre = 1.0 if name.endswith(('gamma', 'moving_variance')) else 0.0
        spread = 0.3 if 'BatchNorm' in name else np.sqrt(2 / np.prod(variable.shape[:3]))
        drawn[name] = np.asarray(centre + spread * random.uniform(-1, 1, variable.shape), np.float32)
    return drawn


@pytest.fixture
def prefix(tmp_path, values):
    logits = {f'MobilenetV1/Logits/Conv2d_1c_1x1/{kind}': np.ones(3, np.float32) for kind in ('weights', 'biases')}
    beside = {f'{FIRST}/RMSProp': values[FIRST], f'{FIRST}/ExponentialMovingAverage': values[FIRST]}
    write_checkpoint(tmp_path / 'model.ckpt', {**values, **logits, **beside, 'global_step': np.int64(7)})
    return tmp_path / 'model.ckpt'


def slim_features(values, x):
    """slim/nets/mobilenet_v1.py up to the pooling, in inference: SAME padding, BN with epsilon 1e-3, ReLU6."""
    layers = ['Conv2d_0', *(f'Conv2d_{n}_{kind}' for n in range(1, 14) for kind in ('depthwise', 'pointwise'))]
    for layer in layers:
        scope = f'MobilenetV1/{layer}'
        stride = 1 if layer.endswith('pointwise') else STRIDES.get(int(layer.split('_')[1]), 1)
        if layer.endswith('depthwise'):
            x = tf.nn.depthwise_conv2d(x, values[f'{scope}/depthwise_weights'], [1, stride, stride, 1], 'SAME')
        else:
            x = tf.nn.conv2d(x, values[f'{scope}/weights'], stride, 'SAME')
        norm = {
            kind: values[f'{scope}/BatchNorm/{kind}'] for kind in ('moving_mean', 'moving_variance', 'beta', 'gamma')
        }
        x = tf.nn.relu6(tf.nn.batch_normalization(x, *norm.values(), 1e-3))
    return x


def test_names_and_shapes_are_slims(testdata):
    recorded = json.loads((testdata / 'golden/slim_mobilenet_v1_100_224/variables.json').read_text())['variables']
    expected = {v['name']: tuple(v['shape']) for v in recorded if 'Conv2d_' in v['name'] and 'Logits' not in v['name']}
    held = slim_variables(build_discriminator(1))
    assert {name: tuple(variable.shape) for name, variable in held.items()} == expected


def test_d_sees_the_photograph_as_the_imagenet_network_does(prefix, values):
    discriminator = build_discriminator(CLASSES, size=SIZE, alpha=ALPHA)
    restore_discriminator(discriminator, prefix)
    random = np.random.default_rng(1)
    images = tf.constant(random.uniform(-1, 1, (2, SIZE, SIZE, 3)), tf.float32)
    maps = tf.one_hot(random.integers(0, CLASSES, (2, SIZE, SIZE)), CLASSES)
    features = keras.Model(discriminator.input, discriminator.get_layer('conv_pw_13_relu').output)
    expected = slim_features(values, images)
    assert 0.1 < np.std(expected) < 6
    np.testing.assert_allclose(features(class_split(images, maps)), expected, rtol=0, atol=1e-4)


def test_everything_is_told(prefix, values):
    discriminator = build_discriminator(CLASSES, size=SIZE, alpha=ALPHA)
    before = {v.path: v.numpy() for v in discriminator.weights if v.path.startswith('conv_preds')}
    restoration = restore_discriminator(discriminator, prefix)
    assert set(restoration.restored) == set(values)
    assert set(restoration.fresh) == set(before)
    for variable in discriminator.weights:
        if variable.path in before:
            np.testing.assert_array_equal(variable, before[variable.path])
    table = restoration.table()
    assert 'fresh        2 variables (conv_preds/bias, conv_preds/kernel): the last layer of D' in table
    for rule, count in (('classifier', 2), ('optimizer slot', 1), ('moving average of a weight', 1)):
        assert f'skipped   {count:4d} variables ({rule})' in table


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (
            {'MobilenetV1/Conv2d_3_depthwise/BatchNorm/beta': None},
            'lacks variables of the model: MobilenetV1/Conv2d_3_',
        ),
        ({'MobilenetV1/Conv2d_14/weights': np.ones(1, np.float32)}, 'the model has not: MobilenetV1/Conv2d_14/weights'),
        ({FIRST: np.ones((3, 3, 3, 32), np.float32)}, 'of other shapes than the model: MobilenetV1/Conv2d_0/weights'),
    ],
)
def test_it_is_strict(tmp_path, values, change, words):
    held = {name: value for name, value in {**values, **change}.items() if value is not None}
    write_checkpoint(tmp_path / 'model.ckpt', held)
    with pytest.raises(UserError, match=words):
        restore_discriminator(build_discriminator(CLASSES, size=SIZE, alpha=ALPHA), tmp_path)


def test_the_main_job_starts_d_from_it(tmp_path, prefix, capsys):
    options = {'dataset': 'shapes', 'discriminator_size': SIZE, 'discriminator_alpha': ALPHA}
    config = Config(run_dir=str(tmp_path / 'run'), discriminator_checkpoint=str(prefix), **options)
    with stages.run_directory(config) as run:
        networks.build_discriminator(config, run.directory)
    assert f'Discriminator started from {prefix}' in capsys.readouterr().out
    for other in ({'discriminator': 'cnn'}, {'discriminator_input': 'label_map'}):
        with pytest.raises(UserError, match='--discriminator_checkpoint is for --discriminator=mobilenet and'):
            Config(discriminator_checkpoint=str(prefix), **options, **other)
