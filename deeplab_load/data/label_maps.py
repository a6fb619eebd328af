"""Label-map sets: one model's hard maps of all training and hold-out images, as sharded TFRecords with a manifest.

A set is a folder `<buffer>/<name>/` that is written under a temporary name and renamed when whole. Shards are named
train.tfrecord-00000-of-00004; each record is a tf.train.Example of image_id, height, width and label_map (PNG).
"""

import dataclasses
import hashlib
import json
import os
import re
import shutil
import struct
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from deeplab_load import files
from deeplab_load.background import in_background
from deeplab_load.data.pairs import encode_label_map
from deeplab_load.data.records import HEADER, TRAILER, records_at
from deeplab_load.errors import UserError
from deeplab_load.files import read_json, sync
from deeplab_load.shortages import tensorflow_writes

MANIFEST = 'manifest.json'
FORMAT_VERSION = 1
_SHARD = re.compile(r'[a-z0-9_]+\.tfrecord-\d{5}-of-\d{5}')
_ENTRY = {'split': str, 'count': int, 'bytes': int, 'sha256': str}  # Of a shard in the manifest.
DELETE = 'delete {}, and it is made again'
REPAIR = 'the same command with --repair makes it as it was.'


# Where a record lies in a shard, in bytes, and the CRC-32 by which it is known again.
_PLACE = np.dtype([('shard', np.int32), ('offset', np.int64), ('length', np.int32), ('crc', np.uint32)])


@dataclass(frozen=True)
class Index:
    """Where the label maps of a split lie: `places` `[maps]` has a row for each of `ids`, in files of `shards`."""

    ids: tuple[str, ...] = ()
    shards: tuple[Path, ...] = ()
    places: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, _PLACE), repr=False)


@dataclass(frozen=True)
class LabelMapSet:
    """A set whose shards have been checked against its manifest; its maps are read when asked for."""

    name: str
    manifest: Mapping
    indices: Mapping[str, Index] = dataclasses.field(repr=False)

    def ids(self, split: str) -> tuple[str, ...]:
        """The image ids of a split."""
        return self.indices[split].ids

    def rows(self, split: str, image_ids: Sequence[str]) -> np.ndarray:
        """The numbers, int64, under which `read` gives the maps of images; raises UserError if it has not all."""
        wanted = {image_id: place for place, image_id in enumerate(image_ids)}
        rows = np.full(len(image_ids), -1)
        for row, image_id in enumerate(self.indices.get(split, Index()).ids):
            if image_id in wanted:
                rows[wanted[image_id]] = row
        if (rows < 0).any():
            missing = image_ids[int(np.argmin(rows))]
            raise UserError(f'Label-map set {self.name!r} has no map of image {missing!r} in {split!r}.')
        return rows

    def shards(self, split: str) -> tuple[Path, ...]:
        """The files of a split, absolute."""
        return tuple(path.absolute() for path in self.indices[split].shards)

    def place(self, split: str, row: int) -> tuple[int, int]:
        """The number of the shard that has a map, and the byte at which its record begins there."""
        place = self.indices[split].places[row]
        return int(place['shard']), int(place['offset']) - HEADER

    def read(self, split: str, row: int) -> bytes:
        """A label map as a grey 8-bit PNG; raises UserError if the shard has changed since it was checked."""
        index = self.indices[split]
        place = index.places[row]
        path, length = index.shards[place['shard']], int(place['length'])
        try:
            with open(path, 'rb') as file:
                record = os.pread(file.fileno(), length, int(place['offset']))
        except OSError as error:
            raise UserError(f'{path} cannot be read: {error.strerror}; {REPAIR}') from error
        if zlib.crc32(record) != place['crc']:
            raise UserError(f'{path} is stale: it has changed since it was read; {REPAIR}')
        return _features(record)['label_map'].bytes_list.value[0]

    def png(self, split: str, image_id: str) -> bytes:
        """An image's label map as a grey 8-bit PNG; raises UserError if the set has none."""
        return self.read(split, int(self.rows(split, [image_id])[0]))


def map_in_graph(shard: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """In a graph: the label map, a grey 8-bit PNG, of the record that begins at a byte of a shard."""
    record = records_at(shard, start, 1)[0]
    return tf.io.parse_single_example(record, {'label_map': tf.io.FixedLenFeature([], tf.string)})['label_map']


@dataclass(frozen=True)
class Shard:
    """The `index`-th of a split's `count` shards: whose maps it holds, as (image id, uint8 `[height, width]`)."""

    split: str
    index: int
    count: int
    maps: Callable[[], Iterable[tuple[str, np.ndarray]]]

    @property
    def name(self) -> str:
        """The name of its file."""
        return f'{self.split}.tfrecord-{self.index:05d}-of-{self.count:05d}'


@dataclass(frozen=True)
class Origin:
    """What a set was made by and of: fingerprints of the model and of the data."""

    model: str
    data: str


def write_set(folder: str | os.PathLike, name: str, shards: Sequence[Shard], origin: Origin) -> Path:
    """Writes the set `name` into `folder`, replacing one of another origin, and gives its path.

    The same maps give the same bytes. The set is on the disk before it takes its name. Where the writing was stopped,
    it goes on after the last whole shard; a set of this origin that is there is left as it is.

    Raises:
        UserError: the disk is full, or the folder cannot be written; what is there goes on from its whole shards.
    """
    buffer = Path(folder)
    final, partial = buffer / name, buffer / f'.{name}.partial'
    if _origin(final) == origin:
        return final
    if _origin(partial) != origin:
        files.remove(partial)
    entries = _whole_shards(partial) if partial.exists() else {}
    for shard in shards:
        if shard.name not in entries:
            entries[shard.name] = _write_shard(partial / shard.name, shard)
            _write_manifest(partial, origin, entries)
    return _publish(buffer, name)


def _publish(buffer: Path, name: str) -> Path:
    """Gives a set that is written the name it is known by, instead of one that has it; gives its path."""
    final = buffer / name
    with files.writing(final):
        delete_set(buffer, name)
        (buffer / f'.{name}.partial').rename(final)
        sync(buffer)
    return final


def is_made(folder: str | os.PathLike, name: str, origin: Origin) -> bool:
    """Whether the set `name` of this origin is there."""
    return _origin(Path(folder) / name) == origin


def part_name(name: str, worker: int, workers: int) -> str:
    """The name of the set in which a worker writes its shards of the set `name`."""
    return f'.{name}.part-{worker}-of-{workers}'


def join_sets(folder: str | os.PathLike, name: str, parts: Sequence[str], origin: Origin) -> Path:
    """Makes the set `name` of the shards of several sets of its origin, which are deleted; gives its path.

    Raises:
        UserError: a set is not there, of another origin or damaged, or the folder cannot be written.
    """
    buffer = Path(folder)
    partial = buffer / f'.{name}.partial'
    files.remove(partial)
    entries: dict[str, dict] = {}
    for part in parts:
        manifest = read_set(buffer, part, origin).manifest
        for shard in manifest['shards']:
            with files.replacing(partial / shard) as copy:
                shutil.copyfile(buffer / part / shard, copy)
        entries |= manifest['shards']
    _write_manifest(partial, origin, entries)
    final = _publish(buffer, name)
    for part in parts:
        delete_set(buffer, part)
    return final


def repair_set(folder: str | os.PathLike, name: str, shards: Sequence[Shard], origin: Origin) -> tuple[str, ...]:
    """Makes the shards of a set that are not as the manifest lists them again; what is extra is deleted.

    Returns:
        The names of these shards.

    Raises:
        UserError: the set is not there or of another origin, or a shard came out otherwise than it was.
    """
    path = Path(folder) / name
    manifest = _read_manifest(path)
    _check_origin(path, manifest, origin)
    for extra in {entry.name for entry in path.iterdir()} - {MANIFEST, *manifest['shards']}:
        files.remove(path / extra)
    whole = _whole_shards(path)
    damaged = [shard for shard in shards if shard.name not in whole]
    for shard in damaged:
        if _write_shard(path / shard.name, shard) != manifest['shards'].get(shard.name):
            raise UserError(f'{path / shard.name} came out otherwise than the manifest lists it: delete {path}.')
    return tuple(shard.name for shard in damaged)


def delete_set(folder: str | os.PathLike, name: str) -> None:
    """Deletes a set, if it is there; stopped in between, it is gone under its name all the same."""
    path, removed = Path(folder) / name, Path(folder) / f'.{name}.removed'
    shutil.rmtree(removed, ignore_errors=True)
    if path.exists():
        path.rename(removed)
        shutil.rmtree(removed)


def list_sets(folder: str | os.PathLike) -> tuple[str, ...]:
    """The names of the sets in a folder, sorted; half-written and half-deleted ones do not count."""
    return tuple(sorted(path.name for path in Path(folder).glob('*') if not path.name.startswith('.')))


def read_set(folder: str | os.PathLike, name: str, origin: Origin | None = None) -> LabelMapSet:
    """Checks the set `name` and notes where its maps lie; its origin, where given, must be that it was made with.

    Raises:
        UserError: no such set, one made by another model or of other data, or a shard that is missing, cut, swapped,
            extra or stale; the sentence names the shard.
    """
    path = Path(folder) / name
    manifest = _read_manifest(path)
    if origin:
        _check_origin(path, manifest, origin)
    _check_names(path, manifest['shards'])
    splits: dict[str, list[str]] = {}
    for shard, entry in manifest['shards'].items():
        splits.setdefault(entry['split'], []).append(shard)
    return LabelMapSet(name, manifest, {s: _index(path, shards, manifest['shards']) for s, shards in splits.items()})


def _index(path: Path, shards: Sequence[str], listed: Mapping[str, Mapping]) -> Index:
    """The index of a split's shards, each of them checked."""
    ids: list[str] = []
    places = []
    for number, shard in enumerate(shards):
        data = (path / shard).read_bytes()
        _check_bytes(path / shard, data, listed[shard], listed)
        try:
            records = list(_records(data, number))
        except (struct.error, DecodeError, LookupError, UnicodeDecodeError) as error:
            raise UserError(f'{path / shard} holds something else than label maps; {REPAIR}') from error
        if len(records) != listed[shard]['count']:
            raise UserError(
                f'{path / shard} holds {len(records)} maps, the manifest lists {listed[shard]["count"]}; {REPAIR}'
            )
        ids += (image_id for image_id, _ in records)
        places.append(np.array([place for _, place in records], _PLACE))
    return Index(tuple(ids), tuple(path / shard for shard in shards), np.concatenate(places))


def _origin(path: Path) -> Origin | None:
    """What a set, or one half-written, was made by and of; None where there is none."""
    try:
        manifest = _read_manifest(path)
    except UserError:
        return None
    return Origin(manifest['model_fingerprint'], manifest['data_fingerprint'])


def _whole_shards(path: Path) -> dict[str, dict]:
    """The entries of the manifest whose shards are as it lists them."""
    listed = _read_manifest(path)['shards']
    there = {name: entry for name, entry in listed.items() if (path / name).exists()}
    return {name: entry for name, entry in there.items() if _sha256(path / name) == entry['sha256']}


def _write_shard(path: Path, shard: Shard) -> dict:
    """Writes a shard whole or not at all, and gives its entry in the manifest; encodes maps while others are made."""
    records = list(in_background(lambda named: _record(*named), shard.maps()))
    with files.replacing(path) as part, tensorflow_writes(), tf.io.TFRecordWriter(str(part)) as writer:
        for record in records:
            writer.write(record)
    return {'split': shard.split, 'count': len(records), 'bytes': path.stat().st_size, 'sha256': _sha256(path)}


def _write_manifest(folder: Path, origin: Origin, entries: Mapping[str, dict]) -> None:
    manifest = {
        'format_version': FORMAT_VERSION,
        'model_fingerprint': origin.model,
        'data_fingerprint': origin.data,
        'shards': entries,
    }
    files.write_text(folder / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True) + '\n')


def _record(image_id: str, label_map: np.ndarray) -> bytes:
    if label_map.dtype != np.uint8 or label_map.ndim != 2:
        raise ValueError(f'the map of {image_id!r} is {label_map.dtype} {label_map.shape}, not uint8 [height, width]')
    feature = {
        'image_id': tf.train.Feature(bytes_list=tf.train.BytesList(value=[image_id.encode()])),
        'height': tf.train.Feature(int64_list=tf.train.Int64List(value=[label_map.shape[0]])),
        'width': tf.train.Feature(int64_list=tf.train.Int64List(value=[label_map.shape[1]])),
        'label_map': tf.train.Feature(bytes_list=tf.train.BytesList(value=[encode_label_map(label_map)])),
    }
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString(deterministic=True)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _read_manifest(path: Path) -> dict:
    if not path.is_dir():
        raise UserError(f'{path} does not exist: there is no label-map set of that name.')
    manifest = read_json(path / MANIFEST, DELETE.format(path))
    if manifest.get('format_version') != FORMAT_VERSION:
        raise UserError(f'{path / MANIFEST} has another format than this version writes: delete {path}.')
    if not _lists_shards(manifest):
        raise UserError(f'{path / MANIFEST} is damaged; {DELETE.format(path)}.')
    return manifest


def _lists_shards(manifest: Mapping) -> bool:
    """Whether a manifest has all entries that `write_set` writes, with values of their types."""
    shards = manifest.get('shards')
    return (
        {'model_fingerprint', 'data_fingerprint'} <= manifest.keys()
        and isinstance(shards, dict)
        and all(
            _SHARD.fullmatch(name)
            and isinstance(entry, dict)
            and all(isinstance(entry.get(key), kind) for key, kind in _ENTRY.items())
            for name, entry in shards.items()
        )
    )


def _check_origin(path: Path, manifest: Mapping, origin: Origin) -> None:
    for kind, made, expected in (('model', 'by another model', origin.model), ('data', 'of other data', origin.data)):
        if manifest[f'{kind}_fingerprint'] != expected:
            raise UserError(f'{path} is stale: its maps were made {made} than this run has; delete it.')


def _check_names(path: Path, shards: Mapping[str, Mapping]) -> None:
    present = {entry.name for entry in path.iterdir()} - {MANIFEST}
    if missing := sorted(shards.keys() - present):
        raise UserError(f'{path / missing[0]} is missing: the manifest lists this shard; {REPAIR}')
    if extra := sorted(present - shards.keys()):
        raise UserError(f'{path / extra[0]} is extra: the manifest lists no such shard; remove it, or {REPAIR}')


def _check_bytes(path: Path, data: bytes, entry: Mapping, shards: Mapping[str, Mapping]) -> None:
    size, digest = len(data), hashlib.sha256(data).hexdigest()
    if digest == entry['sha256']:
        return
    twins = [shard for shard, other in shards.items() if other['sha256'] == digest]
    if twins:
        raise UserError(f'{path} is swapped: it holds what the manifest lists as {twins[0]}; {REPAIR}')
    if size < entry['bytes']:
        raise UserError(f'{path} is cut: it has {size} bytes, the manifest lists {entry["bytes"]}; {REPAIR}')
    raise UserError(f'{path} is stale: its bytes are not those the manifest lists; {REPAIR}')


def _records(data: bytes, shard: int) -> Iterator[tuple[str, tuple[int, int, int, int]]]:
    """The image ids and places of a TFRecord file's records: 8 bytes of length, 4 of checksum, the record, 4 more."""
    start = 0
    while start < len(data):
        (length,) = struct.unpack_from('<Q', data, start)
        record = data[start + HEADER : start + HEADER + length]
        image_id = _features(record)['image_id'].bytes_list.value[0].decode()
        # An image's id stands in every set of the buffer, and in the examples.
        yield sys.intern(image_id), (shard, start + HEADER, length, zlib.crc32(record))
        start += HEADER + length + TRAILER


def _features(record: bytes) -> Mapping:
    return tf.train.Example.FromString(record).features.feature
