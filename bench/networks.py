"""The networks that are measured: random weights with live activations, or the published ones."""

import math
import os
import pathlib
from dataclasses import dataclass

import keras
import tensorflow as tf

from deeplab_load.catalog import Architecture
from deeplab_load.models.deeplab import build_segmentor
from deeplab_load.restore.segmentors import segmentor

CROP = (513, 513)
ASPP = {'atrous_rates': (6, 12, 18), 'decoder_output_stride': 4}
RANDOM = {
    'mobilenet_v2': Architecture('mobilenet_v2', 21, 16),
    'mobilenet_v2+aspp+decoder': Architecture('mobilenet_v2', 21, 16, **ASPP),
    'xception_65': Architecture('xception_65', 21, 16, **ASPP),
}
PUBLISHED = 'mobilenet_v2_dm05_published'


@dataclass(frozen=True)
class Case:
    """A network to measure, and the graph that the original exported of it, where there is one."""

    segmentor: keras.Model
    output_stride: int
    frozen_graph: pathlib.Path | None = None


def _zoo() -> pathlib.Path | None:
    root = os.environ.get('DEEPLAB_LOAD_TESTDATA')
    return pathlib.Path(root) / 'data' / 'zoo' if root else None


def names() -> list[str]:
    """What can be built here."""
    return [*([PUBLISHED] if _zoo() else []), *RANDOM]


def build(name: str) -> Case:
    """The network; of random ones batch normalisation has the statistics of two images."""
    zoo = _zoo()
    if name == PUBLISHED and zoo:
        published = zoo / 'deeplabv3_mnv2_dm05_pascal_trainaug'
        return Case(segmentor(checkpoint=published, output_stride=8), 8, zoo / f'{published.name}_frozen_513.pb')
    model = build_segmentor(RANDOM[name], fine_tune_batch_norm=True, batch_norm_decay=0.0)
    images = tf.image.resize(tf.random.stateless_uniform([2, 9, 9, 3], [3, 4], 0, 255), (257, 257), 'bicubic')
    tf.function(model)(images, training=True)
    return Case(model, 16)


def convolution_operations(graph: tf.Graph) -> int:
    """Floating-point operations of a graph's convolutions for one image, two for each multiplication."""
    total = 0
    for operation in graph.get_operations():
        if operation.type in ('Conv2D', 'DepthwiseConv2dNative'):
            kernel = operation.inputs[1].shape
            per_pixel = math.prod(kernel if operation.type == 'Conv2D' else kernel[:3])
            total += 2 * per_pixel * math.prod(operation.outputs[0].shape[1:3])
    return total


def processor() -> str:
    """The processor's name."""
    lines = pathlib.Path('/proc/cpuinfo').read_text().splitlines()
    return next(line.split(':')[1].strip() for line in lines if line.startswith('model name'))
