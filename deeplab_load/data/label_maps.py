"""Label-map sets: one model's hard maps of all training and hold-out images, as sharded TFRecords with a manifest.

A set is a folder `<buffer>/<name>/` that is written under a temporary name and renamed when whole. Shards are named
train.tfrecord-00000-of-00004; each record is a tf.train.Example of image_id, height, width and label_map (PNG).
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from deeplab_load.data.pairs import encode_label_map
from deeplab_load.errors import UserError
from deeplab_load.files import sync

MANIFEST = 'manifest.json'
FORMAT_VERSION = 1

Maps = Iterable[tuple[str, str, np.ndarray]]


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


def write_set(
    folder: str | os.PathLike,
    name: str,
    maps: Maps,
    *,
    model_fingerprint: str,
    data_fingerprint: str,
    shards: Mapping[str, int],
) -> Path:
    """Writes the set `name` into `folder`, replacing one of that name, and gives its path.

    `maps` yields (split, image id, uint8 [height, width]); `shards` gives each split's number of shards, to which its
    maps go in turn. The same maps give the same bytes. The set is on the disk before it takes its name.
    """
    buffer = Path(folder)
    partial = buffer / f'.{name}.partial'
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    counts = _write_shards(partial, maps, shards)
    manifest = {
        'format_version': FORMAT_VERSION,
        'model_fingerprint': model_fingerprint,
        'data_fingerprint': data_fingerprint,
        'shards': {shard: _shard_entry(partial / shard, *entry) for shard, entry in counts.items()},
    }
    (partial / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True) + '\n')
    for path in (*partial.iterdir(), partial):
        sync(path)
    delete_set(buffer, name)
    partial.rename(buffer / name)
    sync(buffer)
    return buffer / name


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


def read_set(
    folder: str | os.PathLike,
    name: str,
    *,
    model_fingerprint: str | None = None,
    data_fingerprint: str | None = None,
) -> LabelMapSet:
    """Reads and checks the set `name`; the fingerprints, where given, must be those it was made with.

    Raises:
        UserError: no such set, one made by another model or of other data, or a shard that is missing, cut, swapped,
            extra or stale; the sentence names the shard.
    """
    path = Path(folder) / name
    manifest = _read_manifest(path)
    _check_fingerprint(path, manifest, 'model', model_fingerprint)
    _check_fingerprint(path, manifest, 'data', data_fingerprint)
    _check_names(path, manifest['shards'])
    maps: dict[str, dict[str, bytes]] = {}
    for shard, entry in manifest['shards'].items():
        _check_bytes(path / shard, entry, manifest['shards'])
        maps.setdefault(entry['split'], {}).update(_read_shard(path / shard, entry['count']))
    return LabelMapSet(name, manifest, maps)


def _write_shards(folder: Path, maps: Maps, shards: Mapping[str, int]) -> dict[str, tuple[str, int]]:
    """Writes all shards and gives each one's split and number of maps."""
    names = {split: [_shard_name(split, i, count) for i in range(count)] for split, count in shards.items()}
    splits = {shard: split for split, listed in names.items() for shard in listed}
    counts = dict.fromkeys(splits, 0)
    written = dict.fromkeys(shards, 0)
    with contextlib.ExitStack() as stack:
        writers = {shard: stack.enter_context(tf.io.TFRecordWriter(str(folder / shard))) for shard in counts}
        for split, image_id, label_map in maps:
            shard = names[split][written[split] % shards[split]]
            writers[shard].write(_record(image_id, label_map))
            written[split] += 1
            counts[shard] += 1
    return {shard: (splits[shard], count) for shard, count in counts.items()}


def _shard_name(split: str, index: int, count: int) -> str:
    return f'{split}.tfrecord-{index:05d}-of-{count:05d}'


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


def _shard_entry(path: Path, split: str, count: int) -> dict:
    return {'split': split, 'count': count, 'bytes': path.stat().st_size, 'sha256': _sha256(path)}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _read_manifest(path: Path) -> dict:
    if not path.is_dir():
        raise UserError(f'{path} does not exist: there is no label-map set of that name.')
    try:
        manifest = json.loads((path / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        raise UserError(f'{path / MANIFEST} is missing or damaged: delete the set and have it made again.') from error
    if manifest.get('format_version') != FORMAT_VERSION:
        raise UserError(f'{path / MANIFEST} has another format than this version writes: have the set made again.')
    return manifest


def _check_fingerprint(path: Path, manifest: Mapping, kind: str, expected: str | None) -> None:
    if expected is not None and manifest[f'{kind}_fingerprint'] != expected:
        made = {'model': 'by another model', 'data': 'of other data'}[kind]
        raise UserError(f'{path} is stale: its maps were made {made} than this run has; have the set made again.')


def _check_names(path: Path, shards: Mapping[str, Mapping]) -> None:
    present = {entry.name for entry in path.iterdir()} - {MANIFEST}
    if missing := sorted(shards.keys() - present):
        raise UserError(f'{path / missing[0]} is missing: the manifest lists this shard.')
    if extra := sorted(present - shards.keys()):
        raise UserError(f'{path / extra[0]} is extra: the manifest lists no such shard; remove it.')


def _check_bytes(path: Path, entry: Mapping, shards: Mapping[str, Mapping]) -> None:
    size, digest = path.stat().st_size, _sha256(path)
    if digest == entry['sha256']:
        return
    twins = [shard for shard, other in shards.items() if other['sha256'] == digest]
    if twins:
        raise UserError(f'{path} is swapped: it holds what the manifest lists as {twins[0]}.')
    if size < entry['bytes']:
        raise UserError(f'{path} is cut: it has {size} bytes, the manifest lists {entry["bytes"]}.')
    raise UserError(f'{path} is stale: its bytes are not those the manifest lists; have the set made again.')


def _read_shard(path: Path, count: int) -> dict[str, bytes]:
    maps = dict(_read_records(path))
    if len(maps) != count:
        raise UserError(f'{path} holds {len(maps)} maps, the manifest lists {count}: have the set made again.')
    return maps


def _read_records(path: Path) -> Iterator[tuple[str, bytes]]:
    for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
        feature = tf.train.Example.FromString(record).features.feature
        yield feature['image_id'].bytes_list.value[0].decode(), feature['label_map'].bytes_list.value[0]
