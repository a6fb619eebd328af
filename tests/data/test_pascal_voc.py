"""PASCAL VOC from folder and tar, and the mistakes that its files may hold."""

import io
import pathlib
import struct
import tarfile
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from deeplab_load.data.preparation import prepare
from deeplab_load.data.preprocessing import decode_label_map
from deeplab_load.errors import UserError


def save_mask(path: pathlib.Path, labels: np.ndarray) -> None:
    Image.fromarray(labels).save(path)


def prepare_voc(tmp_path: pathlib.Path, source: pathlib.Path):
    return prepare('pascal_voc', data_dir=tmp_path / 'data', manual_dir=source, progress=False)


def make_tar(folder: pathlib.Path, path: pathlib.Path) -> pathlib.Path:
    with tarfile.open(path, 'w') as tar:
        tar.add(folder, arcname=folder.name)
    return path


def test_pairs_come_in_the_lists_order_with_unchanged_bytes(make_voc, drawn_labels, tmp_path):
    devkit = make_voc()
    prepared = prepare_voc(tmp_path, devkit)
    assert prepared.splits == ('train', 'val')
    train = prepared.examples('train')
    assert train.ids == ('img_2', 'img_0', 'img_1')
    assert train.sizes == ((30, 30), (20, 30), (24, 18))
    images = [train.encoded(index)[0] for index in range(3)]
    assert images == [(devkit / f'VOC2012/JPEGImages/{image_id}.jpg').read_bytes() for image_id in train.ids]
    label = train.encoded(1)[1]
    np.testing.assert_array_equal(decode_label_map(tf.constant(label)), drawn_labels(0, 20, 30))


@pytest.mark.parametrize('named', ['.', '..', 'VOC2012'])
def test_the_devkit_may_be_named_by_its_neighbours(make_voc, tmp_path, named):
    devkit = make_voc('kit/VOCdevkit')
    assert len(prepare_voc(tmp_path, devkit / named).examples('val')) == 2


def test_tar_gives_the_same_examples_and_leaves_no_unpacked_files(make_voc, tmp_path):
    devkit = make_voc()
    archive = make_tar(devkit, tmp_path / 'voc.tar')
    from_tar = prepare('pascal_voc', data_dir=tmp_path / 'from_tar', manual_dir=archive, progress=False)
    assert from_tar.examples('train').fingerprint == prepare_voc(tmp_path, devkit).examples('train').fingerprint
    assert {path.name for path in (tmp_path / 'from_tar').iterdir()} == {'pascal_voc', '.pascal_voc.lock'}


def test_augmented_list_takes_augmented_masks(make_voc, tmp_path):
    root = make_voc() / 'VOC2012'
    (root / 'ImageSets/Segmentation/trainaug.txt').write_text('/JPEGImages/img_1.jpg /SegmentationClassAug/img_1.png\n')
    (root / 'SegmentationClassAug').mkdir()
    save_mask(root / 'SegmentationClassAug/img_1.png', np.full((24, 18), 5, np.uint8))
    prepared = prepare_voc(tmp_path, root)
    assert prepared.splits == ('train', 'train_aug', 'val')
    augmented, plain = (prepared.examples(split) for split in ('train_aug', 'train'))
    assert set(np.unique(decode_label_map(tf.constant(augmented.encoded(0)[1])))) == {5}
    assert 255 in decode_label_map(tf.constant(plain.encoded(2)[1])).numpy()


def element(kind: int, content: bytes) -> bytes:
    return struct.pack('<II', kind, len(content)) + content + bytes(-len(content) % 8)


def array(kind: int, shape: tuple[int, ...], name: bytes, *content: bytes) -> bytes:
    """An array of a MATLAB file: flags, size, name, content."""
    head = element(6, struct.pack('<II', kind, 0)) + element(5, struct.pack('<ii', *shape)) + element(1, name)
    return element(14, head + b''.join(content))


def make_boundaries(folder: pathlib.Path, masks: dict[str, np.ndarray]) -> pathlib.Path:
    """Writes masks as the owners of the Semantic Boundaries Dataset do; returns the folder they are in."""
    masks_folder = folder / 'benchmark_RELEASE/dataset/cls'
    masks_folder.mkdir(parents=True)
    for name, mask in masks.items():
        width = struct.pack('<HHi', 5, 4, 32)
        names = element(1, b'Boundaries'.ljust(32, b'\0') + b'Segmentation'.ljust(32, b'\0'))
        boundaries = array(6, (1, 1), b'', element(9, bytes(8)))
        segmentation = array(9, mask.shape, b'', element(2, mask.tobytes(order='F')))
        packed = zlib.compress(array(2, (1, 1), b'GTcls', width, names, boundaries, segmentation))
        header = b'MATLAB 5.0 MAT-file'.ljust(124) + struct.pack('<HH', 0x100, 0x4D49)
        (masks_folder / f'{name}.mat').write_bytes(header + struct.pack('<II', 15, len(packed)) + packed)
    return masks_folder


def test_owners_files_augment_train_without_val(make_voc, tmp_path):
    root = make_voc() / 'VOC2012'
    Image.new('RGB', (30, 20)).save(root / 'JPEGImages/extra.jpg')
    fives = np.full((20, 30), 5, np.uint8)
    fives[3, 7] = 9
    make_boundaries(root.parent, {'extra': fives, 'img_0': fives, 'img_3': fives})  # img_0: train, img_3: val
    prepared = prepare_voc(tmp_path, root)
    augmented, plain = (prepared.examples(split) for split in ('train_aug', 'train'))
    assert augmented.ids == ('extra', *sorted(plain.ids))
    np.testing.assert_array_equal(decode_label_map(tf.constant(augmented.encoded(0)[1])), fives)
    assert augmented.encoded(1)[1] == plain.encoded(plain.ids.index('img_0'))[1]


@pytest.mark.parametrize('length', [0, 100, 130, 200])
def test_a_damaged_owners_file_is_named(make_voc, tmp_path, length):
    root = make_voc() / 'VOC2012'
    Image.new('RGB', (30, 20)).save(root / 'JPEGImages/extra.jpg')
    path = make_boundaries(root, {'extra': np.zeros((20, 30), np.uint8)}) / 'extra.mat'
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(UserError, match=r'extra\.mat holds no mask of the Semantic .+ \(.+\): get it again\.$'):
        prepare_voc(tmp_path, root)


def test_absent_split_is_told_with_those_there_are(make_voc, tmp_path):
    with pytest.raises(UserError, match=r"has no split 'trainval', only train, val\."):
        prepare_voc(tmp_path, make_voc()).examples('trainval')


def cut_image(root: pathlib.Path) -> None:
    path = root / 'JPEGImages/img_1.jpg'
    path.write_bytes(path.read_bytes()[:-40])


def no_image(root: pathlib.Path) -> None:
    (root / 'JPEGImages/img_1.jpg').write_bytes(b'')


def missing_image(root: pathlib.Path) -> None:
    (root / 'JPEGImages/img_1.jpg').unlink()


def missing_mask(root: pathlib.Path) -> None:
    (root / 'SegmentationClass/img_4.png').unlink()


def other_size(root: pathlib.Path) -> None:
    save_mask(root / 'SegmentationClass/img_1.png', np.zeros((24, 19), np.uint8))


def out_of_range(root: pathlib.Path) -> None:
    save_mask(root / 'SegmentationClass/img_1.png', np.full((24, 18), 21, np.uint8))


def rgb_mask(root: pathlib.Path) -> None:
    Image.new('RGB', (18, 24)).save(root / 'SegmentationClass/img_1.png')


def grey_mask_of_16_bits(root: pathlib.Path) -> None:
    Image.new('I;16', (18, 24)).save(root / 'SegmentationClass/img_1.png')


def jpeg_mask(root: pathlib.Path) -> None:
    Image.new('L', (18, 24)).save(root / 'SegmentationClass/img_1.png', format='JPEG')


def cut_mask(root: pathlib.Path) -> None:
    path = root / 'SegmentationClass/img_1.png'
    path.write_bytes(path.read_bytes()[:-30])


def damaged_mask(root: pathlib.Path) -> None:
    path = root / 'SegmentationClass/img_1.png'
    data = bytearray(path.read_bytes())
    data[-20] ^= 0xFF
    path.write_bytes(bytes(data))


def empty_list(root: pathlib.Path) -> None:
    (root / 'ImageSets/Segmentation/train.txt').write_text('\n')


def doubled_entry(root: pathlib.Path) -> None:
    (root / 'ImageSets/Segmentation/train.txt').write_text('img_1\nimg_0\nimg_1\n')


def no_lists(root: pathlib.Path) -> None:
    for path in (root / 'ImageSets/Segmentation').iterdir():
        path.unlink()


def no_voc2012(root: pathlib.Path) -> None:
    root.rename(root.with_name('VOC2007x'))


BAD_INPUT = {
    cut_image: r'JPEGImages/img_1\.jpg cannot be read: it is ',
    no_image: r'JPEGImages/img_1\.jpg cannot be read: it is no whole JPEG or PNG file',
    missing_image: r"JPEGImages/img_1\.jpg is missing, although split 'train' has the image 'img_1'",
    missing_mask: r"SegmentationClass/img_4\.png is missing, although split 'val' has the image 'img_4'",
    other_size: r'img_1\.png is 19x24 pixels but its image .*img_1\.jpg is 18x24',
    out_of_range: r'img_1\.png holds the labels \[21\], but pascal_voc has 0 to 20 and 255',
    rgb_mask: r'img_1\.png holds colours, not class indices',
    grey_mask_of_16_bits: r'img_1\.png holds colours, not class indices .*16 bits',
    jpeg_mask: r'img_1\.png is not a PNG file',
    cut_mask: r'img_1\.png cannot be read: it is no whole PNG file',
    damaged_mask: r'img_1\.png cannot be read: it is no whole PNG file',
    empty_list: r'train\.txt lists no images',
    doubled_entry: r"train\.txt lists 'img_1' more than once",
    no_lists: r'ImageSets/Segmentation holds none of train\.txt.* --vocdevkit',
    no_voc2012: r'has no single ImageSets/Segmentation/: name the VOCdevkit folder .* --vocdevkit',
}


@pytest.mark.parametrize('spoil', BAD_INPUT, ids=lambda spoil: spoil.__name__)
def test_bad_input_is_one_sentence_and_leaves_nothing_behind(make_voc, tmp_path, spoil):
    devkit = make_voc()
    spoil(devkit / 'VOC2012')
    with pytest.raises(UserError, match=BAD_INPUT[spoil]) as error:
        prepare_voc(tmp_path, devkit)
    assert '\n' not in str(error.value)
    assert str(error.value).endswith('.')
    assert not list((tmp_path / 'data').glob('pascal_voc/*'))


def test_missing_and_empty_folders_are_told_apart(tmp_path):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UserError, match=r'not prepared yet: name the VOCdevkit folder .* with --vocdevkit'):
        prepare('pascal_voc', data_dir=tmp_path / 'data')
    with pytest.raises(UserError, match=r'nowhere does not exist: .* --vocdevkit'):
        prepare_voc(tmp_path, tmp_path / 'nowhere')
    with pytest.raises(UserError, match=r'empty is empty: .* --vocdevkit'):
        prepare_voc(tmp_path, tmp_path / 'empty')


def test_cut_tar_and_a_file_that_is_no_tar(make_voc, tmp_path):
    archive = make_tar(make_voc(), tmp_path / 'voc.tar')
    archive.write_bytes(archive.read_bytes()[:3000])
    (tmp_path / 'text.tar').write_text('hello')
    for name in ('voc.tar', 'text.tar'):
        with pytest.raises(UserError, match=f'{name} is not a whole tar or zip archive'):
            prepare_voc(tmp_path, tmp_path / name)


def test_tar_that_reaches_outside_is_refused(tmp_path):
    with tarfile.open(tmp_path / 'bad.tar', 'w') as tar:
        tar.addfile(tarfile.TarInfo('../outside.txt'), io.BytesIO())
    with pytest.raises(UserError, match=r'the archive bad\.tar holds .*, which leaves its folder'):
        prepare_voc(tmp_path, tmp_path / 'bad.tar')
    assert not list(tmp_path.rglob('outside.txt'))


def test_real_subset(testdata, tmp_path):
    prepared = prepare_voc(tmp_path, testdata / 'data/voc2012_subset/VOCdevkit')
    assert {split: len(prepared.examples(split)) for split in prepared.splits} == {'train': 170, 'val': 300}
