"""ResNet-v1-18, -50 and -101, plain and beta, as DeepLab uses them (core/resnet_v1_beta.py)."""

import math
from dataclasses import dataclass

import keras

from deeplab_load.catalog import Architecture
from deeplab_load.models.heads import Features
from deeplab_load.models.slim import ArgScope, activate, atrous_conversion, convolution

BATCH_NORM_EPSILON = 1e-5
BATCH_NORM_DECAY = 0.95
ROOT_STRIDE = 4
# A bottleneck's output has so many times the channels of its 3x3 convolution.
BOTTLENECK = 4
MULTI_GRID_BLOCK = 'block4'


@dataclass(frozen=True)
class Block:
    """Residual units in a row: channels of their 3x3 convolutions, how many units, stride of the last one.

    A `lite` unit has two 3x3 convolutions; the others are bottlenecks.
    """

    name: str
    filters: int
    units: int
    stride: int = 2
    lite: bool = False

    @property
    def depth(self) -> int:
        """Channels of the units' output."""
        return self.filters if self.lite else BOTTLENECK * self.filters


NETWORKS = {
    'resnet_v1_18': (
        Block('block1', 64, 2, lite=True),
        Block('block2', 128, 2, lite=True),
        Block('block3', 256, 2, lite=True),
        Block('block4', 512, 2, stride=1, lite=True),
    ),
    'resnet_v1_50': (
        Block('block1', 64, 3),
        Block('block2', 128, 4),
        Block('block3', 256, 6),
        Block('block4', 512, 3, stride=1),
    ),
    'resnet_v1_101': (
        Block('block1', 64, 3),
        Block('block2', 128, 4),
        Block('block3', 256, 23),
        Block('block4', 512, 3, stride=1),
    ),
}
# Channels of the three convolutions before the pooling of the beta variants.
BETA_ROOTS = {
    'resnet_v1_18': (16, 16, 32),
    'resnet_v1_50': (64, 64, 128),
    'resnet_v1_101': (64, 64, 128),
}
# By the decoder's stride the block of whose last but one unit it takes the last convolution.
LOW_LEVEL_BLOCKS = {4: 'block1', 8: 'block2', 16: 'block3'}


def low_level_channels(model_variant: str) -> dict[int, int]:
    """Channels of the features that a decoder takes, by its stride."""
    depths = {block.name: block.depth for block in NETWORKS[scope_name(model_variant)]}
    return {stride: depths[name] for stride, name in LOW_LEVEL_BLOCKS.items()}


def scope_name(model_variant: str) -> str:
    """The slim scope, which the beta variant shares with the plain one."""
    return model_variant.removesuffix('_beta')


def arg_scope(*, decay: float | None, frozen: bool, seed: int) -> ArgScope:
    """What the backbone's convolutions share (resnet_arg_scope): its own decay unless another is given."""
    decay = BATCH_NORM_DECAY if decay is None else decay
    return ArgScope('relu', BATCH_NORM_EPSILON, decay, frozen, stddev=None, seed=seed, explicit_padding=True)


def backbone(x: keras.KerasTensor, architecture: Architecture, scope: ArgScope) -> Features:
    """The ResNet of an architecture, with atrous convolutions from its output stride on.

    Args:
        x: images [batch, height, width, 3], in -1..1 for beta variants, else with the mean pixel subtracted.
        architecture: names the network, the output stride and the unit rates of the last block (multi_grid).
        scope: of `arg_scope`.

    Returns:
        The features at the output stride, and the low-level ones by stride.
    """
    name = scope_name(architecture.model_variant)
    x = _root(x, name, scope, beta=architecture.model_variant.endswith('_beta'))
    units = [(block, unit) for block in NETWORKS[name] for unit in range(1, block.units + 1)]
    nominal = [block.stride if unit == block.units else 1 for block, unit in units]
    converted = atrous_conversion(nominal, architecture.output_stride // ROOT_STRIDE)
    low_level = {}
    for (block, unit), (stride, rate) in zip(units, converted, strict=True):
        if block.name == MULTI_GRID_BLOCK and architecture.multi_grid:
            rate *= architecture.multi_grid[unit - 1]
        x, residual = _unit(x, f'{name}.{block.name}.unit_{unit}', block, stride, rate, scope)
        if unit == block.units - 1:
            low_level[block.name] = residual
    return Features(x, {stride: low_level[block] for stride, block in LOW_LEVEL_BLOCKS.items()})


def _root(x: keras.KerasTensor, name: str, scope: ArgScope, *, beta: bool) -> keras.KerasTensor:
    """One 7x7 or, for beta, three 3x3 convolutions, and pooling."""
    if beta:
        for index, filters in enumerate(BETA_ROOTS[name], start=1):
            x = _convolution(x, filters, f'{name}.conv1_{index}', scope, kernel_size=3, stride=2 if index == 1 else 1)
    else:
        x = _convolution(x, 64, f'{name}.conv1', scope, kernel_size=7, stride=2)
    return keras.layers.MaxPooling2D(3, 2, padding='same', name=f'{name}.pool1')(x)


def _unit(
    x: keras.KerasTensor, name: str, block: Block, stride: int, rate: int, scope: ArgScope
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Residual and shortcut, added and activated; (output, residual)."""
    name = f'{name}.{"lite_" if block.lite else ""}bottleneck_v1'
    residual = (_lite_residual if block.lite else _bottleneck_residual)(x, name, block, stride, rate, scope)
    shortcut = x
    if x.shape[-1] != block.depth:
        shortcut = _convolution(x, block.depth, f'{name}.shortcut', scope, stride=stride, activation='linear')
    elif stride > 1:
        shortcut = keras.layers.MaxPooling2D(1, stride, name=f'{name}.subsample')(x)
    y = keras.layers.Add(name=f'{name}.add')([shortcut, residual])
    return activate(y, 'relu', name), residual


def _bottleneck_residual(
    x: keras.KerasTensor, name: str, block: Block, stride: int, rate: int, scope: ArgScope
) -> keras.KerasTensor:
    x = _convolution(x, block.filters, f'{name}.conv1', scope)
    x = _convolution(x, block.filters, f'{name}.conv2', scope, kernel_size=3, stride=stride, rate=rate)
    return _convolution(x, block.depth, f'{name}.conv3', scope, activation='linear')


def _lite_residual(
    x: keras.KerasTensor, name: str, block: Block, stride: int, rate: int, scope: ArgScope
) -> keras.KerasTensor:
    x = _convolution(x, block.filters, f'{name}.conv1', scope, kernel_size=3, rate=rate)
    return _convolution(
        x, block.filters, f'{name}.conv2', scope, kernel_size=3, stride=stride, rate=rate, activation='linear'
    )


def _convolution(
    x: keras.KerasTensor,
    filters: int,
    name: str,
    scope: ArgScope,
    *,
    kernel_size: int = 1,
    stride: int = 1,
    rate: int = 1,
    activation: str | None = None,
) -> keras.KerasTensor:
    """`slim.convolution` with slim's variance scaling of the initial weights by the number of inputs."""
    stddev = math.sqrt(1.3 * 2.0 / (kernel_size**2 * x.shape[-1]))
    return convolution(
        x,
        filters,
        name,
        scope,
        kernel_size=kernel_size,
        stride=stride,
        rate=rate,
        activation=activation,
        stddev=stddev,
    )
