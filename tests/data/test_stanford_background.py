"""Stanford Background's text labels and its seeded split."""

import collections
import hashlib
import pathlib

import numpy as np
import pytest
from PIL import Image

from deeplab_load.data import preflight
from deeplab_load.data.preparation import prepare
from deeplab_load.data.stanford_background.builder import decode_regions, split_ids
from deeplab_load.errors import UserError


def make_folder(root: pathlib.Path, count: int = 10) -> pathlib.Path:
    for folder in ('images', 'labels'):
        (root / folder).mkdir(parents=True)
    for number in range(count):
        Image.new('RGB', (5, 4)).save(root / f'images/{number:07d}.jpg')
        (root / f'labels/{number:07d}.regions.txt').write_text('0 1 2 3 -1\n' * 4)
    return root


def test_split_is_fixed_and_in_the_articles_proportion():
    splits = split_ids([f'{number:07d}' for number in range(715)])
    assert {name: len(ids) for name, ids in splits.items()} == {'train': 400, 'val': 172, 'test': 143}
    assert len({image_id for ids in splits.values() for image_id in ids}) == 715
    assert [ids[0] for ids in splits.values()] == ['0000666', '0000255', '0000605']


def test_negative_labels_are_void(tmp_path):
    path = tmp_path / 'x.regions.txt'
    path.write_text('0 7 -1\n3 -2 4\n')
    np.testing.assert_array_equal(decode_regions(path.read_bytes(), path), [[0, 7, 255], [3, 255, 4]])


@pytest.mark.parametrize('text', ['', '0 1\n2\n', '0 x\n', '0 300\n', '\xff'])
def test_text_that_is_no_label_matrix_is_told(tmp_path, text):
    path = tmp_path / 'x.regions.txt'
    path.write_text(text)
    with pytest.raises(UserError, match=r'x\.regions\.txt is not a matrix of'):
        decode_regions(path.read_bytes(), path)


def test_label_out_of_range_is_told(tmp_path):
    root = make_folder(tmp_path / 'iccv09Data')
    (root / 'labels/0000003.regions.txt').write_text('0 1 2 3 8\n' * 4)
    with pytest.raises(UserError, match=r'0000003\.regions\.txt holds the labels \[8\]'):
        prepare('stanford_background', data_dir=tmp_path / 'data', manual_dir=root, progress=False)


def test_too_few_images_are_told(tmp_path):
    root = make_folder(tmp_path / 'iccv09Data', count=1)
    with pytest.raises(UserError, match='holds too few images for three splits'):
        prepare('stanford_background', data_dir=tmp_path / 'data', manual_dir=root, progress=False)


def test_real_archive(testdata, tmp_path):
    archive = testdata / 'data/stanford_background/iccv09Data.tar.gz'
    prepared = prepare('stanford_background', data_dir=tmp_path, manual_dir=archive, progress=False)
    examples = {split: prepared.examples(split) for split in prepared.splits}
    assert {split: len(listed) for split, listed in examples.items()} == {'train': 400, 'val': 172, 'test': 143}
    ids = '\n'.join(f'{split} {i}' for split, listed in examples.items() for i in listed.ids)
    assert hashlib.sha256(ids.encode()).hexdigest()[:16] == '496ccd53a72cae8f'
    images = {split: prepared.counts(split).images for split in prepared.splits}
    assert [sum(images[split][label] for split in images) for label in range(8)] == [
        607,
        571,
        567,
        206,
        104,
        544,
        79,
        677,
    ]
    assert all(prepared.counts(split).void_share < 0.01 for split in prepared.splits)
    assert preflight.shared_images(prepared, 'train', 'val') == [
        'val has 1 of its 172 images in common with train: 6000318 (as 6000068).'
    ]
    sides = collections.Counter(max(size) for listed in examples.values() for size in listed.sizes)
    assert max(sides) == 320
