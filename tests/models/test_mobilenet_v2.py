import pytest

from deeplab_load.models import mobilenet_v2
from deeplab_load.models.slim import atrous_conversion


@pytest.mark.parametrize(
    ('depth_multiplier', 'channels'),
    [
        (1.0, [32, 16, 24, 32, 64, 96, 160, 320]),
        (0.5, [16, 8, 12, 16, 32, 48, 80, 160]),
        (1.4, [45, 22, 34, 45, 90, 134, 224, 448]),
    ],
)
def test_channels_at_a_depth_multiplier(depth_multiplier, channels):
    shapes = mobilenet_v2.kernel_shapes(depth_multiplier)
    stages = [shape[-1] for name, shape in shapes.items() if name.endswith(('/Conv/weights', '/project/weights'))]
    assert list(dict.fromkeys(stages)) == list(dict.fromkeys(channels))


def test_expansion_is_rounded_to_multiples_of_eight():
    assert [mobilenet_v2.expanded_filters(channels, 6) for channels in (16, 12, 22, 34)] == [96, 72, 136, 208]
    assert mobilenet_v2.expanded_filters(45, 1) == 45


def test_rates_at_each_output_stride():
    strides = [2, *(block.stride for block in mobilenet_v2.BLOCKS)]
    at_16, at_8 = (dict(enumerate(atrous_conversion(strides, stride)[1:])) for stride in (16, 8))
    assert [at_16[block] for block in (12, 13, 14, 15, 16)] == [(1, 1), (1, 1), (1, 2), (1, 2), (1, 2)]
    assert [at_8[block] for block in (5, 6, 7, 12, 13, 14, 16)] == [
        *((1, 1), (1, 1), (1, 2), (1, 2)),
        *((1, 2), (1, 4), (1, 4)),
    ]
