import pathlib
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


def test_the_mobilenet_v2_row_of_a_data_set_by_its_classes():
    assert catalog.mobilenet_v2_row(19).dataset == 'cityscapes'
    assert catalog.mobilenet_v2_row(151).dataset == 'ade20k'
    assert catalog.mobilenet_v2_row(8) == catalog.row('mobilenetv2_coco_voc_trainaug')


def test_a_path_names_the_row_by_folder_or_name():
    path = pathlib.Path('checkpoints/deeplabv3_pascal_train_aug/model.ckpt')
    assert catalog.row_for_path(path) == catalog.row('xception65_coco_voc_trainaug')
    assert catalog.row_for_path(pathlib.Path('edgetpu_cityscapes')) == catalog.row('edgetpu_cityscapes')
    assert catalog.row_for_path(pathlib.Path('elsewhere/model.ckpt')) is None


def test_the_catalog_needs_no_tensorflow():
    code = 'import sys, deeplab_load.catalog; assert not {"tensorflow", "keras"} & set(sys.modules)'
    subprocess.run([sys.executable, '-c', code], check=True)
