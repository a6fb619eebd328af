"""Checkpoints of a backbone alone, as published, start a segmentor."""

import pathlib

import numpy as np
import pytest

import deeplab_load
from deeplab_load import networks, stages
from deeplab_load.catalog import Architecture
from deeplab_load.config import Config
from deeplab_load.data.specs import get_spec
from deeplab_load.errors import UserError
from deeplab_load.models.deeplab import build_segmentor
from deeplab_load.restore.checkpoint import write_checkpoint
from deeplab_load.restore.names import tf1_variables
from deeplab_load.restore.restoring import restore

# Variables after the features: slim's classifiers for MobileNetV2 and DeepLab's own for the others.
CLASSIFIERS = {
    'mobilenet_v2': (
        'MobilenetV2/Conv_1/weights',
        'MobilenetV2/Conv_1/BatchNorm/moving_mean',
        'MobilenetV2/Logits/Conv2d_1c_1x1/weights',
        'MobilenetV2/Logits/Conv2d_1c_1x1/biases',
    ),
    'xception_41': ('xception_41/logits/weights', 'xception_41/logits/biases'),
    'resnet_v1_50_beta': ('resnet_v1_50/logits/weights', 'resnet_v1_50/logits/biases', 'resnet_v1_50/mean_rgb'),
}


def backbone(variant: str) -> dict[str, np.ndarray]:
    """The values of a backbone as they are published: with the classifier, slots and averages beside them."""
    variables = tf1_variables(build_segmentor(Architecture(variant, 2), seed=1))
    scope = CLASSIFIERS[variant][0].split('/')[0]
    values = {name: variable.numpy() for name, variable in variables.items() if name.startswith(f'{scope}/')}
    first = next(iter(values))
    beside = [*CLASSIFIERS[variant], f'{first}/Momentum', f'{first}/RMSProp_1', f'{first}/ExponentialMovingAverage']
    return {**values, **{name: np.ones(3, np.float32) for name in beside}, 'global_step': np.int64(7)}


@pytest.fixture(scope='module')
def mobilenet(tmp_path_factory) -> pathlib.Path:
    prefix = tmp_path_factory.mktemp('mobilenet_v2') / 'model.ckpt'
    write_checkpoint(prefix, backbone('mobilenet_v2'))
    return prefix


@pytest.mark.parametrize('family', CLASSIFIERS)
def test_a_published_backbone_restores_into_the_backbone(tmp_path, family):
    values = backbone(family)
    write_checkpoint(tmp_path / 'model.ckpt', values)
    model = build_segmentor(Architecture(family, 5, atrous_rates=(6, 12), decoder_output_stride=4), seed=2)
    variables = tf1_variables(model)
    before = {name: variable.numpy() for name, variable in variables.items() if name not in values}
    restoration = restore(model, tmp_path)
    assert set(restoration.fresh) == set(before)
    assert {name.split('/')[0] for name in before} >= {'aspp0', 'aspp1_depthwise', 'decoder', 'logits'}
    for name, variable in variables.items():
        np.testing.assert_array_equal(variable, before.get(name, values.get(name)), err_msg=name)
    rules = {'classifier': len(CLASSIFIERS[family]), 'optimizer slot': 2, 'moving average of a weight': 1}
    table = restoration.table()
    for rule, count in {**rules, 'global step': 1}.items():
        assert f'skipped   {count:4d} variables ({rule})' in table
    assert 'logits): the checkpoint is a backbone alone' in table


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'MobilenetV2/Conv/BatchNorm/gamma': None}, 'lacks variables of the model: MobilenetV2/Conv/BatchNorm/gamma'),
        ({'MobilenetV2/Conv_3/weights': np.ones(2, np.float32)}, 'the model has not: MobilenetV2/Conv_3/weights'),
        ({'MobilenetV2/Conv/BatchNorm/beta': np.ones(3, np.float32)}, 'of other shapes than the model'),
    ],
)
def test_a_backbone_is_restored_strictly(tmp_path, change, words):
    values = {**backbone('mobilenet_v2'), **change}
    write_checkpoint(tmp_path / 'model.ckpt', {name: value for name, value in values.items() if value is not None})
    with pytest.raises(UserError, match=words):
        restore(build_segmentor(Architecture('mobilenet_v2', 5)), tmp_path)


def test_another_backbone_is_told(mobilenet):
    with pytest.raises(
        UserError, match=r'is MobileNetV2, .* no segmentation head, but the model asked for is Xception'
    ):
        restore(build_segmentor(Architecture('xception_41', 5)), mobilenet)


def test_a_program_says_the_head_alone(mobilenet):
    model = deeplab_load.segmentor(checkpoint=mobilenet, num_classes=5, atrous_rates='6,12', output_stride=8)
    assert model.output_shape == (None, None, None, 5)
    assert model.get_layer('aspp2_depthwise').dilation_rate == (12, 12)
    with pytest.raises(UserError, match='no segmentation head: give one of a segmentation model, or num_classes'):
        deeplab_load.segmentor(checkpoint=mobilenet)


def built(tmp_path, **options):
    config = Config(dataset='shapes', run_dir=str(tmp_path / 'run'), pixelwise_epochs=1, **options)
    with stages.run_directory(config) as run:
        return networks.build_segmentor(config, run.directory)


def test_the_main_job_starts_from_a_backbone(tmp_path, mobilenet):
    segmentor, restored = built(tmp_path, checkpoint=str(mobilenet), decoder_output_stride=8)
    assert 'the checkpoint is a backbone alone' in restored.table()
    assert segmentor.output_shape[-1] == get_spec('shapes').num_classes
    assert any(name.startswith('decoder/') for name in restored.fresh)
