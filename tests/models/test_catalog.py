import dataclasses
import json
import pathlib
import re
import subprocess
import sys

import pytest

from deeplab_load import catalog
from deeplab_load.errors import UserError


def test_rows_are_told_apart_by_name_and_archive():
    assert len({row.name for row in catalog.CATALOG}) == len(catalog.CATALOG) == 22
    assert len({row.archive for row in catalog.CATALOG}) == len(catalog.CATALOG)
    assert {row.model_variant for row in catalog.CATALOG} <= set(catalog.MODEL_VARIANTS)


def test_lookup_by_name_variant_and_data_set():
    row = catalog.row('mobilenetv2_coco_voc_trainaug')
    assert row.url == 'https://download.tensorflow.org/models/deeplabv3_mnv2_pascal_train_aug_2018_01_29.tar.gz'
    assert row.folder == 'deeplabv3_mnv2_pascal_train_aug'
    assert (row.results[0].miou, row.results[1].scales) == (75.32, (0.5, 0.75, 1.0, 1.25, 1.5, 1.75))
    assert row in catalog.rows(model_variant='mobilenet_v2', dataset='pascal_voc')
    assert len(catalog.rows(dataset='cityscapes')) == 8
    with pytest.raises(UserError, match='mobilenetv2_coco_voc_trainaug'):
        catalog.row('mobilenetv2')


def test_a_path_names_the_row_by_folder_or_name():
    path = pathlib.Path('checkpoints/deeplabv3_pascal_train_aug/model.ckpt')
    assert catalog.row_for_path(path) == catalog.row('xception65_coco_voc_trainaug')
    assert catalog.row_for_path(pathlib.Path('edgetpu_cityscapes')) == catalog.row('edgetpu_cityscapes')
    assert catalog.row_for_path(pathlib.Path('elsewhere/model.ckpt')) is None


def test_flags_are_taken_as_the_original_spells_them():
    flags = {
        'model_variant': 'mobilenet_v3_large_seg',
        'num_classes': '19',
        'output_stride': 32,
        'image_pooling_crop_size': '769,769',
        'image_pooling_stride': '4,5',
        'add_image_level_feature': 1,
        'aspp_with_concat_projection': 'false',
        'aspp_with_squeeze_and_excitation': True,
        'decoder_output_stride': '8',
        'decoder_filters': 19,
        'decoder_use_sum_merge': '1',
        'decoder_output_is_logits': 'true',
        'atrous_rates': None,
    }
    assert catalog.Architecture.from_flags(flags) == catalog.Architecture(
        'mobilenet_v3_large_seg',
        19,
        32,
        image_pooling_crop_size=(769, 769),
        image_pooling_stride=(4, 5),
        aspp_with_concat_projection=False,
        aspp_with_squeeze_and_excitation=True,
        decoder_output_stride=8,
        decoder_filters=19,
        decoder_use_sum_merge=True,
        decoder_output_is_logits=True,
    )


def test_lists_empty_strings_and_flags_of_inference():
    flags = {'model_variant': 'mobilenet_v2', 'num_classes': 21, 'decoder_output_stride': ''}
    plain = catalog.Architecture('mobilenet_v2', 21)
    assert catalog.Architecture.from_flags({**flags, 'inference_scales': [0.5, 1.0]}) == plain
    rates = dataclasses.replace(plain, atrous_rates=(6, 12, 18), decoder_output_stride=4, depth_multiplier=0.5)
    given = {'atrous_rates': [6, 12, 18], 'decoder_output_stride': ['4'], 'depth_multiplier': '0.5'}
    assert catalog.Architecture.from_flags({**flags, **given}) == rates
    assert catalog.Architecture.from_flags({**flags, **given, 'atrous_rates': '6,12,18'}) == rates


def test_flags_that_never_differ_may_be_given_as_they_are():
    flags = {'model_variant': 'mobilenet_v2', 'num_classes': 21}
    same = {'aspp_with_batch_norm': '1', 'logits_kernel_size': 1, 'use_bounded_activation': 'false', 'divisible_by': ''}
    assert catalog.Architecture.from_flags({**flags, **same}) == catalog.Architecture.from_flags(flags)


@pytest.mark.parametrize(
    ('flags', 'words'),
    [
        ({'output_strid': 8}, "the flag is 'output_strid' but must be one of model_variant"),
        ({'num_classes': None}, 'num_classes is None but must be given'),
        ({'output_stride': 'eight'}, "output_stride is 'eight' but must be spelled as int"),
        ({'output_stride': 16.5}, 'output_stride is 16.5'),
        ({'atrous_rates': '6;12'}, "atrous_rates is '6;12' but must be spelled as tuple"),
        ({'decoder_output_is_logits': 'perhaps'}, "decoder_output_is_logits is 'perhaps'"),
        ({'aspp_with_batch_norm': '0'}, "aspp_with_batch_norm is '0' but must be True, as in every published network"),
        ({'logits_kernel_size': 3}, 'logits_kernel_size is 3 but must be 1'),
        ({'divisible_by': 8}, 'divisible_by is 8 but must be None'),
        ({'decoder_output_stride': '8,4'}, "decoder_output_stride is '8,4'"),
    ],
)
def test_flags_that_cannot_be_taken_are_named(flags, words):
    with pytest.raises(UserError, match=re.escape(words)):
        catalog.Architecture.from_flags({'model_variant': 'mobilenet_v2', 'num_classes': 21, **flags})


def test_only_the_larger_plain_resnets_pad_with_the_imagenet_mean(testdata):
    recorded = json.loads((testdata / 'golden/preprocess/meta.json').read_text())['mean_pixel']
    assert set(catalog.MODEL_VARIANTS) <= set(recorded)
    for variant in catalog.MODEL_VARIANTS:
        assert catalog.mean_pixel(variant) == tuple(recorded[variant]), variant


def test_the_catalog_needs_no_tensorflow():
    code = 'import sys, deeplab_load.catalog; assert not {"tensorflow", "keras"} & set(sys.modules)'
    subprocess.run([sys.executable, '-c', code], check=True)
