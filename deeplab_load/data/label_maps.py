"""Label-map sets: one model's hard maps of all training and hold-out images, as sharded TFRecords with a manifest.

A set is a folder `<buffer>/<name>/` that is written under a temporary name and renamed when whole. Shards are named
train.tfrecord-00000-of-00004; each record is a tf.train.Example of image_id, height, width and label_map (PNG).
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from deeplab_load import files
from deeplab_load.data.pairs import encode_label_map
from deeplab_load.data.records import read_examples
from deeplab_load.errors import UserError
from deeplab_load.files import read_json, sync
from deeplab_load.shortages import tensorflow_writes

MANIFEST = 'manifest.json'
FORMAT_VERSION = 1
_SHARD = re.compile(r'[a-z0-9_]+\.tfrecord-\d{5}-of-\d{5}')
_ENTRY = {'split': str, 'count': int, 'bytes': int, 'sha256': str}  # Of a shard in the manifest.
DELETE = 'delete {}, and it is made again'
REPAIR = 'the same command with --repair makes it as it was.'


@dataclass(frozen=True)
class LabelMapSet:
    """A set whose shards have been checked against its manifest; the PNGs are kept in memory."""

    name: str
    manifest: Mapping
    maps: Mapping[str, Mapping[str, bytes]]

    def ids(self, split: str) -> tuple[str, ...]:
        """The image ids of a split."""
        return tuple(self.maps[split])

    def png(self, split: str, image_id: str) -> bytes:
        """An image's label map as a grey 8-bit PNG; raises UserError if the set has none."""
        try:
            return self.maps[split][image_id]
        except KeyError as error:
            raise UserError(f'Label-map set {self.name!r} has no map of image {image_id!r} in {split!r}.') from error


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
    with files.writing(final):
        delete_set(buffer, name)
        partial.rename(final)
        sync(buffer)
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
    """Reads and checks the set `name`; its origin, where given, must be that it was made with.

    Raises:
        UserError: no such set, one made by another model or of other data, or a shard that is missing, cut, swapped,
            extra or stale; the sentence names the shard.
    """
    path = Path(folder) / name
    manifest = _read_manifest(path)
    if origin:
        _check_origin(path, manifest, origin)
    _check_names(path, manifest['shards'])
    maps: dict[str, dict[str, bytes]] = {}
    for shard, entry in manifest['shards'].items():
        _check_bytes(path / shard, entry, manifest['shards'])
        maps.setdefault(entry['split'], {}).update(_read_shard(path / shard, entry['count']))
    return LabelMapSet(name, manifest, maps)


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
    """Writes a shard whole or not at all, and gives its entry in the manifest."""
    records = [_record(image_id, label_map) for image_id, label_map in shard.maps()]
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


def _check_bytes(path: Path, entry: Mapping, shards: Mapping[str, Mapping]) -> None:
    size, digest = path.stat().st_size, _sha256(path)
    if digest == entry['sha256']:
        return
    twins = [shard for shard, other in shards.items() if other['sha256'] == digest]
    if twins:
        raise UserError(f'{path} is swapped: it holds what the manifest lists as {twins[0]}; {REPAIR}')
    if size < entry['bytes']:
        raise UserError(f'{path} is cut: it has {size} bytes, the manifest lists {entry["bytes"]}; {REPAIR}')
    raise UserError(f'{path} is stale: its bytes are not those the manifest lists; {REPAIR}')


def _read_shard(path: Path, count: int) -> dict[str, bytes]:
    maps = dict(_read_records(path))
    if len(maps) != count:
        raise UserError(f'{path} holds {len(maps)} maps, the manifest lists {count}; {REPAIR}')
    return maps


def _read_records(path: Path) -> Iterator[tuple[str, bytes]]:
    for example in read_examples(path, DELETE.format(path.parent)):
        feature = example.features.feature
        try:
            (image_id,), (png,) = (feature[name].bytes_list.value for name in ('image_id', 'label_map'))
            yield image_id.decode(), png
        except ValueError as error:
            raise UserError(f'{path} holds a record that is no label map; {DELETE.format(path.parent)}.') from error
