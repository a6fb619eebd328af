"""The network of inference: fewer operations, the same logits."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf

from bench.exports import graph_and_constants, sizes
from deeplab_load.catalog import GREY, Architecture
from deeplab_load.data.preprocessing import decode_image
from deeplab_load.data.specs import SHAPES
from deeplab_load.models.deeplab import build_segmentor
from deeplab_load.models.inference import crop_labels
from deeplab_load.models.passing import has_dilated_depthwise
from deeplab_load.restore import segmentors
from deeplab_load.serving.export import ExportOptions, export
from deeplab_load.serving.network import ONEDNN, OTHERS, PORTABLE, folded, frozen
from deeplab_load.serving.upsampling import upsampled_labels
from deeplab_load.serving.windows import Window

from .conftest import CROP, SMALL, calibrated_segmentor, smooth_noise

FAMILIES = {
    'mobilenet_v2': dataclasses.replace(SMALL, atrous_rates=(), dense_prediction_cell_json='DPC'),
    'mobilenet_v3': Architecture.from_flags(
        {
            'model_variant': 'mobilenet_v3_small_seg', 'num_classes': 5, 'output_stride': 32,
            'image_pooling_crop_size': '97,97', 'image_pooling_stride': '4,5', 'aspp_convs_filters': 16,
            'aspp_with_concat_projection': 0, 'aspp_with_squeeze_and_excitation': 1, 'decoder_use_sum_merge': 1,
            'decoder_filters': 5, 'decoder_output_is_logits': 1, 'image_se_uses_qsigmoid': 1,
            'decoder_output_stride': 8,
        }
    ),
    'resnet_v1_18': Architecture('resnet_v1_18', 4, 8),
}  # fmt: skip


def operations(function):
    graph = function.get_concrete_function().graph.as_graph_def()
    inner = [node for f in graph.library.function for node in f.node_def]
    return Counter(node.op for node in [*graph.node, *inner])


@pytest.mark.parametrize('family', FAMILIES)
def test_the_logits_are_the_segmentors(family):
    segmentor = calibrated_segmentor(FAMILIES[family])
    image = smooth_noise(*CROP, 7)[np.newaxis].astype(np.float32)
    expected = segmentor(image)
    assert np.std(expected) > 0.01
    for largest_rate in (PORTABLE, *([ONEDNN, OTHERS] if has_dilated_depthwise() else [])):
        network = folded(segmentor, largest_rate=largest_rate)
        np.testing.assert_allclose(network(image), expected, atol=0.01 * np.std(expected))


def test_no_batch_norm_no_variables_and_dilation_in_one_operation(segmentor):
    kinds = (OTHERS, ONEDNN, PORTABLE)
    fast, some, portable = (operations(frozen(folded(segmentor, largest_rate=rate), CROP)) for rate in kinds)
    for ops in (fast, some, portable):
        assert not {'FusedBatchNormV3', 'ReadVariableOp', 'VarHandleOp'} & set(ops)
    dilated = portable['SpaceToBatchND']
    assert dilated >= 5
    assert fast['SpaceToBatchND'] == some['SpaceToBatchND'] == 0
    assert fast['DepthwiseConv2dNative'] == portable['DepthwiseConv2dNative']


def test_rates_beyond_onednns_kernel_are_taken_apart():
    segmentor = build_segmentor(dataclasses.replace(SMALL, atrous_rates=(4, 5, 12)))
    ops = operations(frozen(folded(segmentor, largest_rate=ONEDNN), CROP))
    assert ops['SpaceToBatchND'] == 2


def test_the_layers_keep_their_names(segmentor):
    assert [layer.name for layer in folded(segmentor, largest_rate=PORTABLE).layers] == [
        layer.name for layer in segmentor.layers
    ]


def test_adversarial_training_costs_nothing_at_inference(saved_model, tmp_path):
    """The graphs of two segmentors that differ in their weights alone, as LoAd's and its baseline's, are the same."""
    how = {'crop_size': CROP, 'output_stride': 16, 'spec': SHAPES, 'options': ExportOptions(batched=False)}
    other = export(calibrated_segmentor(SMALL, seed=1), tmp_path, **how)
    graphs, constants = zip(*map(graph_and_constants, (saved_model, other)), strict=True)
    assert graphs[0] == graphs[1]
    assert constants[0] != constants[1]
    assert sizes(saved_model) == pytest.approx(sizes(other), abs=0.02)


def test_real_photographs_get_the_unoptimised_label_maps(testdata):
    """But for ties: at most 1e-5 of the pixels."""
    checkpoint = testdata / 'data' / 'zoo' / 'deeplabv3_mnv2_dm05_pascal_trainaug'
    model = segmentors.segmentor(checkpoint=checkpoint, output_stride=16)
    window = Window((513, 513), 16, GREY)
    network = frozen(folded(model, largest_rate=ONEDNN if has_dilated_depthwise() else PORTABLE), (513, 513))
    images = testdata / 'data' / 'voc2012_subset' / 'VOCdevkit' / 'VOC2012' / 'JPEGImages'
    files = [*sorted((testdata / 'data' / 'photos').iterdir()), *sorted(images.iterdir())[:12]]
    differing = pixels = 0
    for file in files:
        crops, _ = window.enter(decode_image(file.read_bytes())[tf.newaxis])
        plain = crop_labels(model, crops, 16)
        differing += int(np.sum(upsampled_labels(network(crops), (513, 513)) != plain))
        pixels += plain.shape[1] * plain.shape[2]
    assert differing <= 1e-5 * pixels
