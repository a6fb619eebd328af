import keras
import numpy as np
import pytest

from deeplab_load.catalog import Architecture
from deeplab_load.models import resnet_v1
from deeplab_load.models.deeplab import build_segmentor
from deeplab_load.restore.names import tf1_variables


def backbone(variant: str, output_stride: int = 16, **changes) -> tuple[keras.Model, resnet_v1.Features]:
    image = keras.Input((65, 65, 3))
    scope = resnet_v1.arg_scope(decay=None, frozen=True, seed=0)
    features = resnet_v1.backbone(image, Architecture(variant, 2, output_stride, **changes), scope)
    return keras.Model(image, features.deep), features


# Three 3x3 convolutions for one of 7x7, and a first unit on 128 channels for 64.
BETA = 9 * (3 * 64 + 64 * 64 + 64 * 128) + 2 * (64 + 64 + 128) - (49 * 3 * 64 + 2 * 64) + 64 * (64 + 256)

# ResNet-18's have a quarter of the channels (resnet_v1_18_beta's root_depth_multiplier), and its shortcut is new.
BETA_18 = 9 * (3 * 16 + 16 * 16 + 16 * 32) + 2 * (16 + 16 + 32) - (49 * 3 * 64 + 2 * 64)
BETA_18 += 32 * 64 + 2 * 64 - 9 * 32 * 64


@pytest.mark.parametrize(
    ('variant', 'parameters'),
    [
        # ResNets for ImageNet without their classifiers.
        ('resnet_v1_18', 11_689_512 - 513_000),
        ('resnet_v1_50', 25_557_032 - 2_049_000),
        ('resnet_v1_101', 44_549_160 - 2_049_000),
        ('resnet_v1_18_beta', 11_689_512 - 513_000 + BETA_18),
        ('resnet_v1_50_beta', 25_557_032 - 2_049_000 + BETA),
    ],
)
def test_trainable_parameters(variant, parameters):
    model, _ = backbone(variant)
    assert sum(int(np.prod(variable.shape)) for variable in model.trainable_weights) == parameters


@pytest.mark.parametrize(
    ('variant', 'channels'), [('resnet_v1_18', (64, 128, 256)), ('resnet_v1_50', (256, 512, 1024))]
)
def test_a_decoder_takes_the_features_at_its_stride(variant, channels):
    _, features = backbone(variant, 32)
    expected = {
        stride: (None, 64 // stride + 1, 64 // stride + 1, c) for stride, c in zip((4, 8, 16), channels, strict=True)
    }
    assert {stride: x.shape for stride, x in features.low_level.items()} == expected
    assert resnet_v1.low_level_channels(variant) == dict(zip((4, 8, 16), channels, strict=True))


def test_strides_and_rates():
    model, _ = backbone('resnet_v1_50_beta', 8, multi_grid=(1, 2, 4))

    def converted(unit: str) -> tuple[int, int]:
        layer = model.get_layer(f'resnet_v1_50.{unit}.bottleneck_v1.conv2')
        return layer.strides[0], layer.dilation_rate[0]

    assert converted('block1.unit_3') == (2, 1)
    assert converted('block2.unit_4') == (1, 1)
    assert converted('block3.unit_1') == (1, 2)
    assert converted('block3.unit_6') == (1, 2)
    assert [converted(f'block4.unit_{unit}') for unit in (1, 2, 3)] == [(1, 4), (1, 8), (1, 16)]


def test_both_convolutions_of_a_lite_unit_are_atrous():
    model, _ = backbone('resnet_v1_18', 16, multi_grid=(1, 2))
    rates = [
        model.get_layer(f'resnet_v1_18.block4.unit_2.lite_bottleneck_v1.conv{index}').dilation_rate[0]
        for index in (1, 2)
    ]
    assert rates == [4, 4]


@pytest.mark.parametrize('variant', ['resnet_v1_18', 'resnet_v1_18_beta'])
def test_plain_networks_subtract_the_mean_and_beta_ones_scale(variant):
    pixels = np.array([[[[0.0, 128.0, 255.0]]]], np.float32)
    seen = build_segmentor(Architecture(variant, 2)).get_layer('preprocess')(pixels).numpy().ravel()
    expected = pixels.ravel() * np.float32(2 / 255) - 1
    if not variant.endswith('beta'):
        expected = pixels.ravel() - np.array([123.15, 115.90, 103.06], np.float32)
    np.testing.assert_array_equal(seen, expected)


def test_initial_weights_are_scaled_by_their_inputs():
    variables = tf1_variables(backbone('resnet_v1_18')[0])
    # A normal truncated at two deviations keeps 0.88 of its deviation.
    deviation = variables['resnet_v1_18/block4/unit_2/lite_bottleneck_v1/conv2/weights'].numpy().std()
    assert abs(deviation / (0.88 * np.sqrt(1.3 * 2 / (9 * 512))) - 1) < 0.01


def test_batch_norm_has_the_fused_minimum_of_epsilon_and_its_own_decay():
    layer = backbone('resnet_v1_18')[0].get_layer('resnet_v1_18.conv1.BatchNorm')
    assert (layer.epsilon, layer.decay) == (1.001e-5, 0.95)
