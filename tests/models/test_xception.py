import json
import math

import keras
import pytest

from deeplab_load.catalog import Architecture
from deeplab_load.models import xception


@pytest.mark.parametrize(('variant', 'units'), [('xception_41', 13), ('xception_65', 21), ('xception_71', 23)])
def test_modules_of_each_network(variant, units):
    assert sum(block.units for block in xception.NETWORKS[variant].blocks) == units


def parameters(variant: str) -> int:
    image = keras.Input((None, None, 3))
    scope = xception.arg_scope(decay=None, frozen=True, seed=0)
    model = keras.Model(image, xception.backbone(image, Architecture(variant, 2), scope).deep)
    return sum(math.prod(variable.shape) for variable in model.trainable_weights)


def test_trainable_parameters(testdata):
    recorded = json.loads((testdata / 'golden/x65_voc_os16/variables.json').read_text())['variables']
    backbone = [v for v in recorded if v['trainable'] and v['name'].startswith('xception_65/')]
    published = sum(math.prod(v['shape']) for v in backbone)
    assert parameters('xception_65') == published
    # 41 has eight modules fewer: three depthwise and pointwise convolutions of 728 channels each, gamma and beta twice.
    assert parameters('xception_41') == published - 8 * 3 * (9 * 728 + 728 * 728 + 4 * 728)


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
