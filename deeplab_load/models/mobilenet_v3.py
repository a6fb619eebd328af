"""MobileNetV3 large and small for segmentation (slim/nets/mobilenet/mobilenet_v3.py, core/feature_extractor)."""

from collections.abc import Mapping
from dataclasses import dataclass

import keras

from deeplab_load.catalog import Architecture
from deeplab_load.models.heads import Features
from deeplab_load.models.mobilenet_v2 import make_divisible
from deeplab_load.models.slim import (
    ArgScope,
    atrous_conversion,
    biased_convolution,
    convolution,
    depthwise,
)

BATCH_NORM_EPSILON = 1e-3
BATCH_NORM_DECAY = 0.997
SQUEEZE_FACTOR = 4
DIVISOR = 8


@dataclass(frozen=True)
class Block:
    """One inverted residual block: output filters at depth multiplier 1, kernel, stride, factor of the expansion.

    A `squeeze` block weighs its inner channels by squeeze-and-excitation. A `fused` one has no depthwise convolution:
    its expansion has the kernel and the stride, and no atrous rate. `residual` False never adds the input.
    """

    filters: int
    kernel_size: int = 3
    stride: int = 1
    expansion: float = 4
    activation: str = 'relu'
    squeeze: bool = False
    fused: bool = False
    residual: bool = True


@dataclass(frozen=True)
class Network:
    """Stem, blocks and a last 1x1 convolution; the decoder takes the depthwise output of the block at its stride."""

    scope: str
    stem_filters: int
    blocks: tuple[Block, ...]
    last_filters: int
    activation: str
    low_level: Mapping[int, int]


# The last block and convolution of both have half the filters of the classifier's.
LARGE = Network(
    scope='MobilenetV3',
    stem_filters=16,
    blocks=(
        Block(16, 3, 1, 1),
        Block(24, 3, 2, 4),
        Block(24, 3, 1, 3),
        Block(40, 5, 2, 3, squeeze=True),
        Block(40, 5, 1, 3, squeeze=True),
        Block(40, 5, 1, 3, squeeze=True),
        Block(80, 3, 2, 6, 'hard_swish'),
        Block(80, 3, 1, 2.5, 'hard_swish'),
        Block(80, 3, 1, 184 / 80, 'hard_swish'),
        Block(80, 3, 1, 184 / 80, 'hard_swish'),
        Block(112, 3, 1, 6, 'hard_swish', squeeze=True),
        Block(112, 3, 1, 6, 'hard_swish', squeeze=True),
        Block(80, 5, 2, 3, 'hard_swish', squeeze=True),
        Block(80, 5, 1, 6, 'hard_swish', squeeze=True),
        Block(80, 5, 1, 6, 'hard_swish', squeeze=True),
    ),
    last_filters=480,
    activation='hard_swish',
    low_level={4: 2, 8: 5, 16: 11},
)
SMALL = Network(
    scope='MobilenetV3',
    stem_filters=16,
    blocks=(
        Block(16, 3, 2, 1, squeeze=True),
        Block(24, 3, 2, 72 / 16),
        Block(24, 3, 1, 88 / 24),
        Block(40, 5, 2, 4, 'hard_swish', squeeze=True),
        Block(40, 5, 1, 6, 'hard_swish', squeeze=True),
        Block(40, 5, 1, 6, 'hard_swish', squeeze=True),
        Block(48, 5, 1, 3, 'hard_swish', squeeze=True),
        Block(48, 5, 1, 3, 'hard_swish', squeeze=True),
        Block(48, 5, 2, 3, 'hard_swish', squeeze=True),
        Block(48, 5, 1, 6, 'hard_swish', squeeze=True),
        Block(48, 5, 1, 6, 'hard_swish', squeeze=True),
    ),
    last_filters=288,
    activation='hard_swish',
    low_level={4: 0, 8: 2, 16: 7},
)
NETWORKS = {'mobilenet_v3_large_seg': LARGE, 'mobilenet_v3_small_seg': SMALL}


def scaled_filters(filters: int, depth_multiplier: float) -> int:
    """Output channels at a depth multiplier."""
    return make_divisible(filters * depth_multiplier, DIVISOR, DIVISOR)


def expanded_filters(channels: int, expansion: float) -> int:
    """Channels inside a block whose input has `channels`."""
    return make_divisible(channels * expansion, DIVISOR, DIVISOR)


def block_name(network: Network, index: int) -> str:
    """The slim scope of a block, with '.' for '/'."""
    return f'{network.scope}.expanded_conv' + (f'_{index}' if index else '')


def kernel_shapes(network: Network, depth_multiplier: float) -> dict[str, tuple[int, ...]]:
    """TF1 names and shapes of the convolution kernels, by which a checkpoint's depth multiplier is told.

    Those of squeeze-and-excitation follow from them and are left out.
    """
    channels = scaled_filters(network.stem_filters, depth_multiplier)
    shapes: dict[str, tuple[int, ...]] = {f'{network.scope}.Conv.weights': (3, 3, 3, channels)}
    for index, block in enumerate(network.blocks):
        name, kernel = block_name(network, index), block.kernel_size
        inner = expanded_filters(channels, block.expansion)
        if inner > channels:
            side = kernel if block.fused else 1
            shapes[f'{name}.expand.weights'] = (side, side, channels, inner)
        if not block.fused:
            shapes[f'{name}.depthwise.depthwise_weights'] = (kernel, kernel, inner, 1)
        channels = scaled_filters(block.filters, depth_multiplier)
        shapes[f'{name}.project.weights'] = (1, 1, inner, channels)
    shapes[f'{network.scope}.Conv_1.weights'] = (1, 1, channels, scaled_filters(network.last_filters, depth_multiplier))
    return {name.replace('.', '/'): shape for name, shape in shapes.items()}


def low_level_channels(network: Network, depth_multiplier: float) -> dict[int, int]:
    """Channels of the features that a decoder takes, by its stride."""
    shapes = kernel_shapes(network, depth_multiplier)
    names = {stride: block_name(network, index).replace('.', '/') for stride, index in network.low_level.items()}
    return {stride: shapes[f'{name}/project/weights'][2] for stride, name in names.items()}


def arg_scope(*, decay: float | None, frozen: bool, seed: int) -> ArgScope:
    """What the backbone's convolutions share (mobilenet_v2_arg_scope): its own decay unless another is given."""
    decay = BATCH_NORM_DECAY if decay is None else decay
    return ArgScope('relu', BATCH_NORM_EPSILON, decay, frozen, stddev=0.09, seed=seed)


def backbone(x: keras.KerasTensor, architecture: Architecture, scope: ArgScope) -> Features:
    """The MobileNetV3 of an architecture, with atrous convolutions from its output stride on.

    Args:
        x: images [batch, height, width, 3] in -1..1.
        architecture: names the network, its depth multiplier and output stride.
        scope: of `arg_scope`.

    Returns:
        The features at the output stride, activated, and the low-level ones by stride.
    """
    return stack(x, NETWORKS[architecture.model_variant], architecture, scope)


def stack(x: keras.KerasTensor, network: Network, architecture: Architecture, scope: ArgScope) -> Features:
    """Stem, blocks and last convolution of any such network; args and returns as `backbone`."""
    multiplier, activation = architecture.depth_multiplier, network.activation
    strides = atrous_conversion([2, *(block.stride for block in network.blocks)], architecture.output_stride)
    filters = scaled_filters(network.stem_filters, multiplier)
    name = f'{network.scope}.Conv'
    x = convolution(x, filters, name, scope, kernel_size=3, stride=strides[0][0], activation=activation)
    inner = []
    for index, (block, (stride, rate)) in enumerate(zip(network.blocks, strides[1:], strict=True)):
        filters = scaled_filters(block.filters, multiplier)
        x, activated = _block(x, block_name(network, index), scope, block, filters, stride, rate)
        inner.append(activated)
    filters = scaled_filters(network.last_filters, multiplier)
    x = convolution(x, filters, f'{network.scope}.Conv_1', scope, activation=activation)
    return Features(x, {stride: inner[index] for stride, index in network.low_level.items()})


def _block(
    x: keras.KerasTensor, name: str, scope: ArgScope, block: Block, filters: int, stride: int, rate: int
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Expansion, depthwise, squeeze-and-excitation, linear projection, residual; (output, depthwise output)."""
    inner, activation = x, block.activation
    expanded = expanded_filters(x.shape[-1], block.expansion)
    if expanded > x.shape[-1]:
        kernel, step = (block.kernel_size, stride) if block.fused else (1, 1)
        inner = convolution(
            x, expanded, f'{name}.expand', scope, kernel_size=kernel, stride=step, activation=activation
        )
    if not block.fused:
        kernel = block.kernel_size
        inner = depthwise(
            inner, f'{name}.depthwise', scope, kernel_size=kernel, stride=stride, rate=rate, activation=activation
        )
    weighed = _squeeze_excite(inner, f'{name}.squeeze_excite', scope) if block.squeeze else inner
    y = convolution(weighed, filters, f'{name}.project', scope, activation='linear')
    if block.residual and stride == 1 and x.shape[-1] == filters:
        y = keras.layers.Add(name=f'{name}.add')([y, x])
    return y, inner


def _squeeze_excite(x: keras.KerasTensor, name: str, scope: ArgScope) -> keras.KerasTensor:
    """Weighs channels by their means (conv_blocks.squeeze_excite)."""
    channels = x.shape[-1]
    squeezed = make_divisible(channels / SQUEEZE_FACTOR, DIVISOR, DIVISOR)
    gate = keras.layers.GlobalAveragePooling2D(keepdims=True, name=f'{name}.mean')(x)
    gate = biased_convolution(gate, squeezed, f'{name}.Conv', scope, activation='relu')
    gate = biased_convolution(gate, channels, f'{name}.Conv_1', scope, activation='q_sigmoid')
    return keras.layers.Multiply(name=f'{name}.scale')([x, gate])
