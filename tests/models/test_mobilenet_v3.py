import dataclasses

import numpy as np
import pytest

from deeplab_load.models import mobilenet_edgetpu, mobilenet_v3
from deeplab_load.models.slim import hard_swish, q_sigmoid


def classifier(network: mobilenet_v3.Network, first: int) -> mobilenet_v3.Network:
    """The ImageNet classifier's backbone, whose blocks from `first` on and last convolution are twice as wide."""
    wide = [dataclasses.replace(block, filters=2 * block.filters) for block in network.blocks[first:]]
    wide[0] = dataclasses.replace(wide[0], expansion=2 * wide[0].expansion)
    return dataclasses.replace(network, blocks=(*network.blocks[:first], *wide), last_filters=2 * network.last_filters)


def trainable_parameters(network: mobilenet_v3.Network, depth_multiplier: float = 1.0) -> int:
    """Kernels, gamma and beta of every convolution, and squeeze-and-excitation."""
    shapes = mobilenet_v3.kernel_shapes(network, depth_multiplier)
    count = sum(int(np.prod(shape)) for shape in shapes.values())
    count += sum(2 * (shape[-2] if 'depthwise' in name else shape[-1]) for name, shape in shapes.items())
    for index, block in enumerate(network.blocks):
        name = mobilenet_v3.block_name(network, index).replace('.', '/')
        channels = shapes[f'{name}/project/weights'][2]
        squeezed = mobilenet_v3.make_divisible(channels / 4, 8, 8)
        count += block.squeeze * (2 * channels * squeezed + channels + squeezed)
    return count


@pytest.mark.parametrize(
    ('network', 'first', 'parameters'),
    [
        # MobileNetV3 for ImageNet without the two layers of its classifier.
        (mobilenet_v3.LARGE, 12, 5_483_032 - (960 * 1280 + 1280) - (1280 * 1000 + 1000)),
        (mobilenet_v3.SMALL, 8, 2_542_856 - (576 * 1024 + 1024) - (1024 * 1000 + 1000)),
    ],
)
def test_twice_as_wide_at_the_end_the_networks_are_the_published_classifiers(network, first, parameters):
    assert trainable_parameters(classifier(network, first)) == parameters


@pytest.mark.parametrize(
    ('network', 'channels'),
    [
        (mobilenet_v3.LARGE, {4: 72, 8: 120, 16: 672}),
        (mobilenet_v3.SMALL, {4: 16, 8: 88, 16: 144}),
        (mobilenet_edgetpu.NETWORK, {}),
    ],
)
def test_low_level_channels(network, channels):
    assert mobilenet_v3.low_level_channels(network, 1.0) == channels


def test_the_slim_edgetpu_s_channels():
    shapes = mobilenet_v3.kernel_shapes(mobilenet_edgetpu.NETWORK, 0.75)
    outputs = [shape[-1] for name, shape in shapes.items() if name.endswith(('Conv/weights', 'project/weights'))]
    assert list(dict.fromkeys(outputs)) == [24, 16, 40, 72, 120, 144]
    assert shapes['MobilenetEdgeTPU/Conv_1/weights'] == (1, 1, 144, 960)
    assert shapes['MobilenetEdgeTPU/expanded_conv_5/expand/weights'] == (3, 3, 24, 192)


def test_activations_by_hand():
    x = np.array([-4.0, -1.0, 0.0, 2.0, 5.0], np.float32)
    np.testing.assert_allclose(hard_swish(x), [0, -1 / 3, 0, 5 / 3, 5], rtol=1e-6)
    np.testing.assert_allclose(q_sigmoid(x), [0, 2 * 0.16667, 3 * 0.16667, 5 * 0.16667, 6 * 0.16667], rtol=1e-6)
