"""Label-map sets: written whole, and read only as they were written."""

import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from deeplab_load.data import label_maps
from deeplab_load.data.label_maps import delete_set, list_sets, read_set, write_set
from deeplab_load.data.preprocessing import decode_label_map
from deeplab_load.errors import UserError

TRAIN = [f'img_{number}' for number in range(7)]
HOLDOUT = ['img_7', 'img_8']


def make_maps(label: int = 0):
    for split, image_ids in (('train', TRAIN), ('holdout', HOLDOUT)):
        for number, image_id in enumerate(image_ids):
            yield split, image_id, np.full((3 + number, 5), label + number, np.uint8)


def write(folder: pathlib.Path, name: str = 'g0', label: int = 0, model: str = 'model') -> pathlib.Path:
    shards = {'train': 3, 'holdout': 1}
    return write_set(folder, name, make_maps(label), model_fingerprint=model, data_fingerprint='data', shards=shards)


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def shard(folder: pathlib.Path, number: int) -> pathlib.Path:
    return folder / f'train.tfrecord-{number:05d}-of-00003'


def records(path: pathlib.Path) -> list[bytes]:
    return list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())


def test_maps_come_back(tmp_path):
    write(tmp_path)
    maps = read_set(tmp_path, 'g0', model_fingerprint='model', data_fingerprint='data')
    assert sorted(maps.ids('train')) == TRAIN
    assert sorted(maps.ids('holdout')) == HOLDOUT
    for split, image_id, expected in make_maps():
        np.testing.assert_array_equal(decode_label_map(tf.constant(maps.png(split, image_id))), expected)
    with pytest.raises(UserError, match="'g0' has no map of image 'img_7' in 'train'"):
        maps.png('train', 'img_7')


def test_files_are_named_and_listed_as_promised(tmp_path):
    folder = write(tmp_path)
    names = ['holdout.tfrecord-00000-of-00001', *(f'train.tfrecord-{n:05d}-of-00003' for n in range(3))]
    assert sorted(contents(folder)) == sorted(['manifest.json', *names])
    manifest = json.loads((folder / 'manifest.json').read_text())
    assert manifest['model_fingerprint'] == 'model'
    assert manifest['data_fingerprint'] == 'data'
    assert {name: manifest['shards'][name]['count'] for name in names} == dict(zip(names, [2, 3, 2, 2], strict=True))
    assert all(entry['bytes'] == (folder / name).stat().st_size for name, entry in manifest['shards'].items())


def test_records_hold_the_stated_features(tmp_path):
    example = tf.train.Example.FromString(records(shard(write(tmp_path), 1))[0]).features.feature
    assert set(example) == {'image_id', 'height', 'width', 'label_map'}
    assert example['image_id'].bytes_list.value[0] == b'img_1'
    assert (example['height'].int64_list.value[0], example['width'].int64_list.value[0]) == (4, 5)


def test_same_maps_give_the_same_bytes(tmp_path):
    assert contents(write(tmp_path, 'a')) == contents(write(tmp_path, 'b'))
    assert contents(write(tmp_path, 'a')) != contents(write(tmp_path, 'c', label=1))


def test_writing_again_replaces_the_set(tmp_path):
    write(tmp_path)
    write(tmp_path, label=5, model='other')
    assert read_set(tmp_path, 'g0').manifest['model_fingerprint'] == 'other'
    assert [path.name for path in tmp_path.iterdir()] == ['g0']


def test_writing_that_stops_midway_leaves_no_set(tmp_path):
    def stopping():
        yield from list(make_maps())[:3]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_set(tmp_path, 'g0', stopping(), model_fingerprint='m', data_fingerprint='d', shards={'train': 1})
    assert list_sets(tmp_path) == ()
    assert list_sets(write(tmp_path).parent) == ('g0',)
    assert [path.name for path in tmp_path.iterdir()] == ['g0']


def test_everything_is_on_the_disk_before_the_set_takes_its_name(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(label_maps, 'sync', lambda path: synced.append((path.name, list_sets(tmp_path))))
    write(tmp_path)
    assert [names for _, names in synced] == [()] * 6 + [('g0',)]
    assert {name for name, _ in synced} >= {'manifest.json', '.g0.partial', 'train.tfrecord-00002-of-00003'}


def test_deleted_sets_are_gone_and_deleting_twice_is_no_error(tmp_path):
    write(tmp_path)
    write(tmp_path, 'end-1')
    for _ in range(2):
        delete_set(tmp_path, 'g0')
    assert list_sets(tmp_path) == ('end-1',)
    assert [path.name for path in tmp_path.iterdir()] == ['end-1']


def test_maps_that_are_no_label_maps_are_refused(tmp_path):
    maps = [('train', 'x', np.zeros((2, 2), np.int32))]
    with pytest.raises(ValueError, match="map of 'x' is int32"):
        write_set(tmp_path, 'g0', maps, model_fingerprint='m', data_fingerprint='d', shards={'train': 1})


def cut_between_records(folder: pathlib.Path) -> None:
    path = shard(folder, 0)
    first, *_ = records(path)
    with tf.io.TFRecordWriter(str(path)) as writer:
        writer.write(first)


def cut_within_a_record(folder: pathlib.Path) -> None:
    path = shard(folder, 0)
    path.write_bytes(path.read_bytes()[:-5])


def swapped(folder: pathlib.Path) -> None:
    first, second = (shard(folder, number).read_bytes() for number in (0, 1))
    shard(folder, 0).write_bytes(second)
    shard(folder, 1).write_bytes(first)


def missing(folder: pathlib.Path) -> None:
    shard(folder, 0).unlink()


def extra(folder: pathlib.Path) -> None:
    (folder / 'train.tfrecord-00003-of-00003').write_bytes(shard(folder, 0).read_bytes())


def stale(folder: pathlib.Path) -> None:
    shard(folder, 0).write_bytes(shard(write(folder.parent, 'other', label=9), 0).read_bytes())


def flipped_bit(folder: pathlib.Path) -> None:
    data = bytearray(shard(folder, 0).read_bytes())
    data[40] ^= 1
    shard(folder, 0).write_bytes(bytes(data))


def no_manifest(folder: pathlib.Path) -> None:
    (folder / 'manifest.json').unlink()


def cut_manifest(folder: pathlib.Path) -> None:
    path = folder / 'manifest.json'
    path.write_text(path.read_text()[:-20])


def other_format(folder: pathlib.Path) -> None:
    path = folder / 'manifest.json'
    path.write_text(path.read_text().replace('"format_version": 1', '"format_version": 2'))


DAMAGE = {
    cut_between_records: r'train\.tfrecord-00000-of-00003 is cut: it has \d+ bytes, the manifest lists \d+',
    cut_within_a_record: r'train\.tfrecord-00000-of-00003 is cut',
    swapped: r'train\.tfrecord-00000-of-00003 is swapped: .* as train\.tfrecord-00001-of-00003',
    missing: r'train\.tfrecord-00000-of-00003 is missing',
    extra: r'train\.tfrecord-00003-of-00003 is extra',
    stale: r'train\.tfrecord-00000-of-00003 is stale',
    flipped_bit: r'train\.tfrecord-00000-of-00003 is stale',
    no_manifest: r'manifest\.json is missing or damaged',
    cut_manifest: r'manifest\.json is missing or damaged',
    other_format: r'manifest\.json has another format',
}


@pytest.mark.parametrize('damage', DAMAGE, ids=lambda damage: damage.__name__)
def test_damaged_sets_are_refused_by_the_shards_name(tmp_path, damage):
    damage(write(tmp_path))
    with pytest.raises(UserError, match=DAMAGE[damage]) as error:
        read_set(tmp_path, 'g0')
    assert '\n' not in str(error.value)


def test_sets_of_another_model_or_other_data_are_stale(tmp_path):
    write(tmp_path)
    with pytest.raises(UserError, match='g0 is stale: its maps were made by another model'):
        read_set(tmp_path, 'g0', model_fingerprint='x')
    with pytest.raises(UserError, match='g0 is stale: its maps were made of other data'):
        read_set(tmp_path, 'g0', data_fingerprint='x')


def test_a_set_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match='there is no label-map set of that name'):
        read_set(tmp_path, 'g0')
