"""ADE20K's folders and its label 0."""

import os
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from deeplab_load.data.preparation import prepare
from deeplab_load.data.preprocessing import decode_label_map
from deeplab_load.errors import UserError


@pytest.fixture
def ade(tmp_path):
    root = tmp_path / 'ADEChallengeData2016'
    for split, name in (('training', 'ADE_train_00000001'), ('validation', 'ADE_val_00000001')):
        for part in ('images', 'annotations'):
            (root / part / split).mkdir(parents=True)
        Image.new('RGB', (20, 10)).save(root / f'images/{split}/{name}.jpg')
        labels = np.repeat(np.array([[0, 1, 12, 150]], np.uint8), 5, axis=1).repeat(10, axis=0)
        Image.fromarray(labels).save(root / f'annotations/{split}/{name}.png')
    return root


@pytest.mark.parametrize('zipped', [False, True])
def test_0_is_void_and_the_other_labels_keep_their_numbers(ade, tmp_path, zipped):
    source = shutil.make_archive(str(tmp_path / 'ade'), 'zip', ade.parent, ade.name) if zipped else ade
    prepared = prepare('ade20k', data_dir=tmp_path / 'data', manual_dir=source, progress=False)
    assert prepared.splits == ('train', 'val')
    labels = decode_label_map(tf.constant(prepared.examples('train').encoded(0)[1]))
    np.testing.assert_array_equal(labels[0, ::5], [255, 1, 12, 150])
    assert [prepared.spec.classes[n] for n in (1, 13, 150)] == ['wall', 'person', 'flag']
    assert not list((tmp_path / 'data').glob('*unpacked*'))


def test_label_151_is_told(ade, tmp_path):
    path = ade / 'annotations/validation/ADE_val_00000001.png'
    Image.fromarray(np.full((10, 20), 151, np.uint8)).save(path)
    with pytest.raises(UserError, match=r'ADE_val_00000001\.png holds the labels \[151\]'):
        prepare('ade20k', data_dir=tmp_path / 'data', manual_dir=ade, progress=False)


def test_a_name_that_is_not_text_is_told(ade, tmp_path):
    os.rename(ade / 'images/training/ADE_train_00000001.jpg', os.fsencode(ade / 'images/training') + b'/\xff.jpg')
    with pytest.raises(UserError, match=r"training has a file whose name is not UTF-8, b'\\xff\.jpg': rename it\."):
        prepare('ade20k', data_dir=tmp_path / 'data', manual_dir=ade, progress=False)
