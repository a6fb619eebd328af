"""Prepared once, from one source, whole or not at all."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from deeplab_load.data.preparation import prepare
from deeplab_load.data.shapes import builder as shapes_builder
from deeplab_load.errors import UserError


def prepare_voc(tmp_path: pathlib.Path, source: pathlib.Path | None):
    return prepare('pascal_voc', data_dir=tmp_path / 'data', manual_dir=source, progress=False)


def test_same_source_is_not_read_again(make_voc, tmp_path):
    devkit = make_voc()
    first = prepare_voc(tmp_path, devkit).examples('train')
    image = devkit / 'VOC2012/JPEGImages/img_0.jpg'
    image.write_bytes(bytes(image.stat().st_size))
    assert prepare_voc(tmp_path, devkit).examples('train').encoded(1) == first.encoded(1)


def test_prepared_data_need_no_source_and_a_moved_source_is_the_same(make_voc, tmp_path):
    devkit = make_voc()
    fingerprint = prepare_voc(tmp_path, devkit).examples('val').fingerprint
    assert prepare_voc(tmp_path, devkit.rename(tmp_path / 'moved')).examples('val').fingerprint == fingerprint
    assert prepare_voc(tmp_path, None).examples('val').fingerprint == fingerprint


def test_another_source_is_refused(make_voc, tmp_path):
    prepare_voc(tmp_path, make_voc())
    other = make_voc('other')
    (other / 'VOC2012/ImageSets/Segmentation/val.txt').write_text('img_3\n')
    with pytest.raises(UserError, match=r'other is not .*VOCdevkit, from which .* was prepared: delete that folder'):
        prepare_voc(tmp_path, other)


def test_a_source_that_has_changed_is_refused(make_voc, tmp_path):
    devkit = make_voc()
    prepare_voc(tmp_path, devkit)
    image = devkit / 'VOC2012/JPEGImages/img_0.jpg'
    image.write_bytes(image.read_bytes() + b'\0')
    with pytest.raises(UserError, match=r'VOCdevkit has changed since .* was prepared: delete that folder'):
        prepare_voc(tmp_path, devkit)


def test_a_missing_record_file_is_noticed(make_voc, tmp_path):
    devkit = make_voc()
    prepare_voc(tmp_path, devkit)
    next((tmp_path / 'data').rglob('*train.array_record*')).unlink()
    with pytest.raises(UserError, match='holds no whole data set: delete this folder'):
        prepare_voc(tmp_path, devkit)


def test_killed_preparation_leaves_nothing_that_is_taken_for_whole(tmp_path, monkeypatch):
    data_dir = tmp_path / 'data'
    code = (
        'from deeplab_load.data.shapes import builder; builder.COUNTS = {"train": 100_000, "val": 1}; '
        f'from deeplab_load.data.preparation import prepare; prepare("shapes", data_dir={str(data_dir)!r})'
    )
    root = pathlib.Path(__file__).resolve().parents[2]
    process = subprocess.Popen([sys.executable, '-c', code], env={**os.environ, 'PYTHONPATH': str(root)})
    while not list(data_dir.glob('shapes/*')) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert list(data_dir.glob('shapes/*'))
    monkeypatch.setattr(shapes_builder, 'COUNTS', {'train': 3, 'val': 2})
    prepared = prepare('shapes', data_dir=data_dir, progress=False)
    assert {split: len(prepared.examples(split)) for split in prepared.splits} == {'train': 3, 'val': 2}
    assert [path.name for path in data_dir.glob('shapes/*')] == ['1.0.0']


def test_preparing_is_silent_where_there_is_no_terminal(make_voc, tmp_path, capfd):
    prepare('pascal_voc', data_dir=tmp_path / 'data', manual_dir=make_voc())
    assert capfd.readouterr() == ('', '')


def test_nothing_reaches_for_the_network(make_voc, tmp_path, monkeypatch):
    def refuse(*arguments):
        raise AssertionError(f'a connection to {arguments}')

    monkeypatch.setattr('socket.socket.connect', refuse)
    monkeypatch.setattr('socket.getaddrinfo', refuse)
    assert prepare_voc(tmp_path, make_voc()).splits == ('train', 'val')
