"""What every family of backbones must do, each with the head that it was published with."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab_load.catalog import MODEL_VARIANTS, Architecture
from deeplab_load.models import mobilenet_v3
from deeplab_load.models.deeplab import BACKBONES, build_segmentor
from deeplab_load.restore.names import tf1_variables

LITE = {
    'output_stride': 32,
    'image_pooling_crop_size': (65, 65),
    'image_pooling_stride': (1, 2),
    'image_se_uses_qsigmoid': True,
    'aspp_convs_filters': 16,
    'aspp_with_concat_projection': False,
    'aspp_with_squeeze_and_excitation': True,
    'decoder_output_stride': 8,
    'decoder_filters': 3,
    'decoder_use_sum_merge': True,
    'decoder_output_is_logits': True,
}
ASPP = {'atrous_rates': (1, 2), 'decoder_output_stride': 4}
SEGMENTORS = {
    'mobilenet_v2': {'depth_multiplier': 0.25, **ASPP},
    'mobilenet_v3_large_seg': LITE,
    'mobilenet_v3_small_seg': LITE,
    'mobilenet_edgetpu': {'depth_multiplier': 0.75, 'aspp_convs_filters': 128},
    'xception_41': ASPP,
    'xception_65': {**ASPP, 'aspp_with_separable_conv': False, 'decoder_use_separable_conv': False},
    'xception_71': {'dense_prediction_cell_json': 'DPC', 'decoder_output_stride': 4},
    'resnet_v1_18': {**ASPP, 'decoder_output_stride': 8, 'multi_grid': (1, 2)},
    'resnet_v1_18_beta': {**ASPP, 'decoder_output_stride': 16},
    'resnet_v1_50': {**ASPP, 'add_image_level_feature': False},
    'resnet_v1_50_beta': {**ASPP, 'multi_grid': (1, 2, 4)},
    'resnet_v1_101_beta': {'multi_grid': (1, 2, 4)},
}


def architecture(variant: str, **changes) -> Architecture:
    return Architecture(**{'model_variant': variant, 'num_classes': 3, **SEGMENTORS[variant], **changes})


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, shape).astype(np.float32)


def test_every_variant_can_be_built():
    assert set(BACKBONES) == set(MODEL_VARIANTS)
    assert len({BACKBONES[variant] for variant in SEGMENTORS}) == len(set(BACKBONES.values()))


@pytest.mark.parametrize('variant', SEGMENTORS)
def test_every_trainable_weight_gets_a_gradient(variant):
    model = build_segmentor(architecture(variant))
    with tf.GradientTape() as tape:
        logits = model(pixels(1, 65, 97, 3), training=True)
        loss = tf.reduce_mean(logits * pixels(*logits.shape))
    trainable = {name: variable for name, variable in tf1_variables(model).items() if variable.trainable}
    assert len(trainable) == len(model.trainable_weights)
    gradients = tape.gradient(loss, [variable.value for variable in trainable.values()])
    for name, gradient in zip(trainable, gradients, strict=True):
        assert np.isfinite(gradient).all(), name
        assert np.abs(gradient).max() > 0, name


@pytest.mark.parametrize('variant', SEGMENTORS)
def test_dense_features_subsampled_are_the_nominal_ones(variant, monkeypatch):
    monkeypatch.setitem(mobilenet_v3.NETWORKS, 'mobilenet_v3_small_seg', small_without_atrous_residual())
    images = np.random.default_rng(0).uniform(-1, 1, (1, 65, 97, 3)).astype(np.float32)
    nominal = features(variant, 32, images)
    assert nominal.std() > 0
    for output_stride in (8, 16):
        dense = features(variant, output_stride, images)
        step = 32 // output_stride
        assert dense.shape[1:3] == (64 // output_stride + 1, 96 // output_stride + 1)
        np.testing.assert_allclose(dense[:, ::step, ::step], nominal, rtol=0, atol=1e-4 * nominal.std())


def small_without_atrous_residual() -> mobilenet_v3.Network:
    """MobileNetV3 small, but its last strided block, of as many filters as its input, adds nothing when dense."""
    blocks = list(mobilenet_v3.SMALL.blocks)
    blocks[8] = dataclasses.replace(blocks[8], residual=False)
    return dataclasses.replace(mobilenet_v3.SMALL, blocks=tuple(blocks))


def test_only_the_dense_mobilenet_v3_small_adds_its_last_strided_block_s_input():
    for output_stride in (8, 16, 32):
        names = {
            layer.name
            for layer in build_segmentor(architecture('mobilenet_v3_small_seg', output_stride=output_stride)).layers
        }
        assert ('MobilenetV3.expanded_conv_8.add' in names) == (output_stride < 32)


def features(variant: str, output_stride: int, images: np.ndarray) -> np.ndarray:
    """The backbone's output with the same weights whatever the output stride."""
    cell = {'dense_prediction_cell_json': None} if output_stride == 32 else {}
    asked, family = architecture(variant, output_stride=output_stride, **cell), BACKBONES[variant]
    image = keras.Input((None, None, 3))
    deep = family.backbone(image, asked, family.arg_scope(decay=None, frozen=True, seed=3)).deep
    model = keras.Model(image, deep)
    for layer in model.layers:
        if layer.name.endswith('squeeze_excite.Conv_1'):
            # The means that squeeze-and-excitation takes differ between dense and nominal features: constant gates.
            layer.kernel.assign(tf.zeros_like(layer.kernel))
    return model(images).numpy()


@pytest.mark.parametrize('variant', ['mobilenet_v3_small_seg', 'mobilenet_edgetpu', 'resnet_v1_18', 'xception_71'])
def test_one_model_serves_every_crop(variant):
    height, width = 70, 100
    images = pixels(1, height, width, 3)
    asked = architecture(variant)
    stride = asked.decoder_output_stride or asked.output_stride
    fixed = build_segmentor(asked, crop_size=(height, width))
    dynamic = tf.function(build_segmentor(asked), input_signature=[tf.TensorSpec([None, None, None, 3])])
    assert fixed.output_shape == (None, (height - 1) // stride + 1, (width - 1) // stride + 1, 3)
    expected = fixed(images).numpy()
    np.testing.assert_allclose(dynamic(images), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


# Keras' own saving asks numpy for a copy in a way that numpy 2 deprecates.
@pytest.mark.filterwarnings('ignore:__array__ implementation:DeprecationWarning')
@pytest.mark.parametrize('variant', ['mobilenet_v3_small_seg', 'mobilenet_edgetpu', 'resnet_v1_18'])
def test_a_keras_file_needs_no_custom_objects(variant, tmp_path):
    model = build_segmentor(architecture(variant))
    model.save(tmp_path / 'model.keras')
    loaded = keras.saving.load_model(tmp_path / 'model.keras')
    images = pixels(1, 65, 65, 3)
    np.testing.assert_array_equal(loaded(images), model(images))
    assert list(tf1_variables(loaded)) == list(tf1_variables(model))
