"""TFRecords in the format of the original's build_*_data.py."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from deeplab_load.data.preparation import prepare
from deeplab_load.data.preprocessing import decode_label_map
from deeplab_load.errors import UserError


def encoded(pixels, image_format):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format=image_format)
    return buffer.getvalue()


def write_shards(folder, split, names, labels, *, shards=2, image_format='jpeg'):
    """One record for each name, its label map filled with the label of that place, as the original's scripts do it."""
    folder.mkdir(exist_ok=True)
    each = -(-len(names) // shards)
    for shard in range(shards):
        path = folder / f'{split}-{shard:05d}-of-{shards:05d}.tfrecord'
        with tf.io.TFRecordWriter(str(path)) as writer:
            for number in range(shard * each, min((shard + 1) * each, len(names))):
                writer.write(record(names[number], labels[number], 7 + number, image_format))
    return folder


def record(name, label, height, image_format):
    def bytes_feature(value):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    def int_feature(value):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

    feature = {
        'image/encoded': bytes_feature(encoded(np.full((height, 9, 3), 50, np.uint8), image_format)),
        'image/filename': bytes_feature(name.encode()),
        'image/format': bytes_feature(image_format.encode()),
        'image/height': int_feature(height),
        'image/width': int_feature(9),
        'image/channels': int_feature(3),
        'image/segmentation/class/encoded': bytes_feature(encoded(np.full((height, 9), label, np.uint8), 'png')),
        'image/segmentation/class/format': bytes_feature(b'png'),
    }
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def labels_of(examples):
    return [int(decode_label_map(tf.constant(examples.encoded(i)[1]))[0, 0]) for i in range(len(examples))]


def test_voc_by_the_folder_above_or_itself(tmp_path):
    folder = write_shards(tmp_path / 'tfrecord', 'trainaug', ['2007_000032', '2007_000039', 'x'], [20, 255, 0])
    write_shards(folder, 'val', ['a', 'b'], [3, 4])
    for number, named in enumerate((tmp_path, folder)):
        prepared = prepare('pascal_voc', data_dir=tmp_path / f'data{number}', manual_dir=named, progress=False)
        assert prepared.splits == ('train_aug', 'val')
        assert prepared.examples('train_aug').ids == ('2007_000032', '2007_000039', 'x')
        assert prepared.examples('train_aug').sizes == ((7, 9), (8, 9), (9, 9))
        assert labels_of(prepared.examples('train_aug')) == [20, 255, 0]


def test_cityscapes_holds_train_ids(tmp_path):
    folder = write_shards(
        tmp_path / 'records', 'train_fine', [f'ulm_{n}' for n in range(12)], [*range(12)], shards=10, image_format='png'
    )
    prepared = prepare('cityscapes', data_dir=tmp_path / 'data', manual_dir=folder, progress=False)
    assert labels_of(prepared.examples('train')) == [*range(12)]


def test_ade20k_has_paths_for_names_and_0_for_void(tmp_path):
    folder = write_shards(tmp_path / 'records', 'train', ['./ADE20K/images/ADE_train_00000001.jpg', 'y'], [0, 150])
    prepared = prepare('ade20k', data_dir=tmp_path / 'data', manual_dir=folder, progress=False)
    assert prepared.examples('train').ids == ('ADE_train_00000001', 'y')
    assert labels_of(prepared.examples('train')) == [255, 150]


def cut(folder):
    path = folder / 'val-00000-of-00002.tfrecord'
    path.write_bytes(path.read_bytes()[:-9])


def missing(folder):
    (folder / 'val-00000-of-00002.tfrecord').unlink()


def of_two_sets(folder):
    write_shards(folder, 'val', ['a'], [1], shards=1)


def of_another_kind(folder):
    with tf.io.TFRecordWriter(str(folder / 'val-00001-of-00002.tfrecord')) as writer:
        writer.write(tf.train.Example().SerializeToString())


def no_example(folder):
    with tf.io.TFRecordWriter(str(folder / 'val-00001-of-00002.tfrecord')) as writer:
        writer.write(b'\xff\xff\xff')


def out_of_range(folder):
    write_shards(folder, 'val', ['a', 'b'], [3, 21])


def doubled_name(folder):
    write_shards(folder, 'val', ['a', 'a'], [3, 4])


BAD_INPUT = {
    cut: r'val-00000-of-00002\.tfrecord is cut or damaged',
    missing: r'val-00000-of-00002\.tfrecord is missing: the split has 2 shards',
    of_two_sets: 'does not belong to',
    of_another_kind: 'has a record without image/encoded',
    no_example: r'val-00001-of-00002\.tfrecord holds records that are no tf\.train\.Example',
    out_of_range: r'val-00001-of-00002\.tfrecord/b holds the labels \[21\]',
    doubled_name: "lists 'a' more than once",
}


@pytest.mark.parametrize('spoil', BAD_INPUT, ids=lambda spoil: spoil.__name__)
def test_bad_input_is_told(tmp_path, spoil):
    folder = write_shards(tmp_path / 'records', 'val', ['a', 'b'], [3, 4])
    spoil(folder)
    with pytest.raises(UserError, match=BAD_INPUT[spoil]):
        prepare('pascal_voc', data_dir=tmp_path / 'data', manual_dir=folder, progress=False)


def test_records_of_other_splits_are_no_data_set(tmp_path):
    folder = write_shards(tmp_path / 'records', 'everything', ['a', 'b'], [3, 4])
    with pytest.raises(UserError, match='holds TFRecords of none of the splits train, train_aug, val'):
        prepare('pascal_voc', data_dir=tmp_path / 'data', manual_dir=folder, progress=False)
