"""Tells from names and shapes alone what a checkpoint is: family, depth, classes, head, optimizer slots."""

import dataclasses
import pathlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from deeplab_load.catalog import MODEL_VARIANTS, PUBLISHED_CELL, Architecture, published_output_stride
from deeplab_load.errors import UserError
from deeplab_load.models import mobilenet_edgetpu, mobilenet_v2, mobilenet_v3, resnet_v1, xception
from deeplab_load.restore.checkpoint import read_checkpoint
from deeplab_load.spellings import read

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

# What the published models were trained with.
_MULTI_GRIDS = dict.fromkeys(('resnet_v1_50_beta', 'resnet_v1_101_beta'), (1, 2, 4))
_LITE_HEAD: dict[str, Any] = {
    'image_pooling_crop_size': (769, 769),
    'image_pooling_stride': (4, 5),
    'image_se_uses_qsigmoid': True,
}

# Flags of the head that a checkpoint tells, in words where they are not the original's defaults.
_TOLD = {
    'add_image_level_feature': 'no image pooling',
    'aspp_convs_filters': '{} head filters',
    'aspp_with_concat_projection': 'no projection',
    'aspp_with_separable_conv': 'full ASPP convolutions',
    'aspp_with_squeeze_and_excitation': 'gated ASPP',
    'decoder_filters': '{} decoder filters',
    'decoder_use_separable_conv': 'full decoder convolutions',
    'decoder_use_sum_merge': 'sum decoder',
    'decoder_output_is_logits': 'its output the logits',
}
_OF_LITE_HEAD = (
    'aspp_with_concat_projection',
    'aspp_with_squeeze_and_excitation',
    'decoder_filters',
    'decoder_use_sum_merge',
    'decoder_output_is_logits',
)
_DEFAULTS = {field.name: field.default for field in dataclasses.fields(Architecture)}

# Kernels whose shapes tell the head.
_HEAD_KERNELS = (
    'aspp0/weights',
    'decoder/decoder_conv0/weights',
    'decoder/feature_projection0/weights',
    'logits/semantic/weights',
)

_INVERTED = {**mobilenet_v3.NETWORKS, 'mobilenet_edgetpu': mobilenet_edgetpu.NETWORK}


@dataclass(frozen=True)
class Inspection:
    """What a checkpoint is; `num_classes` is None for a backbone alone, `head` as in `catalog.ZooRow`.

    `head_flags` are those of the original's flags that the head shows to be others than by default. `optimizer_slots`
    names the kinds of slots found ('Momentum'), `global_step` says whether the step is stored.
    """

    model_variant: str
    depth_multiplier: float
    num_classes: int | None
    head: str
    decoder_output_stride: int | None
    head_flags: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    optimizer_slots: tuple[str, ...] = ()
    global_step: bool = False

    @property
    def description(self) -> str:
        """In words: 'MobileNetV2, depth multiplier 0.5, 21 classes, no ASPP, no decoder'."""
        words = [MODEL_VARIANTS[self.model_variant]]
        if self.model_variant in ('mobilenet_v2', 'mobilenet_edgetpu') or self.depth_multiplier != 1.0:
            words.append(f'depth multiplier {self.depth_multiplier}')
        if self.num_classes is None:
            return ', '.join([*words, 'no segmentation head'])
        heads = {'pooling': 'no ASPP', 'aspp': 'ASPP', 'dpc': 'dense prediction cell', 'lite': 'lite head'}
        decoder, passed_over = self.decoder_output_stride, _OF_LITE_HEAD if self.head == 'lite' else ()
        words += [f'{self.num_classes} classes', heads[self.head]]
        words.append('no decoder' if decoder is None else f'decoder at stride {decoder}')
        words += [_TOLD[flag].format(value) for flag, value in self.head_flags.items() if flag not in passed_over]
        return ', '.join(words)

    def architecture(self, output_stride: int | None = None) -> Architecture:
        """The network to restore into, as the published models of its family are.

        Args:
            output_stride: of the features; None is the one that the family was published with first. The atrous rates
                of ASPP are the original's for it.

        Raises:
            UserError: the checkpoint holds a backbone alone, or the output stride is not one that its network has.
        """
        if self.num_classes is None:
            raise UserError(f'the checkpoint is {self.description}: give one of a segmentation model')
        stride = output_stride or published_output_stride(self.model_variant)
        lite = {**_LITE_HEAD, 'decoder_filters': self.num_classes} if self.head == 'lite' else {}
        return Architecture(
            model_variant=self.model_variant,
            num_classes=self.num_classes,
            output_stride=stride,
            depth_multiplier=self.depth_multiplier,
            atrous_rates=ATROUS_RATES.get(stride, ()) if self.head == 'aspp' else (),
            decoder_output_stride=self.decoder_output_stride,
            multi_grid=_MULTI_GRIDS.get(self.model_variant, ()),
            dense_prediction_cell_json=PUBLISHED_CELL if self.head == 'dpc' else None,
            **{**self.head_flags, **lite},
        )

    def asked(self, flags: Mapping[str, Any]) -> Architecture:
        """The network that flags of the original's, in its spellings or typed, ask for on this checkpoint.

        With `model_variant` they alone say what it is. Without it they change what the checkpoint says, and say what
        the head on a backbone alone is.

        Raises:
            UserError: a flag or a value that cannot be, or a backbone alone without a number of classes.
        """
        if self.num_classes is None and not flags.get('num_classes'):
            raise UserError(
                f'the checkpoint is {self.description}: give one of a segmentation model, or num_classes to start anew'
            )
        if 'model_variant' in flags:
            return Architecture.from_flags({'num_classes': self.num_classes, **flags})
        if self.num_classes is None:
            grid = _MULTI_GRIDS.get(self.model_variant, ())
            backbone = {'model_variant': self.model_variant, 'depth_multiplier': self.depth_multiplier}
            return Architecture.from_flags({**backbone, 'multi_grid': grid, **flags})
        classes, stride = flags.get('num_classes') or self.num_classes, flags.get('output_stride')
        told = dataclasses.replace(self, num_classes=read('num_classes', classes, int))
        known = told.architecture(read('output_stride', stride, int) if stride else None)
        return Architecture.from_flags({**dataclasses.asdict(known), **flags})


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
    _require_kernels(shapes)
    slots = {match['slot'] for name in shapes if (match := OPTIMIZER_SLOT.fullmatch(name))}
    depth_multiplier = _depth_multiplier(variant, shapes)
    return Inspection(
        model_variant=variant,
        depth_multiplier=depth_multiplier,
        num_classes=_num_classes(shapes),
        head=_head(shapes),
        decoder_output_stride=_decoder_output_stride(variant, depth_multiplier, shapes),
        head_flags=_head_flags(shapes),
        optimizer_slots=tuple(sorted(slots)),
        global_step='global_step' in shapes,
    )


def _family(shapes: Shapes) -> str:
    for variant, variable in _FAMILIES.items():
        if variable in shapes:
            return variant
    first = ', '.join(sorted(shapes)[:3])
    raise UserError(f'is not a DeepLab model: no known backbone among its {len(shapes)} variables ({first}, ...)')


def _require_kernels(shapes: Shapes) -> None:
    for name in _HEAD_KERNELS:
        if name in shapes and len(shapes[name]) != 4:
            raise UserError(f'is not a DeepLab model: {name} has the shape {shapes[name]}, which no kernel has')


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
    return 'aspp' if {'aspp1_depthwise/depthwise_weights', 'aspp1/weights'} & set(shapes) else 'pooling'


def _head_flags(shapes: Shapes) -> dict[str, Any]:
    told: dict[str, Any] = {}
    if 'aspp0/weights' in shapes:
        told |= {
            'add_image_level_feature': 'image_pooling/weights' in shapes,
            'aspp_convs_filters': shapes['aspp0/weights'][-1],
            'aspp_with_concat_projection': 'concat_projection/weights' in shapes,
            'aspp_with_separable_conv': 'aspp1/weights' not in shapes,
            'aspp_with_squeeze_and_excitation': 'image_pooling/biases' in shapes,
        }
    last, summed = 'logits/semantic/weights', 'decoder/decoder_conv0/weights'
    if summed in shapes:
        told |= {'decoder_filters': shapes[summed][-1], 'decoder_use_sum_merge': True, 'decoder_output_is_logits': True}
    elif 'decoder/feature_projection0/weights' in shapes and last in shapes:
        full = 'decoder/decoder_conv0/decoder_conv0_1/weights' in shapes
        told |= {'decoder_filters': shapes[last][2], 'decoder_use_separable_conv': not full}
    return {flag: value for flag, value in told.items() if value != _DEFAULTS[flag]}


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
    """Strides of a decoder by the channels of the features that it takes.

    At small depth multipliers two strides can have the same channels; the smaller stride is taken.
    """
    if variant == 'mobilenet_v2':
        channels = {s: mobilenet_v2.low_level_channels(s, depth_multiplier) for s in mobilenet_v2.LOW_LEVEL_BLOCKS}
    elif variant in _INVERTED:
        channels = mobilenet_v3.low_level_channels(_INVERTED[variant], depth_multiplier)
    elif variant in xception.NETWORKS:
        channels = xception.low_level_channels(variant)
    else:
        channels = resnet_v1.low_level_channels(variant)
    return {channels[stride]: stride for stride in sorted(channels, reverse=True)}


def _kernel_shapes(variant: str, depth_multiplier: float) -> Shapes:
    if variant == 'mobilenet_v2':
        return mobilenet_v2.kernel_shapes(depth_multiplier)
    return mobilenet_v3.kernel_shapes(_INVERTED[variant], depth_multiplier)


def _depth_multiplier(variant: str, shapes: Shapes) -> float:
    """The roundest number for which the family's table of blocks has the shapes of all the checkpoint's kernels."""
    if not variant.startswith('mobilenet'):
        return 1.0
    name, shape = list(_kernel_shapes(variant, 1.0).items())[-1]
    ratio = (shapes.get(name) or (0,))[-1] / shape[-1]
    for candidate in _round_numbers(ratio, reach=8 / shape[-1]):
        if all(shapes.get(name, wanted) == wanted for name, wanted in _kernel_shapes(variant, candidate).items()):
            return candidate
    raise UserError(f'has the names of a {MODEL_VARIANTS[variant]}, but shapes of no depth multiplier')


def _round_numbers(value: float, reach: float) -> Iterator[float]:
    """Numbers above 0 of one to four decimals within reach of a value, the roundest and then the nearest first."""
    for digits in range(1, 5):
        one = 10**digits
        steps = range(max(1, round((value - reach) * one)), round((value + reach) * one) + 1)
        yield from (step / one for step in sorted(steps, key=lambda step: abs(step / one - value)))
