"""Archives: one, several in a folder, and an unpacking that was stopped."""

import io
import pathlib
import shutil
import stat
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from deeplab_load.data import archives
from deeplab_load.data.archives import unpack
from deeplab_load.data.preparation import prepare
from deeplab_load.errors import UserError


def save_png(path: pathlib.Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def test_the_zips_of_cityscapes_are_unpacked_together_and_test_has_no_labels(tmp_path):
    for split in ('val', 'test'):
        save_png(tmp_path / f'a/leftImg8bit/{split}/ulm/ulm_{split}_leftImg8bit.png', np.zeros((4, 8, 3), np.uint8))
        save_png(tmp_path / f'b/gtFine/{split}/ulm/ulm_{split}_gtFine_labelIds.png', np.full((4, 8), 7, np.uint8))
    for part, name in (('a', 'leftImg8bit_trainvaltest'), ('b', 'gtFine_trainvaltest')):
        shutil.make_archive(str(tmp_path / 'zips' / name), 'zip', tmp_path / part)
    prepared = prepare('cityscapes', data_dir=tmp_path / 'data', manual_dir=tmp_path / 'zips', progress=False)
    assert prepared.splits == ('val', 'test')
    assert prepared.examples('test', labelled=False).ids == ('ulm_test',)
    with pytest.raises(UserError, match='has no labels: it can be predicted'):
        prepared.examples('test')
    with pytest.raises(UserError, match=r"no split 'train', only val, test: .* after a login"):
        prepared.examples('train')
    assert prepare('cityscapes', data_dir=tmp_path / 'data', manual_dir=tmp_path / 'zips', progress=False)


def test_voc_tar_with_the_augmented_masks_zip_beside_it(make_voc, tmp_path):
    devkit = make_voc()
    for number in range(5):
        save_png(tmp_path / f'aug/SegmentationClassAug/img_{number}.png', np.full((20, 30), 1, np.uint8))
    image_sizes = ((20, 30), (24, 18), (30, 30), (16, 25), (28, 22))
    for number, size in enumerate(image_sizes):
        save_png(tmp_path / f'aug/SegmentationClassAug/img_{number}.png', np.full(size, 1, np.uint8))
    folder = tmp_path / 'archives'
    shutil.make_archive(str(folder / 'SegmentationClassAug'), 'zip', tmp_path / 'aug')
    with tarfile.open(folder / 'VOCtrainval.tar', 'w') as tar:
        tar.add(devkit, arcname='VOCdevkit')
    prepared = prepare('pascal_voc', data_dir=tmp_path / 'data', manual_dir=folder, progress=False)
    assert prepared.splits == ('train', 'train_aug', 'val')
    assert prepared.examples('train_aug').ids == ('img_0', 'img_1', 'img_2')  # All masks but those of val.


def test_voc_says_what_to_do_for_train_aug_and_test_needs_no_masks(make_voc, tmp_path):
    devkit = make_voc()
    (devkit / 'VOC2012/ImageSets/Segmentation/test.txt').write_text('img_3\n')
    (devkit / 'VOC2012/SegmentationClass/img_4.png').rename(devkit / 'VOC2012/SegmentationClass/kept.png')
    (devkit / 'VOC2012/ImageSets/Segmentation/val.txt').write_text('img_3\n')
    prepared = prepare('pascal_voc', data_dir=tmp_path / 'data', manual_dir=devkit, progress=False)
    assert len(prepared.examples('test', labelled=False)) == 1
    expected = r"no split 'train_aug', .*: put the masks .* SegmentationClassAug or benchmark_RELEASE .*, into VOC2012"
    with pytest.raises(UserError, match=expected):
        prepared.examples('train_aug')


@pytest.mark.parametrize('kind', ['zip', 'tar'])
def test_files_that_are_whole_are_not_unpacked_again(tmp_path, kind):
    (tmp_path / 'files').mkdir()
    for name in ('one', 'two'):
        (tmp_path / 'files' / name).write_bytes(b'12345')
    archive = pathlib.Path(shutil.make_archive(str(tmp_path / 'packed'), kind, tmp_path / 'files'))
    folder = tmp_path / 'unpacked'
    folder.mkdir()
    (folder / 'one').write_bytes(b'abcde')
    (folder / 'two').write_bytes(b'12')
    unpack([archive], folder)
    assert [(folder / name).read_bytes() for name in ('one', 'two')] == [b'abcde', b'12345']


def test_a_damaged_zip_is_told_and_nothing_is_left(tmp_path):
    with zipfile.ZipFile(tmp_path / 'bad.zip', 'w') as packed:
        packed.writestr('file', b'0123456789' * 10)
    data = (tmp_path / 'bad.zip').read_bytes()
    (tmp_path / 'bad.zip').write_bytes(data.replace(b'5678', b'5679', 1))
    with pytest.raises(UserError, match=r'bad\.zip is not a whole tar or zip archive \(Bad CRC-32'):
        unpack([tmp_path / 'bad.zip'], tmp_path / 'unpacked')
    assert not (tmp_path / 'unpacked').exists()


OUTSIDE = '/tmp/deeplab_load_outside'


def hostile_zip(file, name, kind=stat.S_IFREG, content=b'/etc'):
    member = zipfile.ZipInfo(name)
    member.external_attr = (kind | 0o644) << 16
    with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as packed:
        packed.writestr('whole', b'first')
        packed.writestr(member, content, zipfile.ZIP_DEFLATED)


def hostile_tar(file, name, kind=tarfile.REGTYPE, content=b''):
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.size = kind, '/etc', len(content)
    with tarfile.open(file, 'w:gz') as packed:
        packed.addfile(tarfile.TarInfo('whole'))
        packed.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize(
    ('make', 'arguments', 'words'),
    [
        *((hostile_zip, (name,), 'leaves its folder') for name in ('a/../../x', OUTSIDE)),
        *((hostile_tar, (name,), 'leaves its folder') for name in ('a/../../x', OUTSIDE)),
        *((hostile_zip, ('x', kind), 'a link or a device') for kind in (stat.S_IFLNK, stat.S_IFCHR)),
        *((hostile_tar, ('x', kind), 'a link or a device') for kind in (tarfile.SYMTYPE, tarfile.CHRTYPE)),
        (hostile_zip, ('',), 'without a name'),
        (hostile_tar, ('',), 'without a name'),
        (hostile_zip, ('x', stat.S_IFREG, bytes(8 << 20)), 'unpacks to more than'),
        (hostile_tar, ('x', tarfile.REGTYPE, bytes(8 << 20)), 'unpacks to more than'),
    ],
)  # fmt: skip
def test_hostile_archives_are_refused_and_nothing_of_them_is_left(tmp_path, monkeypatch, make, arguments, words):
    monkeypatch.setattr(archives, 'OF_DATA', archives.OF_DATA._replace(always=1 << 20))
    make(tmp_path / 'bad', *arguments)
    with pytest.raises(UserError, match=words):
        unpack([tmp_path / 'bad'], tmp_path / 'unpacked')
    assert [path.name for path in tmp_path.iterdir()] == ['bad']
    assert not pathlib.Path(OUTSIDE).exists()
