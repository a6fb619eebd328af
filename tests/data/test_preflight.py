"""The check of a data set: what it tells, and what it refuses."""

import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from deeplab_load.data import preflight
from deeplab_load.data.preparation import prepare
from deeplab_load.errors import UserError

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(make_folder):
    """A folder with lists, in which two images occur in both splits and the class `thing` only in training."""
    root = make_folder('mi\nne')
    (root / 'train.txt').write_text('im 0\nim 2\nim 4\n')
    (root / 'val.txt').write_text('im 1\nim 3\nim 2\nim 5\n')
    shutil.copy(root / 'images/im 0.jpg', root / 'images/im 1.png')
    shutil.copy(root / 'masks/im 0.png', root / 'masks/im 1.png')
    return root


def test_histogram_counts_classes_void_and_images(make_folder, tmp_path):
    root = make_folder()
    (root / 'train.txt').write_text('im 0\nim 2\n')
    (root / 'val.txt').write_text('im 4\n')
    for number, labels in enumerate(([0, 0, 0, 1], [1, 1, 255, 255], [255, 255, 255, 0])):
        Image.fromarray(np.array([labels], np.uint8)).save(root / f'masks/im {2 * number}.png')
        Image.new('RGB', (4, 1), (number, 0, 0)).save(root / f'images/im {2 * number}.jpg')
    prepared = prepare('folder', data_dir=tmp_path / 'data', manual_dir=root, progress=False)
    words = [line.split() for line in preflight.histogram_table(prepared).splitlines()[2:]]
    assert words == [
        ['ground', '50.00', '1', '100.00', '1'],
        ['thing', '50.00', '2', '0.00', '0'],
        ['sky', '0.00', '0', '0.00', '0'],
        ['void,', 'of', 'all', '25.00', '1', '75.00', '1'],
        ['all', '2', '1'],
    ]
    assert preflight.remarks(prepared, ('train', 'val')) == [
        'train: 25.00 % of the pixels are void.',
        'train: no pixel of sky.',
        'val: 75.00 % of the pixels are void.',
        'val: no pixel of thing, sky.',
    ]


def test_images_in_two_splits_and_twice_in_one_are_named(folder, tmp_path):
    shutil.copy(folder / 'images/im 3.png', folder / 'images/im 5.png')
    shutil.copy(folder / 'masks/im 3.png', folder / 'masks/im 5.png')
    prepared = prepare('folder', data_dir=tmp_path / 'data', manual_dir=folder, progress=False)
    assert preflight.shared_images(prepared, 'train', 'val') == [
        'val has 2 of its 4 images in common with train: im 0 (as im 1), im 2.'
    ]
    assert preflight.repeated_images(prepared.examples('val')) == [
        'val holds the same image under several names: im 3 = im 5.'
    ]
    assert not preflight.repeated_images(prepared.examples('train'))


def test_a_damaged_record_is_named(make_voc, tmp_path):
    prepared = prepare('pascal_voc', data_dir=tmp_path / 'data', manual_dir=make_voc(), progress=False)
    preflight.check_records(prepared.examples('val'))
    path = next((tmp_path / 'data').rglob('*val.array_record*'))
    data = bytearray(path.read_bytes())
    data[data.index(b'\xff\xd8\xff') + 300] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(UserError, match=r"record of 'img_3' in val of pascal_voc is damaged"):
        preflight.check_records(prepared.examples('val'))


def check(*argv):
    command = [sys.executable, '-m', 'deeplab_load.data', *argv]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def test_the_command_tells_every_fault_by_its_file_and_then_what_is_in_the_data(folder, tmp_path):
    options = ['check', '--dataset=folder', f'--manual_dir={folder}', f'--data_dir={tmp_path / "data"}']
    mask = folder / 'masks/im 3.png'
    whole = mask.read_bytes()
    mask.write_bytes(whole[:-40])
    Image.new('L', (7, 7)).save(folder / 'masks/im 4.png')
    (folder / 'train.txt').write_text('im 0\nim 2\nim 4\n')
    faulty = check(*options)
    assert faulty.returncode == 2
    assert 'masks/im 4.png is 7x7 pixels but its image' in faulty.stdout.splitlines()[0]
    assert 'masks/im 3.png cannot be read: it is no whole PNG file' in faulty.stdout.splitlines()[1]
    assert faulty.stderr.splitlines()[-1] == 'deeplab_load: Faults in folder: 2. Mend them and check again.'
    (folder / 'masks/im 0.png').rename(tmp_path / 'aside.png')
    faulty = check(*options)
    assert faulty.returncode == 2
    assert "masks/im 0.png is missing, although split 'train' has the image 'im 0'" in faulty.stdout.splitlines()[0]
    assert 'masks/im 4.png is 7x7 pixels but its image' in faulty.stdout.splitlines()[1]
    assert 'masks/im 3.png cannot be read: it is no whole PNG file' in faulty.stdout.splitlines()[2]
    assert faulty.stderr.splitlines()[-1] == 'deeplab_load: Faults in folder: 3. Mend them and check again.'
    (tmp_path / 'aside.png').rename(folder / 'masks/im 0.png')
    mask.write_bytes(whole)
    (folder / 'train.txt').write_text('im 0\nim 2\n')
    right = check(*options)
    assert right.returncode == 0
    assert 'No faults: folder, 2 images in train, 4 images in val.' in right.stdout
    assert 'val has 2 of its 4 images in common with train' in right.stdout


def test_the_command_says_what_it_takes():
    outcome = check('chekc')
    assert outcome.returncode == 2
    assert 'give the command `check`' in outcome.stderr
    outcome = check('--help')
    assert outcome.returncode == 0
    assert '`check --help`' in outcome.stdout
    assert '--manual_dir' in check('check', '--help').stdout
