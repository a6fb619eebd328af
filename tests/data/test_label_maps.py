"""Label-map sets: written whole, and read only as they were written."""

import dataclasses
import functools
import hashlib
import json
import pathlib
import tracemalloc

import numpy as np
import pytest
import tensorflow as tf

from deeplab_load import files
from deeplab_load.data.label_maps import Origin, Shard, delete_set, list_sets, read_set, repair_set, write_set
from deeplab_load.data.preprocessing import decode_label_map
from deeplab_load.errors import UserError

TRAIN = [f'img_{number}' for number in range(7)]
HOLDOUT = ['img_7', 'img_8']


PARTS = {('train', 0): TRAIN[:3], ('train', 1): TRAIN[3:5], ('train', 2): TRAIN[5:], ('holdout', 0): HOLDOUT}


def shards(label: int = 0, made: list[str] | None = None) -> list[Shard]:
    """Three shards of training maps and one of hold-out maps; `made` notes which of them are asked for."""
    counts = {'train': 3, 'holdout': 1}

    def maps(split, index):
        if made is not None:
            made.append(f'{split} {index}')
        for place, image_id in enumerate(PARTS[split, index]):
            yield image_id, np.full((3 + place, 5), label + index, np.uint8)

    return [Shard(split, i, counts[split], functools.partial(maps, split, i)) for split, i in PARTS]


def write(folder: pathlib.Path, name: str = 'g0', label: int = 0, model: str = 'model') -> pathlib.Path:
    return write_set(folder, name, shards(label), Origin(model, 'data'))


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def shard(folder: pathlib.Path, number: int) -> pathlib.Path:
    return folder / f'train.tfrecord-{number:05d}-of-00003'


def records(path: pathlib.Path) -> list[bytes]:
    return list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())


def test_maps_come_back(tmp_path):
    write(tmp_path)
    maps = read_set(tmp_path, 'g0', Origin('model', 'data'))
    assert sorted(maps.ids('train')) == TRAIN
    assert sorted(maps.ids('holdout')) == HOLDOUT
    for part in shards():
        for image_id, expected in part.maps():
            np.testing.assert_array_equal(decode_label_map(tf.constant(maps.png(part.split, image_id))), expected)
    with pytest.raises(UserError, match="'g0' has no map of image 'img_7' in 'train'"):
        maps.png('train', 'img_7')


def test_rows_are_found_in_any_order_and_read_from_the_disk(tmp_path):
    folder = write(tmp_path)
    maps = read_set(tmp_path, 'g0')
    rows = maps.rows('train', ['img_5', 'img_0'])
    values = [decode_label_map(tf.constant(maps.read('train', int(row)))).numpy()[0, 0] for row in rows]
    assert values == [2, 0]
    with pytest.raises(UserError, match="no map of image 'x' in 'train'"):
        maps.rows('train', ['img_1', 'x'])
    stale(folder)
    with pytest.raises(UserError, match=r'train\.tfrecord-00000-of-00003 is stale: it has changed since'):
        maps.read('train', int(rows[1]))
    missing(folder)
    with pytest.raises(UserError, match=r'train\.tfrecord-00000-of-00003 cannot be read: No such file'):
        maps.read('train', int(rows[1]))


def test_a_map_takes_no_more_memory_than_its_place(tmp_path):
    images = [(f'img_{number}', np.zeros((64, 64), np.uint8)) for number in range(256)]
    write_set(tmp_path, 'g0', [Shard('train', 0, 1, lambda: images)], Origin('m', 'd'))
    read_set(tmp_path, 'g0')  # What TensorFlow and others keep from a first time on.
    tracemalloc.start()
    maps = read_set(tmp_path, 'g0')
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(maps.ids('train')) == 256
    assert kept < 256 * 100 + 10_000


@pytest.mark.parametrize('content', [b'something else', b'\5' + bytes(7) + b'crc.\xff\xff\xff\xff\xffcrc.'])
def test_a_shard_that_holds_something_else_is_refused_even_if_the_manifest_lists_it(tmp_path, content):
    folder = write(tmp_path)
    shard(folder, 0).write_bytes(content)
    manifest = json.loads((folder / 'manifest.json').read_text())
    manifest['shards'][shard(folder, 0).name]['sha256'] = hashlib.sha256(content).hexdigest()
    (folder / 'manifest.json').write_text(json.dumps(manifest))
    with pytest.raises(UserError, match='00000-of-00003 holds something else than label maps'):
        read_set(tmp_path, 'g0')


def test_what_goes_wrong_while_a_map_is_encoded_or_made_is_told(tmp_path):
    def maps():
        yield 'a', np.zeros((2, 2), np.uint8)
        raise UserError('no more')

    with pytest.raises(UserError, match='no more'):
        write_set(tmp_path, 'g0', [Shard('train', 0, 1, maps)], Origin('m', 'd'))
    assert list_sets(tmp_path) == ()


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
    assert example['image_id'].bytes_list.value[0] == b'img_3'
    assert (example['height'].int64_list.value[0], example['width'].int64_list.value[0]) == (3, 5)


def test_same_maps_give_the_same_bytes(tmp_path):
    assert contents(write(tmp_path, 'a')) == contents(write(tmp_path, 'b'))
    assert contents(write(tmp_path, 'a')) != contents(write(tmp_path, 'c', label=1))


def test_writing_again_replaces_the_set(tmp_path):
    write(tmp_path)
    write(tmp_path, label=5, model='other')
    assert read_set(tmp_path, 'g0').manifest['model_fingerprint'] == 'other'
    assert [path.name for path in tmp_path.iterdir()] == ['g0']


def test_a_set_of_the_same_origin_is_left_as_it_is(tmp_path):
    write(tmp_path)
    made = []
    write_set(tmp_path, 'g0', shards(made=made), Origin('model', 'data'))
    assert made == []


def stopping(label=0):
    """Shards of which the third stops the writing."""

    def stop():
        raise KeyboardInterrupt

    first, second, third, fourth = shards(label)
    return [first, second, dataclasses.replace(third, maps=stop), fourth]


def test_writing_that_stops_midway_leaves_no_set_and_goes_on_after_the_last_whole_shard(tmp_path):
    expected = contents(write(tmp_path / 'undisturbed'))
    with pytest.raises(KeyboardInterrupt):
        write_set(tmp_path, 'g0', stopping(), Origin('model', 'data'))
    assert list_sets(tmp_path) == ('undisturbed',)
    shard(tmp_path / '.g0.partial', 1).write_bytes(b'cut')
    made = []
    write_set(tmp_path, 'g0', shards(made=made), Origin('model', 'data'))
    assert made == ['train 1', 'train 2', 'holdout 0']
    assert contents(tmp_path / 'g0') == expected
    assert not (tmp_path / '.g0.partial').exists()


def test_what_another_model_left_midway_is_not_gone_on_with(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        write_set(tmp_path, 'g0', stopping(label=4), Origin('other', 'data'))
    write(tmp_path)
    assert contents(tmp_path / 'g0') == contents(write(tmp_path, 'again'))


def test_everything_is_on_the_disk_before_the_set_takes_its_name(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(files, 'sync', lambda path: synced.append((path.name, list_sets(tmp_path))))
    write(tmp_path)
    assert all(names == () for _, names in synced)
    assert {name for name, _ in synced} >= {'.part-manifest.json', '.part-train.tfrecord-00002-of-00003', '.g0.partial'}


def test_deleted_sets_are_gone_and_deleting_twice_is_no_error(tmp_path):
    write(tmp_path)
    write(tmp_path, 'end-1')
    for _ in range(2):
        delete_set(tmp_path, 'g0')
    assert list_sets(tmp_path) == ('end-1',)
    assert [path.name for path in tmp_path.iterdir()] == ['end-1']


def test_maps_that_are_no_label_maps_are_refused(tmp_path):
    part = Shard('train', 0, 1, lambda: [('x', np.zeros((2, 2), np.int32))])
    with pytest.raises(ValueError, match="map of 'x' is int32"):
        write_set(tmp_path, 'g0', [part], Origin('m', 'd'))


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
    no_manifest: r'manifest\.json cannot be read: No such file or directory',
    cut_manifest: r'manifest\.json is damaged',
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
        read_set(tmp_path, 'g0', Origin('x', 'data'))
    with pytest.raises(UserError, match='g0 is stale: its maps were made of other data'):
        read_set(tmp_path, 'g0', Origin('model', 'x'))


def test_a_set_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match='there is no label-map set of that name'):
        read_set(tmp_path, 'g0')


REPAIRABLE = [damage for damage in DAMAGE if 'manifest' not in damage.__name__ and damage is not other_format]


@pytest.mark.parametrize('damage', REPAIRABLE, ids=lambda damage: damage.__name__)
def test_repair_makes_exactly_the_damaged_shards_again(tmp_path, damage):
    folder = write(tmp_path)
    expected, made = contents(folder), []
    damage(folder)
    names = [shard(folder, number).name for number in range(3)]
    damaged = [f'train {n}' for n, name in enumerate(names) if contents(folder).get(name) != expected[name]]
    repaired = repair_set(tmp_path, 'g0', shards(made=made), Origin('model', 'data'))
    assert made == damaged
    assert repaired == tuple(names[int(name[-1])] for name in damaged)
    assert contents(folder) == expected


def test_repair_refuses_what_another_model_would_make(tmp_path):
    folder = write(tmp_path)
    missing(folder)
    with pytest.raises(UserError, match='g0 is stale: its maps were made by another model'):
        repair_set(tmp_path, 'g0', shards(), Origin('x', 'data'))
    with pytest.raises(UserError, match='00000-of-00003 came out otherwise than the manifest lists it'):
        repair_set(tmp_path, 'g0', shards(label=9), Origin('model', 'data'))
