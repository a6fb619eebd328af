"""The network of inference: fewer operations, the same logits."""

import dataclasses
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from deeplab_load.catalog import Architecture
from deeplab_load.serving.network import folded, frozen, has_dilated_depthwise

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
    for portable in {True, not has_dilated_depthwise()}:
        network = folded(segmentor, portable=portable)
        np.testing.assert_allclose(network(image), expected, atol=0.01 * np.std(expected))


def test_no_batch_norm_no_variables_and_dilation_in_one_operation(segmentor):
    fast, portable = (operations(frozen(folded(segmentor, portable=p), CROP)) for p in (False, True))
    for ops in (fast, portable):
        assert not {'FusedBatchNormV3', 'ReadVariableOp', 'VarHandleOp'} & set(ops)
    dilated = portable['SpaceToBatchND']
    assert dilated >= 5
    assert fast['SpaceToBatchND'] == 0
    assert fast['DepthwiseConv2dNative'] == portable['DepthwiseConv2dNative']


def test_the_layers_keep_their_names(segmentor):
    assert [layer.name for layer in folded(segmentor, portable=True).layers] == [
        layer.name for layer in segmentor.layers
    ]


def test_without_onednn_the_one_operation_is_not_taken():
    program = 'from deeplab_load.serving.network import has_dilated_depthwise as has; print(has())'
    environment = {**os.environ, 'TF_ENABLE_ONEDNN_OPTS': '0'}
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == 'False'
