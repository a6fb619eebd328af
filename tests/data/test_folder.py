"""A user's own images and masks."""

import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from deeplab_load.data.folder.classes import read_classes
from deeplab_load.data.preparation import find_spec, prepare
from deeplab_load.data.preprocessing import decode_image, decode_label_map
from deeplab_load.errors import UserError


def prepare_folder(tmp_path, root):
    return prepare('folder', data_dir=tmp_path / 'data', manual_dir=root, progress=False)


def label_map(examples, index):
    return decode_label_map(tf.constant(examples.encoded(index)[1])).numpy()


def test_a_seeded_split_of_jpegs_and_pngs(make_folder, tmp_path):
    prepared = prepare_folder(tmp_path, make_folder())
    train, val = (prepared.examples(split) for split in prepared.splits)
    assert (len(train), len(val)) == (8, 2)
    assert not set(train.ids) & set(val.ids)
    assert val.ids == ('im 1', 'im 5')  # The same on every machine.
    assert prepared.spec.classes == ('ground', 'thing', 'sky')
    assert prepared.spec.colours[1] == (128, 0, 0)
    for index, (height, width) in enumerate(train.sizes):
        assert decode_image(tf.constant(train.encoded(index)[0])).shape == (height, width, 3)
        assert set(np.unique(label_map(train, index))) == {0, 1, 2, 255}


def test_split_lists_name_images_with_or_without_suffix(make_folder, tmp_path):
    root = make_folder()
    (root / 'train.txt').write_text('im 3\nim 1.png\n\n')
    (root / 'val.txt').write_text('im 2\n')
    (root / 'test.txt').write_text('im 9\n')
    (root / 'masks/im 9.png').unlink()
    prepared = prepare_folder(tmp_path, root)
    assert prepared.examples('train').ids == ('im 3', 'im 1')
    with pytest.raises(UserError, match=r"Split 'test' of folder as prepared from .* has no labels"):
        prepared.examples('test')
    unlabelled = prepared.examples('test', labelled=False)
    assert not unlabelled.labelled
    assert (label_map(unlabelled, 0) == 255).all()


def test_files_may_have_any_name_that_is_text(make_folder, tmp_path):
    root = make_folder('mïne [1]\n')
    odd = ['\x1b[1m\n[x]*?\\', 'ü漢', '"$(x)']
    for number, name in enumerate(odd):
        ending = 'png' if number % 2 else 'jpg'
        (root / f'images/im {number}.{ending}').rename(root / f'images/{name}.{ending}')
        (root / f'masks/im {number}.png').rename(root / f'masks/{name}.png')
    prepared = prepare_folder(tmp_path / 'of [b]\\ möde*\n', root)
    ids = {image_id for split in prepared.splits for image_id in prepared.examples(split).ids}
    assert ids == {*odd, *(f'im {number}' for number in range(len(odd), 10))}


def test_void_lines_are_no_classes_and_rgb_masks_are_read_by_their_colours(make_folder, tmp_path):
    root = make_folder(classes='void 0 0 0\nred thing 255 0 0\nvoid 9 9 9\nblue 0 0 255\n')
    colours = np.array([(0, 0, 0), (255, 0, 0), (9, 9, 9), (0, 0, 255)], np.uint8)
    for path in (root / 'masks').iterdir():
        with Image.open(path) as mask:
            size = mask.size[::-1]
        labels = np.arange(size[0] * size[1]).reshape(size) % 4
        Image.fromarray(colours[labels]).save(path)
    prepared = prepare_folder(tmp_path, root)
    assert prepared.spec.classes == ('red thing', 'blue')
    assert prepared.spec.colours == ((255, 0, 0), (0, 0, 255))
    np.testing.assert_array_equal(label_map(prepared.examples('val'), 0)[0, :8], [255, 0, 255, 1] * 2)


def test_index_masks_are_read_by_the_lines(make_folder, tmp_path):
    prepared = prepare_folder(tmp_path, make_folder(classes='void\nthing\nsky\n'))
    labels = label_map(prepared.examples('val'), 0)
    assert prepared.spec.classes == ('thing', 'sky')
    assert (labels[0, 0], labels[10, 10], labels[2, 0], labels[-1, 0]) == (255, 0, 1, 255)


def test_the_row_is_known_before_and_after_preparing(make_folder, tmp_path):
    root = make_folder()
    before = find_spec('folder', data_dir=tmp_path / 'data', manual_dir=root)
    prepared = prepare_folder(tmp_path, root)
    assert before == prepared.spec == find_spec('folder', data_dir=tmp_path / 'data')
    assert find_spec('shapes', data_dir=tmp_path).name == 'shapes'


def test_the_folder_above_or_a_zip_may_be_named(make_folder, tmp_path):
    root = make_folder('above/mine')
    archives = [
        shutil.make_archive(str(tmp_path / 'zips/inside'), 'zip', root),
        shutil.make_archive(str(tmp_path / 'zips/whole'), 'zip', root.parent),
    ]
    fingerprint = prepare_folder(tmp_path, root).examples('train').fingerprint
    for number, named in enumerate((root.parent, *archives)):
        data_dir = tmp_path / f'data{number}'
        assert find_spec('folder', data_dir=data_dir, manual_dir=named).classes == ('ground', 'thing', 'sky')
        prepared = prepare('folder', data_dir=data_dir, manual_dir=named, progress=False)
        assert prepared.examples('train').fingerprint == fingerprint


def test_a_changed_class_table_is_another_source(make_folder, tmp_path):
    root = make_folder()
    prepare_folder(tmp_path, root)
    (root / 'classes.txt').write_text('ground\nthing\nclouds\n')
    with pytest.raises(UserError, match='has changed since'):
        prepare_folder(tmp_path, root)


def test_255_classes_are_the_most(tmp_path):
    path = tmp_path / 'classes.txt'
    path.write_text('\n'.join(f'class {n}' for n in range(255)))
    assert len(set(read_classes(path).class_colours)) == 255
    path.write_text('\n'.join(f'class {n}' for n in range(256)))
    with pytest.raises(UserError, match='has 256 classes'):
        read_classes(path)
