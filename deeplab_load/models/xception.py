"""Xception-41, -65 and -71 as DeepLab uses them (core/xception.py)."""

from collections.abc import Mapping
from dataclasses import dataclass

import keras

from deeplab_load.catalog import Architecture
from deeplab_load.models.heads import Features
from deeplab_load.models.slim import ArgScope, activate, atrous_conversion, convolution, depthwise

BATCH_NORM_EPSILON = 1e-3
BATCH_NORM_DECAY = 0.9997
ROOT_STRIDE = 2
# The block whose three convolutions take the rates of multi_grid.
MULTI_GRID_BLOCK = 'exit_flow.block2'


@dataclass(frozen=True)
class Block:
    """Xception modules in a row: filters of the separable convolutions, stride of the last of them, how many modules.

    `shortcut` is 'conv' (a 1x1 convolution), 'sum' (the input itself) or 'none'. `activated` convolutions have a ReLU
    after each batch normalisation; the others have one before the depthwise convolution.
    """

    name: str
    filters: tuple[int, int, int]
    stride: int = 1
    units: int = 1
    shortcut: str = 'conv'
    activated: bool = False


@dataclass(frozen=True)
class Network:
    """Blocks, and by the decoder's stride the block whose second convolution it takes."""

    blocks: tuple[Block, ...]
    low_level: Mapping[int, str]


EXIT_FLOW = (
    Block('exit_flow.block1', (728, 1024, 1024), 2),
    Block('exit_flow.block2', (1536, 1536, 2048), shortcut='none', activated=True),
)
ENTRY_FLOW = (
    Block('entry_flow.block1', (128, 128, 128), 2),
    Block('entry_flow.block2', (256, 256, 256), 2),
    Block('entry_flow.block3', (728, 728, 728), 2),
)
ENTRY_FLOW_71 = (
    Block('entry_flow.block1', (128, 128, 128), 2),
    Block('entry_flow.block2', (256, 256, 256), 1),
    Block('entry_flow.block3', (256, 256, 256), 2),
    Block('entry_flow.block4', (728, 728, 728), 1),
    Block('entry_flow.block5', (728, 728, 728), 2),
)
MIDDLE_FLOW_41 = Block('middle_flow.block1', (728, 728, 728), units=8, shortcut='sum')
MIDDLE_FLOW = Block('middle_flow.block1', (728, 728, 728), units=16, shortcut='sum')
LOW_LEVEL = {4: 'entry_flow.block2', 8: 'entry_flow.block3', 16: 'exit_flow.block1'}
LOW_LEVEL_71 = {4: 'entry_flow.block3', 8: 'entry_flow.block5', 16: 'exit_flow.block1'}

NETWORKS = {
    'xception_41': Network((*ENTRY_FLOW, MIDDLE_FLOW_41, *EXIT_FLOW), LOW_LEVEL),
    'xception_65': Network((*ENTRY_FLOW, MIDDLE_FLOW, *EXIT_FLOW), LOW_LEVEL),
    'xception_71': Network((*ENTRY_FLOW_71, MIDDLE_FLOW, *EXIT_FLOW), LOW_LEVEL_71),
}


def low_level_channels(model_variant: str) -> dict[int, int]:
    """Channels of the features that a decoder takes, by its stride."""
    network = NETWORKS[model_variant]
    filters = {block.name: block.filters[1] for block in network.blocks}
    return {stride: filters[name] for stride, name in network.low_level.items()}


def arg_scope(*, decay: float | None, frozen: bool, seed: int) -> ArgScope:
    """What the backbone's convolutions share (xception_arg_scope): its own decay unless another is given."""
    decay = BATCH_NORM_DECAY if decay is None else decay
    return ArgScope('relu', BATCH_NORM_EPSILON, decay, frozen, stddev=0.09, seed=seed, explicit_padding=True)


def backbone(x: keras.KerasTensor, architecture: Architecture, scope: ArgScope) -> Features:
    """The Xception of an architecture, with atrous convolutions from its output stride on.

    Args:
        x: images [batch, height, width, 3] in -1..1.
        architecture: names the network, the output stride and the rates of multi_grid.
        scope: of `arg_scope`.

    Returns:
        The features at the output stride, and the low-level ones by stride.
    """
    variant, multi_grid = architecture.model_variant, architecture.multi_grid or (1, 1, 1)
    return stack(x, NETWORKS[variant], variant, architecture.output_stride, multi_grid, scope)


def stack(
    x: keras.KerasTensor,
    network: Network,
    name: str,
    output_stride: int,
    multi_grid: tuple[int, ...],
    scope: ArgScope,
) -> Features:
    """The root convolutions and the blocks of any Xception; args and returns as `backbone`."""
    x = convolution(x, 32, f'{name}.entry_flow.conv1_1', scope, kernel_size=3, stride=ROOT_STRIDE)
    x = convolution(x, 64, f'{name}.entry_flow.conv1_2', scope, kernel_size=3)
    units = [(block, unit) for block in network.blocks for unit in range(1, block.units + 1)]
    converted = atrous_conversion([block.stride for block, _ in units], output_stride // ROOT_STRIDE)
    second = {}
    for (block, unit), (stride, rate) in zip(units, converted, strict=True):
        unit_rates = multi_grid if block.name == MULTI_GRID_BLOCK else (1, 1, 1)
        module = f'{name}.{block.name}.unit_{unit}.xception_module'
        x, second[block.name] = _module(x, module, block, stride, [rate * unit for unit in unit_rates], scope)
    return Features(x, {stride: second[block] for stride, block in network.low_level.items()})


def _module(
    x: keras.KerasTensor, name: str, block: Block, stride: int, rates: list[int], scope: ArgScope
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Three separable convolutions and the shortcut; (output, output of the second convolution)."""
    y, outputs = x, []
    for index, (filters, rate) in enumerate(zip(block.filters, rates, strict=True), start=1):
        step = stride if index == len(rates) else 1
        y = _separable(y, filters, f'{name}.separable_conv{index}', scope, step, rate, block.activated)
        outputs.append(y)
    if block.shortcut == 'conv':
        x = convolution(x, block.filters[-1], f'{name}.shortcut', scope, stride=stride, activation='linear')
    if block.shortcut != 'none':
        y = keras.layers.Add(name=f'{name}.add')([y, x])
    return y, outputs[1]


def _separable(
    x: keras.KerasTensor, filters: int, name: str, scope: ArgScope, stride: int, rate: int, activated: bool
) -> keras.KerasTensor:
    activation = 'relu' if activated else 'linear'
    if not activated:
        x = activate(x, 'relu', name)
    x = depthwise(x, f'{name}_depthwise', scope, stride=stride, rate=rate, activation=activation)
    return convolution(x, filters, f'{name}_pointwise', scope, activation=activation)
