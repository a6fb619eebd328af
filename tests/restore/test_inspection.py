import pytest

from deeplab_load.catalog import Architecture
from deeplab_load.errors import UserError
from deeplab_load.models import mobilenet_edgetpu, mobilenet_v2, mobilenet_v3
from deeplab_load.models.deeplab import build_segmentor
from deeplab_load.restore.inspection import inspect, inspect_shapes
from deeplab_load.restore.names import tf1_shapes

LOGITS = {'logits/semantic/weights': (1, 1, 256, 21), 'logits/semantic/biases': (21,)}


@pytest.mark.parametrize('depth_multiplier', [0.1, 0.25, 0.35, 0.5, 0.75, 1.0, 1.3, 1.4, 0.123, 2.0])
@pytest.mark.parametrize('decoder_output_stride', [4, 8, 16])
def test_depth_multiplier_and_decoder_stride_from_shapes(depth_multiplier, decoder_output_stride):
    channels_of = {stride: mobilenet_v2.low_level_channels(stride, depth_multiplier) for stride in (4, 8, 16)}
    channels = channels_of[decoder_output_stride]
    projection = {'decoder/feature_projection0/weights': (1, 1, channels, 48)}
    found = inspect_shapes({**mobilenet_v2.kernel_shapes(depth_multiplier), **LOGITS, **projection})
    # Multipliers between which no channel count differs are one network; the roundest is told.
    assert mobilenet_v2.kernel_shapes(found.depth_multiplier) == mobilenet_v2.kernel_shapes(depth_multiplier)
    assert len(str(found.depth_multiplier)) <= len(str(depth_multiplier))
    assert found.decoder_output_stride == min(s for s, count in channels_of.items() if count == channels)


@pytest.mark.parametrize('depth_multiplier', [0.35, 0.5, 0.75, 1.0, 1.25])
@pytest.mark.parametrize(
    ('family', 'network'),
    [*mobilenet_v3.NETWORKS.items(), ('mobilenet_edgetpu', mobilenet_edgetpu.NETWORK)],
)
def test_depth_multiplier_of_the_later_mobilenets(family, network, depth_multiplier):
    shapes = mobilenet_v3.kernel_shapes(network, depth_multiplier)
    found = inspect_shapes({**shapes, **LOGITS})
    assert found.model_variant == family
    assert mobilenet_v3.kernel_shapes(network, found.depth_multiplier) == shapes
    assert len(str(found.depth_multiplier)) <= len(str(depth_multiplier))


@pytest.mark.parametrize('name', ['aspp0/weights', 'logits/semantic/weights', 'decoder/feature_projection0/weights'])
def test_kernels_of_no_shape_are_told(name):
    with pytest.raises(UserError, match=rf'is not a DeepLab model: {name} has the shape \(\)'):
        inspect_shapes({**mobilenet_v2.kernel_shapes(1.0), **LOGITS, name: ()})
    last = list(mobilenet_v2.kernel_shapes(1.0))[-1]
    with pytest.raises(UserError, match='shapes of no depth multiplier'):
        inspect_shapes({**mobilenet_v2.kernel_shapes(1.0), **LOGITS, last: ()})


@pytest.mark.parametrize(
    ('variable', 'family', 'name'),
    [
        ('xception_41/entry_flow/conv1_1/weights', 'xception_41', 'Xception-41'),
        ('xception_71/entry_flow/conv1_1/weights', 'xception_71', 'Xception-71'),
        ('resnet_v1_18/conv1/weights', 'resnet_v1_18', 'ResNet-v1-18'),
        ('resnet_v1_50/conv1_1/weights', 'resnet_v1_50_beta', 'ResNet-v1-50 beta'),
        ('resnet_v1_101/conv1/weights', 'resnet_v1_101', 'ResNet-v1-101'),
    ],
)
def test_families_by_scope(variable, family, name):
    found = inspect_shapes({variable: (3, 3, 3, 32), **LOGITS})
    assert found.model_variant == family
    assert found.description == f'{name}, 21 classes, no ASPP, no decoder'
    imagenet = {f'{variable.split("/")[0]}/logits/weights': (1, 1, 2048, 1001), 'global_step': ()}
    alone = inspect_shapes({variable: (3, 3, 3, 32), **imagenet})
    assert (alone.model_variant, alone.head, alone.num_classes) == (family, 'none', None)
    assert alone.description == f'{name}, no segmentation head'
    with pytest.raises(UserError, match='give one of a segmentation model'):
        alone.architecture()


PUBLISHED = {
    'mobilenet_v2': Architecture('mobilenet_v2', 21, 16),
    'mobilenet_v3_large_seg': Architecture(
        'mobilenet_v3_large_seg',
        19,
        32,
        image_pooling_crop_size=(769, 769),
        image_pooling_stride=(4, 5),
        image_se_uses_qsigmoid=True,
        aspp_convs_filters=128,
        aspp_with_concat_projection=False,
        aspp_with_squeeze_and_excitation=True,
        decoder_output_stride=8,
        decoder_filters=19,
        decoder_use_sum_merge=True,
        decoder_output_is_logits=True,
    ),
    'mobilenet_edgetpu': Architecture('mobilenet_edgetpu', 19, 32),
    'edgetpu slim': Architecture('mobilenet_edgetpu', 19, 32, depth_multiplier=0.75, aspp_convs_filters=128),
    'resnet_v1_50_beta': Architecture(
        'resnet_v1_50_beta', 21, 16, atrous_rates=(6, 12, 18), decoder_output_stride=8, multi_grid=(1, 2, 4)
    ),
    'resnet_v1_18': Architecture('resnet_v1_18', 21, 16, decoder_output_stride=16),
}


@pytest.mark.parametrize('name', PUBLISHED)
def test_no_flag_is_needed_for_what_was_published(name):
    asked = PUBLISHED[name]
    found = inspect_shapes(tf1_shapes(build_segmentor(asked)))
    assert found.architecture() == asked
    assert (' head filters' in found.description) == (asked.aspp_convs_filters != 256)


@pytest.mark.parametrize('stride', [8, 16, 32])
def test_atrous_rates_follow_the_output_stride(stride):
    aspp = {'aspp1_depthwise/depthwise_weights': (3, 3, 320, 1)}
    found = inspect_shapes({**mobilenet_v2.kernel_shapes(1.0), **LOGITS, **aspp})
    assert found.architecture(stride).atrous_rates == tuple(6 * 16 // stride * step for step in (1, 2, 3))
    assert found.description == 'MobileNetV2, depth multiplier 1.0, 21 classes, ASPP, no decoder'


def test_what_is_no_deeplab_model_is_refused():
    with pytest.raises(UserError, match=r'not a DeepLab model.*dense/kernel'):
        inspect_shapes({'dense/kernel': (3, 4)})
    with pytest.raises(UserError, match='shapes of no depth multiplier'):
        inspect_shapes({**mobilenet_v2.kernel_shapes(1.0), 'MobilenetV2/Conv/weights': (3, 3, 3, 31)})


def test_a_published_index_alone_is_recognised(testdata):
    found = inspect(testdata / 'data/zoo/deeplabv3_mnv2_pascal_train_aug_model.ckpt-30000.index')
    assert found.description == 'MobileNetV2, depth multiplier 1.0, 21 classes, no ASPP, no decoder'
    assert found.optimizer_slots == ('Momentum',)
    assert found.global_step
