"""MobileNetV2 as DeepLab uses it (slim/nets/mobilenet/mobilenet_v2.py, core/feature_extractor._mobilenet_v2)."""

from dataclasses import dataclass

import keras

from deeplab_load.catalog import Architecture
from deeplab_load.models.heads import Features
from deeplab_load.models.slim import ArgScope, atrous_conversion, convolution, depthwise

SCOPE = 'MobilenetV2'
BATCH_NORM_EPSILON = 1e-3
BATCH_NORM_DECAY = 0.997
STEM_FILTERS = 32


@dataclass(frozen=True)
class Block:
    """One inverted residual block: output filters at depth multiplier 1, stride, factor of the expansion (1: none)."""

    filters: int
    stride: int
    expansion: int = 6


BLOCKS = (
    Block(16, 1, expansion=1),
    *(Block(24, 2), Block(24, 1)),
    *(Block(32, 2), Block(32, 1), Block(32, 1)),
    *(Block(64, 2), Block(64, 1), Block(64, 1), Block(64, 1)),
    *(Block(96, 1), Block(96, 1), Block(96, 1)),
    *(Block(160, 2), Block(160, 1), Block(160, 1)),
    Block(320, 1),
)
# The block whose activated depthwise output the decoder takes, by its stride: layers 4, 7 and 14 of the original.
LOW_LEVEL_BLOCKS = {4: 2, 8: 5, 16: 12}


def make_divisible(value: float, divisor: int, smallest: int) -> int:
    """`value` rounded to a multiple of `divisor`, but not by more than a tenth down (slim's _make_divisible)."""
    rounded = max(smallest, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def scaled_filters(filters: int, depth_multiplier: float) -> int:
    """Output channels at a depth multiplier; DeepLab rounds to multiples of 8 only at multiplier 1."""
    divisor = 8 if depth_multiplier == 1.0 else 1
    return make_divisible(filters * depth_multiplier, divisor, divisor)


def expanded_filters(channels: int, expansion: int) -> int:
    """Channels inside a block whose input has `channels`."""
    return channels if expansion == 1 else make_divisible(channels * expansion, 8, 8)


def block_name(index: int) -> str:
    """The slim scope of a block, with '.' for '/'."""
    return f'{SCOPE}.expanded_conv' + (f'_{index}' if index else '')


def low_level_channels(decoder_output_stride: int, depth_multiplier: float) -> int:
    """Channels of the features that a decoder at this stride takes."""
    index = LOW_LEVEL_BLOCKS[decoder_output_stride]
    return expanded_filters(scaled_filters(BLOCKS[index - 1].filters, depth_multiplier), BLOCKS[index].expansion)


def kernel_shapes(depth_multiplier: float) -> dict[str, tuple[int, ...]]:
    """TF1 names and shapes of the backbone's convolution kernels, by which a checkpoint's depth multiplier is told."""
    channels = scaled_filters(STEM_FILTERS, depth_multiplier)
    shapes: dict[str, tuple[int, ...]] = {f'{SCOPE}.Conv.weights': (3, 3, 3, channels)}
    for index, block in enumerate(BLOCKS):
        inner = expanded_filters(channels, block.expansion)
        if block.expansion != 1:
            shapes[f'{block_name(index)}.expand.weights'] = (1, 1, channels, inner)
        shapes[f'{block_name(index)}.depthwise.depthwise_weights'] = (3, 3, inner, 1)
        channels = scaled_filters(block.filters, depth_multiplier)
        shapes[f'{block_name(index)}.project.weights'] = (1, 1, inner, channels)
    return {name.replace('.', '/'): shape for name, shape in shapes.items()}


def arg_scope(*, decay: float | None, frozen: bool, seed: int) -> ArgScope:
    """What the backbone's convolutions share (mobilenet_v2.training_scope): its own decay unless another is given."""
    decay = BATCH_NORM_DECAY if decay is None else decay
    return ArgScope('relu6', BATCH_NORM_EPSILON, decay, frozen, stddev=0.09, seed=seed)


def backbone(x: keras.KerasTensor, architecture: Architecture, scope: ArgScope) -> Features:
    """Layers 1 to 18 of MobileNetV2, with atrous convolutions from the output stride on.

    Args:
        x: images [batch, height, width, 3] in -1..1.
        architecture: its depth multiplier and output stride.
        scope: of `arg_scope`.

    Returns:
        The features at the output stride, linear, and the low-level ones by stride.
    """
    multiplier = architecture.depth_multiplier
    strides = atrous_conversion([2, *(block.stride for block in BLOCKS)], architecture.output_stride)
    x = convolution(
        x, scaled_filters(STEM_FILTERS, multiplier), f'{SCOPE}.Conv', scope, kernel_size=3, stride=strides[0][0]
    )
    inner = []
    for index, (block, (stride, rate)) in enumerate(zip(BLOCKS, strides[1:], strict=True)):
        filters = scaled_filters(block.filters, multiplier)
        x, activated = _block(x, block_name(index), scope, filters, block.expansion, stride, rate)
        inner.append(activated)
    return Features(x, {stride: inner[index] for stride, index in LOW_LEVEL_BLOCKS.items()})


def _block(
    x: keras.KerasTensor, name: str, scope: ArgScope, filters: int, expansion: int, stride: int, rate: int
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Expansion, depthwise, linear projection, residual where the shapes allow it; (output, depthwise output)."""
    inner = x
    if expansion != 1:
        inner = convolution(x, expanded_filters(x.shape[-1], expansion), f'{name}.expand', scope)
    inner = depthwise(inner, f'{name}.depthwise', scope, stride=stride, rate=rate)
    y = convolution(inner, filters, f'{name}.project', scope, activation='linear')
    if stride == 1 and x.shape[-1] == filters:
        y = keras.layers.Add(name=f'{name}.add')([y, x])
    return y, inner
