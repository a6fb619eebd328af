import keras
import pytest

from deeplab_load.catalog import Architecture
from deeplab_load.models import heads
from deeplab_load.restore.names import tf1_variables


@pytest.mark.parametrize(
    ('flags', 'layers'),
    [
        ({'aspp_with_separable_conv': False}, {'aspp1': (3, 3, 128, 8), 'aspp2': (3, 3, 128, 8)}),
        (
            {'decoder_use_separable_conv': False},
            {
                'decoder/decoder_conv0/decoder_conv0_1': (3, 3, 56, 6),
                'decoder/decoder_conv0/decoder_conv0_2': (3, 3, 6, 6),
            },
        ),
    ],
)
def test_full_convolutions_have_the_originals_names_and_shapes(flags, layers):
    features, low, image = keras.Input((5, 5, 128)), keras.Input((17, 17, 24)), keras.Input((65, 65, 3))
    scope = heads.arg_scope(decay=None, frozen=True, seed=0)
    sizes = {'aspp_convs_filters': 8, 'decoder_filters': 6, 'decoder_output_stride': 4, 'atrous_rates': (2, 3)}
    asked = Architecture('mobilenet_v2', 21, **sizes, **flags)
    x = heads.decoder(heads.aspp(features, image, asked, scope), {4: low}, image, asked, scope)
    model = keras.Model([features, low, image], x)
    shapes = {name: tuple(v.shape) for name, v in tf1_variables(model).items()}
    for layer, shape in layers.items():
        assert shapes[f'{layer}/weights'] == shape
        assert shapes[f'{layer}/BatchNorm/gamma'] == shape[-1:]
        assert f'{layer}_depthwise/depthwise_weights' not in shapes
    if 'aspp1' in layers:
        rates = [model.get_layer(f'aspp{index}').dilation_rate for index in (1, 2)]
        assert rates == [(2, 2), (3, 3)]
