"""Cityscapes' folders and label ids."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from deeplab_load.data.cityscapes.label_ids import label_ids, train_ids
from deeplab_load.data.preparation import prepare
from deeplab_load.data.preprocessing import decode_label_map
from deeplab_load.errors import UserError

PATH = pathlib.Path('labelIds.png')


def make_pair(root: pathlib.Path, split: str, label_ids: np.ndarray) -> None:
    for folder, kind in (('leftImg8bit', 'leftImg8bit'), ('gtFine', 'gtFine_labelIds')):
        path = root / folder / split / 'ulm' / f'ulm_000000_000019_{kind}.png'
        path.parent.mkdir(parents=True)
        pixels = label_ids if folder == 'gtFine' else np.zeros((*label_ids.shape, 3), np.uint8)
        Image.fromarray(pixels).save(path)


def test_label_ids_map_to_the_published_train_ids():
    label_ids = np.array([[7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]], np.uint8)
    np.testing.assert_array_equal(train_ids(label_ids, PATH), [range(19)])


def test_all_other_label_ids_are_void():
    others = sorted({*range(34), 255} - {7, 8, 11, 12, 13, 17, *range(19, 29), 31, 32, 33})
    assert set(train_ids(np.array([others], np.uint8), PATH).ravel()) == {255}


def test_train_ids_map_back_to_their_label_ids():
    published = np.array([[7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]], np.uint8)
    np.testing.assert_array_equal(label_ids(train_ids(published, PATH)), published)
    np.testing.assert_array_equal(label_ids(np.array([[255, 0]], np.uint8)), [[0, 7]])
    with pytest.raises(ValueError, match=r'no train ids \[19\]'):
        label_ids(np.array([[18, 19]], np.uint8))


def test_unknown_label_ids_are_told():
    with pytest.raises(UserError, match=r'labelIds\.png holds the labelIds \[34, 254\]'):
        train_ids(np.array([[7, 34, 254]], np.uint8), PATH)


def test_folder_offers_the_splits_it_has(tmp_path):
    make_pair(tmp_path / 'city', 'val', np.full((6, 12), 26, np.uint8))
    prepared = prepare('cityscapes', data_dir=tmp_path / 'data', manual_dir=tmp_path / 'city', progress=False)
    assert prepared.splits == ('val',)
    examples = prepared.examples('val')
    assert examples.ids == ('ulm_000000_000019',)
    assert set(np.unique(decode_label_map(tf.constant(examples.encoded(0)[1])))) == {13}


def test_missing_labels_and_missing_trees_are_told(tmp_path):
    make_pair(tmp_path / 'city', 'val', np.zeros((6, 12), np.uint8))
    next((tmp_path / 'city').rglob('*labelIds.png')).unlink()
    with pytest.raises(UserError, match=r'_gtFine_labelIds\.png is missing'):
        prepare('cityscapes', data_dir=tmp_path / 'data', manual_dir=tmp_path / 'city')
    (tmp_path / 'city/gtFine').rename(tmp_path / 'elsewhere')
    with pytest.raises(UserError, match='no single gtFine/: name the folder that holds leftImg8bit/ and gtFine/'):
        prepare('cityscapes', data_dir=tmp_path / 'data', manual_dir=tmp_path / 'city')


def test_real_samples(testdata, tmp_path):
    folder = testdata / 'data/cityscapes_sample'
    examples = prepare('cityscapes', data_dir=tmp_path, manual_dir=folder, progress=False).examples('train')
    assert examples.sizes == ((1024, 2048), (1024, 2048))
    label_ids = np.array(Image.open(folder / f'gtFine/train/aachen/{examples.ids[0]}_gtFine_labelIds.png'))
    labels = decode_label_map(tf.constant(examples.encoded(0)[1])).numpy()
    assert {(7, 0), (26, 13), (11, 2)} <= set(zip(label_ids.ravel().tolist(), labels.ravel().tolist(), strict=True))
    assert labels.min() == 0
    assert sorted(np.unique(labels))[-2] <= 18
