"""What can be built, and what the original DeepLab published: facts without TensorFlow.

Source of the rows: deeplab/g3doc/model_zoo.md of the TensorFlow models repository.
"""

import functools
import pathlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deeplab_load.errors import UserError
from deeplab_load.spellings import is_given, option, read, typed

ARCHIVES = 'https://download.tensorflow.org/models/'

MODEL_VARIANTS = {
    'mobilenet_v2': 'MobileNetV2',
    'mobilenet_v3_large_seg': 'MobileNetV3 large',
    'mobilenet_v3_small_seg': 'MobileNetV3 small',
    'mobilenet_edgetpu': 'MobileNet-EdgeTPU',
    'xception_41': 'Xception-41',
    'xception_65': 'Xception-65',
    'xception_71': 'Xception-71',
    'resnet_v1_18': 'ResNet-v1-18',
    'resnet_v1_18_beta': 'ResNet-v1-18 beta',
    'resnet_v1_50': 'ResNet-v1-50',
    'resnet_v1_50_beta': 'ResNet-v1-50 beta',
    'resnet_v1_101': 'ResNet-v1-101',
    'resnet_v1_101_beta': 'ResNet-v1-101 beta',
}


# The dense prediction cell that was published, and how it is asked for.
PUBLISHED_CELL = 'DPC'

# Flags of the original's that choose among predictions of one network (`models.inference.Inference`).
INFERENCE_FLAGS = (
    'inference_scales',
    'add_flipped_images',
    'prediction_with_upsampled_logits',
    'image_pyramid',
    'merge_method',
    'min_resize_value',
    'max_resize_value',
    'resize_factor',
)

# Flags of the original's that leave no trace in a checkpoint.
UNTOLD = (
    'output_stride',
    'atrous_rates',
    'multi_grid',
    'image_pooling_crop_size',
    'image_pooling_stride',
    'image_se_uses_qsigmoid',
)

# Flags of the original's that have one value in all published networks, and here no other.
FIXED_FLAGS = {
    'aspp_with_batch_norm': True,
    'logits_kernel_size': 1,
    'use_bounded_activation': False,
    'divisible_by': None,
    'keep_aspect_ratio': True,
    'nas_stem_output_num_conv_filters': 20,
    'nas_use_classification_head': False,
    'nas_remove_os32_stride': False,
}

Colour = tuple[float, float, float]

IMAGENET_MEAN: Colour = (123.15, 115.90, 103.06)
GREY: Colour = (127.5, 127.5, 127.5)


@dataclass(frozen=True)
class Architecture:
    """One DeepLab network; the fields and their defaults are those of the original's flags.

    A dense prediction cell takes the place of ASPP, whose flags do not matter then.

    Raises:
        UserError: a value that no DeepLab network has.
    """

    model_variant: str
    num_classes: int
    output_stride: int = option(16, 'Ratio of image to feature resolution: 8, 16 or 32.')
    depth_multiplier: float = option(1.0, 'Factor on the channels of a MobileNet.')
    atrous_rates: tuple[int, ...] = option((), 'Rates of ASPP, such as 6,12,18; none: no atrous branches.')
    decoder_output_stride: int | None = option(None, 'Stride of the decoder, 4, 8 or 16; none: no decoder.')
    multi_grid: tuple[int, ...] = option((), 'Atrous rates of the units of the last block, such as 1,2,4; none: ones.')
    add_image_level_feature: bool = option(True, 'Pool features over the image, as a branch of ASPP.')
    image_pooling_crop_size: tuple[int, int] | None = option(None, 'Window that is pooled over; none: the whole crop.')
    image_pooling_stride: tuple[int, int] = option((1, 1), 'Strides of the pooling window.')
    image_se_uses_qsigmoid: bool = option(False, 'Gate ASPP by the quantised sigmoid.')
    aspp_convs_filters: int = option(256, 'Channels of the branches of ASPP.')
    aspp_with_concat_projection: bool = option(True, 'Project the concatenated branches of ASPP.')
    aspp_with_separable_conv: bool = option(True, 'Atrous branches of ASPP are separable convolutions.')
    aspp_with_squeeze_and_excitation: bool = option(False, 'Pooled features gate ASPP instead of being a branch.')
    dense_prediction_cell_json: str | None = option(None, 'DPC: the published dense prediction cell instead of ASPP.')
    decoder_filters: int = option(256, 'Channels of the decoder.')
    decoder_use_separable_conv: bool = option(True, 'Convolutions of the decoder are separable.')
    decoder_use_sum_merge: bool = option(False, 'The decoder adds its two inputs, for the lite head.')
    decoder_output_is_logits: bool = option(False, 'Nothing follows the decoder, for the lite head.')

    def __post_init__(self) -> None:
        for field in ('atrous_rates', 'multi_grid', 'image_pooling_stride'):
            object.__setattr__(self, field, tuple(getattr(self, field)))
        known = 'one of ' + ', '.join(MODEL_VARIANTS)
        _require(self.model_variant in MODEL_VARIANTS, 'model_variant', self.model_variant, known)
        _require(self.num_classes >= 2, 'num_classes', self.num_classes, 'at least 2')
        self._require_backbone()
        self._require_pooling()
        self._require_decoder()

    @classmethod
    def from_flags(cls, flags: Mapping[str, Any]) -> 'Architecture':
        """The network that the original builds with these flags, each spelled as on its command line or typed.

        `spellings.typed` says how they are read. Flags that concern inference alone are passed over. An output stride
        that is not given is the one that the family was published with.

        Raises:
            UserError: an unknown flag, a missing one, or a value that cannot be converted.
        """
        for flag in ('model_variant', 'num_classes'):
            _require(is_given(flags.get(flag)), flag, None, 'given')
        for flag, only in FIXED_FLAGS.items():
            value = flags.get(flag)
            kept = not is_given(value) or (only is not None and read(flag, value, type(only)) == only)
            _require(kept, flag, value, f'{only}, as in every published network')
        others = (*INFERENCE_FLAGS, *FIXED_FLAGS)
        given = typed(cls, {flag: value for flag, value in flags.items() if flag not in others})
        return cls(**{'output_stride': published_output_stride(given['model_variant']), **given})

    def _require_backbone(self) -> None:
        variant, multi_grid = self.model_variant, self.multi_grid
        scales = variant.startswith('mobilenet') or self.depth_multiplier == 1.0
        units = 0 if variant.startswith('mobilenet') else 2 if variant.startswith('resnet_v1_18') else 3
        fits = not multi_grid or (len(multi_grid) == units and min(multi_grid) >= 1)
        _require(self.output_stride in (8, 16, 32), 'output_stride', self.output_stride, '8, 16 or 32')
        _require(self.depth_multiplier > 0, 'depth_multiplier', self.depth_multiplier, 'above 0')
        _require(scales, 'depth_multiplier', self.depth_multiplier, f'1.0 for {variant}')
        _require(fits, 'multi_grid', multi_grid, f'{units} rates for {variant}' if units else f'empty for {variant}')

    def _require_pooling(self) -> None:
        crop, stride, cell = self.image_pooling_crop_size, self.image_pooling_stride, self.dense_prediction_cell_json
        gated = self.aspp_with_squeeze_and_excitation
        _require(all(rate >= 1 for rate in self.atrous_rates), 'atrous_rates', self.atrous_rates, 'at least 1 each')
        _require(crop is None or (len(crop) == 2 and min(crop) >= 1), 'image_pooling_crop_size', crop, 'two sides')
        _require(len(stride) == 2 and min(stride) >= 1, 'image_pooling_stride', stride, 'two strides')
        _require(self.aspp_convs_filters >= 1, 'aspp_convs_filters', self.aspp_convs_filters, 'at least 1')
        _require(self.add_image_level_feature or not gated, 'add_image_level_feature', False, 'true for a gated ASPP')
        _require(cell in (None, PUBLISHED_CELL), 'dense_prediction_cell_json', cell, f'{PUBLISHED_CELL} or none')
        _require(cell is None or self.output_stride < 32, 'output_stride', 32, '8 or 16 for the dense prediction cell')

    def _require_decoder(self) -> None:
        decoder, summed, filters = self.decoder_output_stride, self.decoder_use_sum_merge, self.decoder_filters
        is_logits, known = self.decoder_output_is_logits, self.model_variant != 'mobilenet_edgetpu'
        _require(decoder in (None, 4, 8, 16), 'decoder_output_stride', decoder, '4, 8, 16 or none')
        _require(decoder is None or known, 'decoder_output_stride', decoder, f'none for {self.model_variant}')
        _require(filters >= 1, 'decoder_filters', filters, 'at least 1')
        _require(summed == is_logits, 'decoder_output_is_logits', is_logits, 'as decoder_use_sum_merge')
        _require(decoder is not None or not is_logits, 'decoder_output_stride', decoder, 'given for a sum merge')
        classes = self.num_classes
        _require(filters == classes or not is_logits, 'decoder_filters', filters, f'{classes}, the number of classes')


def published_output_stride(model_variant: str) -> int:
    """The (first) output stride that a family was published with."""
    return 32 if model_variant.startswith(('mobilenet_v3', 'mobilenet_edgetpu')) else 16


def mean_pixel(model_variant: str) -> Colour:
    """The colour that pads a variant's images (feature_extractor.mean_pixel); not ResNet-18's own mean, as there."""
    return IMAGENET_MEAN if model_variant in ('resnet_v1_50', 'resnet_v1_101') else GREY


def _require(holds: bool, field: str, value: object, wanted: str) -> None:
    if not holds:
        raise UserError(f'{field} is {value!r} but must be {wanted}')


@dataclass(frozen=True)
class PublishedResult:
    """What the original's authors measured with one checkpoint, as a percentage."""

    split: str
    output_stride: int
    miou: float
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False


@dataclass(frozen=True)
class ZooRow:
    """One published checkpoint.

    `head` is 'pooling' (image pooling and a 1x1 branch), 'aspp', 'dpc', 'lite' or 'none' (a backbone alone). Where
    `longer_side` is given, images were resized so that their longer side has this length.
    """

    name: str
    archive: str
    model_variant: str
    head: str
    pretraining: str
    megabytes: float | None
    dataset: str
    num_classes: int | None
    decoder_output_stride: int | None = None
    depth_multiplier: float = 1.0
    longer_side: int | None = None
    results: tuple[PublishedResult, ...] = ()

    @property
    def url(self) -> str:
        """Where the archive is published."""
        return ARCHIVES + self.archive

    @property
    def folder(self) -> str:
        """The folder that the archive unpacks to: its name without the date."""
        return re.sub(r'(_\d{4}_\d{2}_\d{2})?\.tar\.gz$', '', self.archive)


def _scales(first: float, last: float) -> tuple[float, ...]:
    return tuple(first + 0.25 * step for step in range(round((last - first) / 0.25) + 1))


_VOC_SCALES = _scales(0.5, 1.75)
_CITY_SCALES = _scales(0.75, 1.25)


def _many(split: str, miou: float, scales: tuple[float, ...]) -> PublishedResult:
    return PublishedResult(split, 8, miou, scales, flip=True)


_voc = functools.partial(ZooRow, dataset='pascal_voc', num_classes=21)
_cityscapes = functools.partial(ZooRow, dataset='cityscapes', num_classes=19)
_ade20k = functools.partial(ZooRow, dataset='ade20k', num_classes=151)
_imagenet = functools.partial(ZooRow, dataset='imagenet', num_classes=None, head='none', pretraining='ImageNet')

CATALOG: tuple[ZooRow, ...] = (
    _voc(
        'mobilenetv2_dm05_coco_voc_trainaug',
        'deeplabv3_mnv2_dm05_pascal_trainaug_2018_10_01.tar.gz',
        'mobilenet_v2',
        'pooling',
        pretraining='ImageNet, COCO, VOC train_aug',
        megabytes=7.6,
        depth_multiplier=0.5,
        results=(PublishedResult('val', 16, 70.19),),
    ),
    _voc(
        'mobilenetv2_dm05_coco_voc_trainval',
        'deeplabv3_mnv2_dm05_pascal_trainval_2018_10_01.tar.gz',
        'mobilenet_v2',
        'pooling',
        pretraining='ImageNet, COCO, VOC trainval',
        megabytes=7.6,
        depth_multiplier=0.5,
        results=(PublishedResult('test', 8, 71.83),),
    ),
    _voc(
        'mobilenetv2_coco_voc_trainaug',
        'deeplabv3_mnv2_pascal_train_aug_2018_01_29.tar.gz',
        'mobilenet_v2',
        'pooling',
        pretraining='ImageNet, COCO, VOC train_aug',
        megabytes=23,
        results=(PublishedResult('val', 16, 75.32), _many('val', 77.33, _VOC_SCALES)),
    ),
    _voc(
        'mobilenetv2_coco_voc_trainval',
        'deeplabv3_mnv2_pascal_trainval_2018_01_29.tar.gz',
        'mobilenet_v2',
        'pooling',
        pretraining='ImageNet, COCO, VOC trainval',
        megabytes=23,
        results=(_many('test', 80.25, _VOC_SCALES),),
    ),
    _voc(
        'xception65_coco_voc_trainaug',
        'deeplabv3_pascal_train_aug_2018_01_04.tar.gz',
        'xception_65',
        'aspp',
        pretraining='ImageNet, COCO, VOC train_aug',
        megabytes=439,
        decoder_output_stride=4,
        results=(PublishedResult('val', 16, 82.20), _many('val', 83.58, _VOC_SCALES)),
    ),
    _voc(
        'xception65_coco_voc_trainval',
        'deeplabv3_pascal_trainval_2018_01_04.tar.gz',
        'xception_65',
        'aspp',
        pretraining='ImageNet, COCO, VOC trainval',
        megabytes=439,
        decoder_output_stride=4,
        results=(_many('test', 87.80, _VOC_SCALES),),
    ),
    _cityscapes(
        'mobilenetv2_coco_cityscapes_trainfine',
        'deeplabv3_mnv2_cityscapes_train_2018_02_05.tar.gz',
        'mobilenet_v2',
        'pooling',
        pretraining='ImageNet, COCO, Cityscapes train_fine',
        megabytes=23,
        results=(PublishedResult('val', 16, 70.71), _many('val', 73.57, _CITY_SCALES)),
    ),
    _cityscapes(
        'mobilenetv3_large_cityscapes_trainfine',
        'deeplab_mnv3_large_cityscapes_trainfine_2019_11_15.tar.gz',
        'mobilenet_v3_large_seg',
        'lite',
        pretraining='Cityscapes train_fine',
        megabytes=17,
        decoder_output_stride=8,
        results=(PublishedResult('val', 32, 72.41),),
    ),
    _cityscapes(
        'mobilenetv3_small_cityscapes_trainfine',
        'deeplab_mnv3_small_cityscapes_trainfine_2019_11_15.tar.gz',
        'mobilenet_v3_small_seg',
        'lite',
        pretraining='Cityscapes train_fine',
        megabytes=5,
        decoder_output_stride=8,
        results=(PublishedResult('val', 32, 68.99),),
    ),
    _cityscapes(
        'xception65_cityscapes_trainfine',
        'deeplabv3_cityscapes_train_2018_02_06.tar.gz',
        'xception_65',
        'aspp',
        pretraining='ImageNet, Cityscapes train_fine',
        megabytes=439,
        decoder_output_stride=4,
        results=(PublishedResult('val', 16, 78.79), _many('val', 80.42, _CITY_SCALES)),
    ),
    _cityscapes(
        'xception71_dpc_cityscapes_trainfine',
        'deeplab_cityscapes_xception71_trainfine_2018_09_08.tar.gz',
        'xception_71',
        'dpc',
        pretraining='ImageNet, COCO, Cityscapes train_fine',
        megabytes=445,
        decoder_output_stride=4,
        results=(PublishedResult('val', 16, 80.31),),
    ),
    _cityscapes(
        'xception71_dpc_cityscapes_trainval',
        'deeplab_cityscapes_xception71_trainvalfine_2018_09_08.tar.gz',
        'xception_71',
        'dpc',
        pretraining='ImageNet, COCO, Cityscapes trainval_fine and coarse',
        megabytes=446,
        decoder_output_stride=4,
        results=(_many('test', 82.66, _scales(0.75, 2.0)),),
    ),
    _cityscapes(
        'edgetpu_cityscapes',
        'edgetpu-deeplab_2020_03_09.tar.gz',
        'mobilenet_edgetpu',
        'pooling',
        pretraining='Cityscapes',
        megabytes=None,
        results=(PublishedResult('val', 32, 70.6), PublishedResult('val', 16, 74.1)),
    ),
    _cityscapes(
        'edgetpu_slim_cityscapes',
        'edgetpu-deeplab-slim_2020_03_09.tar.gz',
        'mobilenet_edgetpu',
        'pooling',
        pretraining='Cityscapes',
        megabytes=None,
        depth_multiplier=0.75,
        results=(PublishedResult('val', 32, 70.0), PublishedResult('val', 16, 73.2)),
    ),
    _ade20k(
        'mobilenetv2_ade20k_train',
        'deeplabv3_mnv2_ade20k_train_2018_12_03.tar.gz',
        'mobilenet_v2',
        'pooling',
        pretraining='ImageNet, ADE20K train',
        megabytes=24.8,
        decoder_output_stride=4,
        longer_side=257,
        results=(PublishedResult('val', 16, 32.04),),
    ),
    _ade20k(
        'xception65_ade20k_train',
        'deeplabv3_xception_ade20k_train_2018_05_29.tar.gz',
        'xception_65',
        'aspp',
        pretraining='ImageNet, ADE20K train',
        megabytes=439,
        decoder_output_stride=4,
        longer_side=513,
        results=(_many('val', 45.65, _VOC_SCALES),),
    ),
    _imagenet('xception_41_imagenet', 'xception_41_2018_05_09.tar.gz', 'xception_41', megabytes=288),
    _imagenet('xception_65_imagenet', 'deeplabv3_xception_2018_01_04.tar.gz', 'xception_65', megabytes=447),
    _imagenet(
        'xception_65_imagenet_coco',
        'xception_65_coco_pretrained_2018_10_02.tar.gz',
        'xception_65',
        pretraining='ImageNet, COCO',
        megabytes=292,
    ),
    _imagenet('xception_71_imagenet', 'xception_71_2018_05_09.tar.gz', 'xception_71', megabytes=474),
    _imagenet('resnet_v1_50_beta_imagenet', 'resnet_v1_50_2018_05_04.tar.gz', 'resnet_v1_50_beta', megabytes=274),
    _imagenet('resnet_v1_101_beta_imagenet', 'resnet_v1_101_2018_05_04.tar.gz', 'resnet_v1_101_beta', megabytes=477),
)


def row(name: str) -> ZooRow:
    """The published checkpoint of this name.

    Raises:
        UserError: no checkpoint is called so.
    """
    for candidate in CATALOG:
        if candidate.name == name:
            return candidate
    raise UserError(f'no published checkpoint is called {name!r}; there are {", ".join(r.name for r in CATALOG)}')


def rows(*, model_variant: str | None = None, dataset: str | None = None) -> tuple[ZooRow, ...]:
    """The published checkpoints of a model variant and a data set, each where given, in the zoo's order."""
    return tuple(
        candidate
        for candidate in CATALOG
        if model_variant in (None, candidate.model_variant) and dataset in (None, candidate.dataset)
    )


def row_for_path(path: pathlib.Path) -> ZooRow | None:
    """The published checkpoint that a path names, by its catalog name or by the folder its archive unpacks to."""
    parts = set(path.parts)
    return next((r for r in CATALOG if parts & {r.name, r.folder}), None)
