"""Prepared once, from one source, whole or not at all."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from deeplab_load.data import builder
from deeplab_load.data.journal import Journal
from deeplab_load.data.pairs import check_pair
from deeplab_load.data.preparation import prepare
from deeplab_load.data.shapes import builder as shapes_builder
from deeplab_load.data.sources import Faults
from deeplab_load.errors import UserError
from deeplab_load.training.stopping import Stopped


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
    with pytest.raises(UserError, match=r'other is not .*VOCdevkit, from which .* was prepared: delete the latter'):
        prepare_voc(tmp_path, other)


def test_a_source_that_has_changed_is_refused(make_voc, tmp_path):
    devkit = make_voc()
    prepare_voc(tmp_path, devkit)
    image = devkit / 'VOC2012/JPEGImages/img_0.jpg'
    image.write_bytes(image.read_bytes() + b'\0')
    with pytest.raises(UserError, match=r'VOCdevkit has changed since .* was prepared: delete the latter'):
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
    assert [path.name for path in data_dir.glob('shapes/*')] == ['1.1.0']


def test_preparing_is_silent_where_there_is_no_terminal(make_voc, tmp_path, capfd):
    prepare('pascal_voc', data_dir=tmp_path / 'data', manual_dir=make_voc())
    assert capfd.readouterr() == ('', '')


def test_nothing_reaches_for_the_network(make_voc, tmp_path, monkeypatch):
    def refuse(*arguments):
        raise AssertionError(f'a connection to {arguments}')

    monkeypatch.setattr('socket.socket.connect', refuse)
    monkeypatch.setattr('socket.getaddrinfo', refuse)
    assert prepare_voc(tmp_path, make_voc()).splits == ('train', 'val')


def test_all_faults_are_told_and_what_was_checked_is_not_checked_again(make_voc, tmp_path, monkeypatch):
    root = make_voc() / 'VOC2012'
    whole = {number: (root / f'JPEGImages/img_{number}.jpg').read_bytes() for number in (1, 3)}
    for number, data in whole.items():
        (root / f'JPEGImages/img_{number}.jpg').write_bytes(data[:-40])
    with pytest.raises(Faults, match=r'img_1\.jpg cannot be read: it is cut or damaged; .* There is 1 more') as caught:
        prepare_voc(tmp_path, root)
    assert [name in fault for name, fault in zip(('img_1', 'img_3'), caught.value.sentences, strict=True)] == [True] * 2
    for number, data in whole.items():
        (root / f'JPEGImages/img_{number}.jpg').write_bytes(data)
    checked = []
    monkeypatch.setattr(builder, 'check_pair', lambda raw, *rest: checked.append(raw) or check_pair(raw, *rest))
    prepared = prepare_voc(tmp_path, root)
    assert [raw.pair.image_id for raw in checked] == ['img_1', 'img_3']
    apart = prepare('pascal_voc', data_dir=tmp_path / 'apart', manual_dir=root, progress=False)
    for split in ('train', 'val'):
        assert prepared.examples(split).fingerprint == apart.examples(split).fingerprint
    assert prepared.builder.info.metadata['splits'] == apart.builder.info.metadata['splits']
    assert not list((tmp_path / 'data').glob('.*journal'))


def test_the_journal_survives_a_kill(tmp_path):
    code = (
        'import os, numpy; from pathlib import Path; from deeplab_load.data.journal import *; '
        f'journal = Journal(Path({str(tmp_path / "journal")!r})); '
        '[journal.add(str(n), CheckedPair((n, 2), b"map", numpy.arange(256))) for n in range(100)]; os._exit(1)'
    )
    root = pathlib.Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, '-c', code], env={**os.environ, 'PYTHONPATH': str(root)}, check=False)
    with Journal(tmp_path / 'journal') as journal:
        assert journal.get('63').size == (63, 2)
        assert journal.get('63').pixels.tolist() == list(range(256))
        assert journal.get('99') is None


def test_it_stops_between_two_images_when_asked_and_goes_on(make_voc, tmp_path):
    devkit, looks = make_voc(), []

    def check():
        looks.append(1)
        if len(looks) == 2:
            raise Stopped

    with pytest.raises(Stopped):
        prepare('pascal_voc', data_dir=tmp_path / 'data', manual_dir=devkit, progress=False, check=check)
    assert not list((tmp_path / 'data' / 'pascal_voc').glob('[0-9]*'))
    assert len(prepare_voc(tmp_path, devkit).examples('train')) > 1
