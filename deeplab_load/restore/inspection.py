"""Tells from names and shapes alone what a checkpoint is: family, depth, classes, head, optimizer slots."""

import pathlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

from deeplab_load.catalog import MODEL_VARIANTS, Architecture
from deeplab_load.errors import UserError
from deeplab_load.models import mobilenet_v2
from deeplab_load.restore.checkpoint import read_checkpoint

Shapes = Mapping[str, tuple[int, ...]]

# The original's choice of atrous rates (a flag, not stored) for each output stride.
ATROUS_RATES = {8: (12, 24, 36), 16: (6, 12, 18), 32: (3, 6, 9)}

OPTIMIZER_SLOT = re.compile(r'.+/(?P<slot>Momentum|Adam|Adam_1|RMSProp|RMSProp_1)')

# A family is told by one variable that only it has, in this order.
_FAMILIES = {
    'mobilenet_v2': r'MobilenetV2/Conv/weights',
    'mobilenet_v3_large_seg': r'MobilenetV3/expanded_conv_14/project/weights',
    'mobilenet_v3_small_seg': r'MobilenetV3/Conv/weights',
    'mobilenet_edgetpu': r'MobilenetEdgeTPU/Conv/weights',
    **{f'xception_{n}': rf'xception_{n}/entry_flow/conv1_1/weights' for n in (41, 65, 71)},
    **{f'resnet_v1_{n}_beta': rf'resnet_v1_{n}/conv1_1/weights' for n in (18, 50, 101)},
    **{f'resnet_v1_{n}': rf'resnet_v1_{n}/conv1/weights' for n in (18, 50, 101)},
}

# Channels of the low-level features that the decoder of a family takes, to its stride.
_DECODER_STRIDES = {
    'mobilenet_v3_large_seg': {72: 4, 120: 8, 672: 16},
    'mobilenet_v3_small_seg': {16: 4, 88: 8, 144: 16},
    'xception': {256: 4, 728: 8},
    'resnet_v1_18': {64: 4, 128: 8, 256: 16},
    'resnet_v1': {256: 4, 512: 8, 1024: 16},
}


@dataclass(frozen=True)
class Inspection:
    """What a checkpoint is; `num_classes` is None for a backbone alone, `head` as in `catalog.ZooRow`.

    `optimizer_slots` names the kinds of slots found ('Momentum'), `global_step` says whether the step is stored.
    """

    model_variant: str
    depth_multiplier: float
    num_classes: int | None
    head: str
    decoder_output_stride: int | None
    optimizer_slots: tuple[str, ...] = ()
    global_step: bool = False

    @property
    def description(self) -> str:
        """In words: 'MobileNetV2, depth multiplier 0.5, 21 classes, no ASPP, no decoder'."""
        words = [MODEL_VARIANTS[self.model_variant]]
        if self.model_variant in ('mobilenet_v2', 'mobilenet_edgetpu'):
            words.append(f'depth multiplier {self.depth_multiplier}')
        if self.num_classes is None:
            return ', '.join([*words, 'no segmentation head'])
        heads = {'pooling': 'no ASPP', 'aspp': 'ASPP', 'dpc': 'dense prediction cell', 'lite': 'lite head'}
        decoder = self.decoder_output_stride
        return ', '.join(
            [
                *words,
                f'{self.num_classes} classes',
                heads[self.head],
                'no decoder' if decoder is None else f'decoder at stride {decoder}',
            ]
        )

    def architecture(self, output_stride: int = 16) -> Architecture:
        """The network to restore into, with the original's atrous rates for the output stride where it has ASPP.

        Raises:
            UserError: the checkpoint holds a backbone alone, or the output stride is not 8, 16 or 32.
        """
        if self.num_classes is None:
            raise UserError(f'the checkpoint is {self.description}: give one of a segmentation model')
        return Architecture(
            model_variant=self.model_variant,
            num_classes=self.num_classes,
            output_stride=output_stride,
            depth_multiplier=self.depth_multiplier,
            atrous_rates=ATROUS_RATES.get(output_stride, ()) if self.head == 'aspp' else (),
            decoder_output_stride=self.decoder_output_stride,
        )


def inspect(path: str | pathlib.Path) -> Inspection:
    """What the checkpoint at a path is, told from its index alone (`read_checkpoint` says which paths it takes).

    Raises:
        UserError: there is no checkpoint, its index is damaged, or it is not a DeepLab model's.
    """
    checkpoint = read_checkpoint(path)
    try:
        return inspect_shapes(checkpoint.shapes)
    except UserError as error:
        raise UserError(f'the checkpoint {checkpoint.prefix} {error}') from error


def inspect_shapes(shapes: Shapes) -> Inspection:
    """What a model with these TF1 names and shapes is.

    Raises:
        UserError: no DeepLab model has them; the sentence lacks its subject.
    """
    variant = _family(shapes)
    slots = {match['slot'] for name in shapes if (match := OPTIMIZER_SLOT.fullmatch(name))}
    depth_multiplier = _depth_multiplier(variant, shapes)
    return Inspection(
        model_variant=variant,
        depth_multiplier=depth_multiplier,
        num_classes=_num_classes(shapes),
        head=_head(shapes),
        decoder_output_stride=_decoder_output_stride(variant, depth_multiplier, shapes),
        optimizer_slots=tuple(sorted(slots)),
        global_step='global_step' in shapes,
    )


def _family(shapes: Shapes) -> str:
    for variant, variable in _FAMILIES.items():
        if variable in shapes:
            return variant
    first = ', '.join(sorted(shapes)[:3])
    raise UserError(f'is not a DeepLab model: no known backbone among its {len(shapes)} variables ({first}, ...)')


def _num_classes(shapes: Shapes) -> int | None:
    # The lite head's decoder ends in the logits and has no layer behind it.
    for name in ('logits/semantic/weights', 'decoder/decoder_conv0/weights'):
        if name in shapes:
            return shapes[name][-1]
    return None


def _head(shapes: Shapes) -> str:
    if _num_classes(shapes) is None:
        return 'none'
    if any(name.startswith('meta_architecture/') for name in shapes):
        return 'dpc'
    if 'logits/semantic/weights' not in shapes:
        return 'lite'
    return 'aspp' if 'aspp1_depthwise/depthwise_weights' in shapes else 'pooling'


def _decoder_output_stride(variant: str, depth_multiplier: float, shapes: Shapes) -> int | None:
    projection = shapes.get('decoder/feature_projection0/weights')
    if projection is None:
        return None
    channels = projection[2]
    strides = _decoder_strides(variant, depth_multiplier)
    if channels not in strides:
        raise UserError(f'has a decoder on features of {channels} channels, which {MODEL_VARIANTS[variant]} has not')
    return strides[channels]


def _decoder_strides(variant: str, depth_multiplier: float) -> Mapping[int, int]:
    if variant == 'mobilenet_v2':
        # Below a multiplier of about 0.15 two strides have the same channels; the smaller stride is taken.
        strides = sorted(mobilenet_v2.LOW_LEVEL_BLOCKS, reverse=True)
        return {mobilenet_v2.low_level_channels(stride, depth_multiplier): stride for stride in strides}
    return next((table for family, table in _DECODER_STRIDES.items() if variant.startswith(family)), {})


def _depth_multiplier(variant: str, shapes: Shapes) -> float:
    if variant == 'mobilenet_edgetpu':
        return shapes['MobilenetEdgeTPU/Conv/weights'][-1] / 32
    return _mobilenet_v2_depth_multiplier(shapes) if variant == 'mobilenet_v2' else 1.0


def _mobilenet_v2_depth_multiplier(shapes: Shapes) -> float:
    """The roundest number for which the table of blocks has the shapes of all the checkpoint's kernels."""
    last = mobilenet_v2.block_name(len(mobilenet_v2.BLOCKS) - 1).replace('.', '/') + '/project/weights'
    ratio = shapes.get(last, (0,))[-1] / mobilenet_v2.BLOCKS[-1].filters
    for digits in range(1, 6):
        candidate = round(ratio, digits)
        table = mobilenet_v2.kernel_shapes(candidate)
        if candidate > 0 and all(shapes.get(name, shape) == shape for name, shape in table.items()):
            return candidate
    raise UserError('has the names of a MobileNetV2, but shapes of no depth multiplier')
