"""TFRecords that the original's build_voc2012_data.py, build_cityscapes_data.py and build_ade20k_data.py wrote.

Files are named `<split>-00000-of-00004.tfrecord`; each record is a tf.train.Example of image/encoded, image/filename,
image/segmentation/class/encoded and more. The labels are those that the networks are trained on (train ids).
"""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath

import tensorflow as tf

from deeplab_load.data.archives import archives_digest
from deeplab_load.data.pairs import DecodeLabels, Pair, RawPair
from deeplab_load.data.records import read_examples
from deeplab_load.data.sources import Contents, check_ids
from deeplab_load.data.specs import DatasetSpec
from deeplab_load.errors import UserError

Shards = Mapping[str, tuple[Path, ...]]

NAME = re.compile(r'(.+)-(\d{5})-of-(\d{5})\.tfrecord')
# The original's names of splits that are others here.
SPLITS = {'train_fine': 'train', 'val_fine': 'val', 'trainaug': 'train_aug'}
IMAGE, FILENAME, LABELS = 'image/encoded', 'image/filename', 'image/segmentation/class/encoded'


def find_shards(folder: Path) -> Shards:
    """The shards of each split in a folder or in its folder tfrecord/; none if it holds none.

    Raises UserError naming a shard that is missing.
    """
    for place in (folder, folder / 'tfrecord'):
        paths = sorted(path for path in place.glob('*.tfrecord') if NAME.fullmatch(path.name))
        if paths:
            return {split: _whole_split(tuple(listed)) for split, listed in itertools.groupby(paths, key=_split)}
    return {}


def _split(path: Path) -> str:
    name = path.name.rpartition('-of-')[0].rpartition('-')[0]
    return SPLITS.get(name, name)


def _whole_split(paths: tuple[Path, ...]) -> tuple[Path, ...]:
    stem, _, count = paths[0].stem.rpartition('-of-')
    names = [f'{stem[:-5]}{number:05d}-of-{count}.tfrecord' for number in range(int(count))]
    present = {path.name for path in paths}
    for name in names:
        if name not in present:
            raise UserError(f'{paths[0].parent / name} is missing: the split has {int(count)} shards.')
    if extra := sorted(present.difference(names)):
        raise UserError(f'{paths[0].parent / extra[0]} does not belong to {names[0]}: remove one of the two sets.')
    return paths


def shards_digest(shards: Shards) -> str:
    """Hex digest of the shards' sizes and of blocks spread over them."""
    return archives_digest([path for paths in shards.values() for path in paths])


def open_records(shards: Shards, spec: DatasetSpec, decode_labels: DecodeLabels) -> Contents:
    """The pairs in the shards, read once for their names.

    Raises UserError naming a shard that is cut or damaged, or that is not of this kind, or shards of no known split.
    """
    pairs = {split: _list_pairs(shards[split]) for split in spec.splits if split in shards}
    if not pairs:
        folder = next(iter(shards.values()))[0].parent
        raise UserError(f'{folder} holds TFRecords of none of the splits {", ".join(spec.splits)} of {spec.name}.')
    return Contents(spec, pairs, read=read_records, decode_labels=decode_labels)


def _list_pairs(paths: Sequence[Path]) -> list[Pair]:
    listed = []
    for path in paths:
        for example in _examples(path):
            listed.append(Pair(_image_id(example[FILENAME].bytes_list.value[0], path), path, path))
    check_ids([pair.image_id for pair in listed], paths[0])
    return listed


def _image_id(filename: bytes, path: Path) -> str:
    """The image id in what ADE20K's scripts wrote, the image's whole path, or the others, its name."""
    try:
        return PurePath(filename.decode()).stem
    except UnicodeDecodeError as error:
        raise UserError(f'{path} names an image by what is no UTF-8 text: {filename!r}; write it again.') from error


def read_records(pairs: Sequence[Pair]) -> Iterator[RawPair]:
    """Reads the records of pairs that lie in their shards in this order."""
    for path, listed in itertools.groupby(pairs, key=lambda pair: pair.image):
        for pair, example in zip(listed, _examples(path), strict=True):
            image, labels = (example[name].bytes_list.value[0] for name in (IMAGE, LABELS))
            # Sentences about a record name it within its shard.
            place = path / pair.image_id
            yield RawPair(Pair(pair.image_id, place, place), image, labels)


def _examples(path: Path) -> Iterator[Mapping[str, tf.train.Feature]]:
    for example in read_examples(path):
        features = example.features.feature
        missing = [name for name in (IMAGE, FILENAME, LABELS) if not features[name].bytes_list.value]
        if missing:
            raise UserError(f"{path} has a record without {missing[0]}: it is not of the original's scripts.")
        yield features
