"""Every parser of files from outside: how it is given some bytes, and bytes to begin with.

One table for the property-based tests and for `python -m bench.fuzz`. A parser gives a value or raises UserError.
"""

import contextlib
import functools
import gzip
import hashlib
import io
import json
import pathlib
import shutil
import sqlite3
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from absl import flags
from PIL import Image

from deeplab_load.absl_flags import define_flags, from_flags
from deeplab_load.catalog import Architecture
from deeplab_load.config import Config, EvaluateConfig, filled
from deeplab_load.data import archives, label_maps, tfrecords
from deeplab_load.data.folder.classes import read_classes
from deeplab_load.data.journal import Journal
from deeplab_load.data.pairs import CheckedPair, Pair, RawPair, check_pair, decode_index_png, read_lines
from deeplab_load.data.pascal_voc.semantic_boundaries import decode_mask
from deeplab_load.data.photographs import read_photograph
from deeplab_load.data.specs import PASCAL_VOC
from deeplab_load.data.stanford_background.builder import decode_regions
from deeplab_load.errors import UserError
from deeplab_load.evaluation.trained import _read_legend, locate
from deeplab_load.lookahead.events import Baseline
from deeplab_load.lookahead.state import LoadState
from deeplab_load.reporting.runs import read_run
from deeplab_load.restore import archive
from deeplab_load.restore.checkpoint import read_checkpoint, write_checkpoint
from deeplab_load.restore.inspection import inspect
from deeplab_load.restore.keras_file import CONFIG, WEIGHTS, require_harmless
from deeplab_load.training.durable import RunDirectory

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 9, 3)).astype(np.uint8)
LABELS = np.random.default_rng(1).integers(0, 21, (12, 9)).astype(np.uint8)
SHARD = 'train.tfrecord-00000-of-00001'
ORIGIN = label_maps.Origin('model', 'data')
VALUES = {'a/weights': np.ones((3, 4), np.float32), 'b/biases': np.ones(4, np.float32), 'global_step': np.int64(7)}


@dataclass(frozen=True)
class Parser:
    """`parse` gets the bytes and an empty folder; `seeds` makes bytes that it takes."""

    parse: Callable[[bytes, pathlib.Path], Any]
    seeds: Callable[[pathlib.Path], list[bytes]]


def saved(picture: Image.Image, kind: str = 'PNG', **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format=kind, **options)
    return buffer.getvalue()


def images(folder: pathlib.Path) -> list[bytes]:
    picture, exif = Image.fromarray(PIXELS), Image.Exif()
    exif[0x0112], exif[0x010E] = 6, 'words'
    return [
        saved(picture, exif=exif),
        saved(picture, 'JPEG', exif=exif),
        saved(picture.convert('CMYK'), 'JPEG', progressive=True),
        saved(picture.quantize(20), transparency=3),
        saved(Image.fromarray(LABELS)),
    ]


def written(content: bytes, file: pathlib.Path) -> pathlib.Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


def photograph(content: bytes, folder: pathlib.Path) -> Any:
    return read_photograph(written(content, folder / 'x.png'))


def pair(content: bytes, folder: pathlib.Path) -> Any:
    raw = RawPair(Pair('x', pathlib.Path('x.jpg'), pathlib.Path('x.png')), content, saved(Image.fromarray(LABELS)))
    return check_pair(raw, PASCAL_VOC, decode_index_png)


def matlab(folder: pathlib.Path) -> list[bytes]:
    """A struct GTcls with a field Segmentation of 2x2 bytes, as in the Semantic Boundaries Dataset."""

    def element(kind: int, data: bytes) -> bytes:
        return struct.pack('<II', kind, len(data)) + data + bytes(-len(data) % 8)

    def matrix(kind: int, name: bytes, *parts: bytes) -> bytes:
        shape = struct.pack('<2i', *((2, 2) if kind == 9 else (1, 1)))
        return element(
            14, b''.join([element(6, bytes([kind]) + bytes(7)), element(5, shape), element(1, name), *parts])
        )

    field = matrix(9, b'', element(2, bytes([0, 1, 2, 3])))
    names = [element(5, struct.pack('<i', 13)), element(1, b'Segmentation\0')]
    return [bytes(128) + matrix(2, b'GTcls', *names, field)]


def classes(content: bytes, folder: pathlib.Path) -> Any:
    return read_classes(written(content, folder / 'classes.txt'))


def checkpoint_index(content: bytes, folder: pathlib.Path) -> Any:
    write_checkpoint(folder / 'model.ckpt', VALUES)
    written(content, folder / 'model.ckpt.index')
    return values_of(folder / 'model.ckpt')


def checkpoint_entry(content: bytes, folder: pathlib.Path) -> Any:
    """An index, right in all its checksums, whose one entry is the bytes."""
    write_checkpoint(folder / 'model.ckpt', VALUES)
    header = bytes.fromhex('08011a020801')
    written(index_of({b'': header, b'a/weights': content}), folder / 'model.ckpt.index')
    return values_of(folder / 'model.ckpt')


def values_of(prefix: pathlib.Path) -> Any:
    found = read_checkpoint(prefix)
    return [found.value(name) for name in found.shapes]


def index_of(entries: dict[bytes, bytes]) -> bytes:
    """A table of entries: one block of them, an empty one of what describes the table, and the index of the blocks."""
    block, place = _block(entries), 0
    data, handles = b'', []
    for part in (block, _block({}), None):
        part = part or _block({max(entries): handles[0]})
        handles.append(_number(len(data)) + _number(len(part) - 5))
        data += part
    place = handles[1] + handles[2]
    return data + place + bytes(40 - len(place)) + struct.pack('<Q', 0xDB4775248B80FB57)


def _block(entries: dict[bytes, bytes]) -> bytes:
    listed = [_number(0) + _number(len(k)) + _number(len(v)) + k + v for k, v in entries.items()]
    starts = [sum(map(len, listed[:i])) for i in range(len(listed))] or [0]
    block = b''.join(listed) + struct.pack(f'<{len(starts) + 1}I', *starts, len(starts)) + b'\0'
    return block + framed(block)[-4:]


def _number(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def framed(record: bytes) -> bytes:
    """A record in a TFRecord file; its last four bytes are TensorFlow's checksum of it."""
    with scratch() as folder:
        file = pathlib.Path(folder) / 'record'
        with tf.io.TFRecordWriter(str(file)) as writer:
            writer.write(record)
        return file.read_bytes()


def scratch() -> tempfile.TemporaryDirectory:
    """An empty folder, in memory where there is one."""
    return tempfile.TemporaryDirectory(dir='/dev/shm' if pathlib.Path('/dev/shm').is_dir() else None)


def indices(folder: pathlib.Path) -> list[bytes]:
    write_checkpoint(folder / 'model.ckpt', VALUES)
    return [(folder / 'model.ckpt.index').read_bytes()]


def entries(folder: pathlib.Path) -> list[bytes]:
    from tensorflow.core.protobuf.tensor_bundle_pb2 import BundleEntryProto

    found = []
    for dtype, shape, offset, size in ((1, (3, 4), 0, 48), (9, (), 0, 8), (7, (2,), 0, 5), (1, (1 << 40,), 0, 1 << 42)):
        entry = BundleEntryProto(dtype=dtype, offset=offset, size=size)
        for side in shape:
            entry.shape.dim.add(size=side)
        found.append(entry.SerializeToString())
    return found


def checkpoint_data(content: bytes, folder: pathlib.Path) -> Any:
    write_checkpoint(folder / 'model.ckpt', VALUES)
    written(content, folder / 'model.ckpt.data-00000-of-00001')
    return values_of(folder / 'model.ckpt')


def data_shards(folder: pathlib.Path) -> list[bytes]:
    write_checkpoint(folder / 'model.ckpt', VALUES)
    return [(folder / 'model.ckpt.data-00000-of-00001').read_bytes()]


def frozen_graph(content: bytes, folder: pathlib.Path) -> Any:
    file = written(content, folder / 'x.pb')
    values_of(file)
    return inspect(file)


def graphs(folder: pathlib.Path) -> list[bytes]:
    graph, named = (
        tf.compat.v1.GraphDef(),
        {'logits/semantic/weights': VALUES['a/weights'], 'x/bias': VALUES['b/biases']},
    )
    for name, value in named.items():
        node = graph.node.add(name=name, op='Const')
        node.attr['value'].tensor.CopyFrom(tf.make_tensor_proto(value))
    graph.node.add(name='c/Conv2D', op='Conv2D', input=['image', 'logits/semantic/weights'])
    graph.node.add(name='c/Identity', op='Identity', input=['c/Conv2D'])
    graph.node.add(name='c/add', op='BiasAdd', input=['c/Identity', 'x/bias'])
    return [graph.SerializeToString(deterministic=True)]


def keras_file(content: bytes, folder: pathlib.Path) -> Any:
    return require_harmless(written(content, folder / 'x.keras'))


def keras_config(content: bytes, folder: pathlib.Path) -> Any:
    return require_harmless(written(zipped({CONFIG: content, WEIGHTS: bytes(3000)}), folder / 'x.keras'))


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w', zipfile.ZIP_DEFLATED) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return buffer.getvalue()


def configs(folder: pathlib.Path) -> list[bytes]:
    layer = {'module': 'keras.layers', 'class_name': 'Conv2D', 'build_config': {'input_shape': [None, None, None, 3]}}
    layer['config'] = {'filters': 3, 'kernel_size': [3, 3], 'activation': {'class_name': 'function', 'config': 'relu'}}
    return [
        json.dumps(
            {'class_name': 'Functional', 'module': 'keras.src.models.functional', 'config': {'layers': [layer]}}
        ).encode()
    ]


def keras_files(folder: pathlib.Path) -> list[bytes]:
    return [zipped({CONFIG: configs(folder)[0], WEIGHTS: bytes(3000)})]


def checkpoint_archive(content: bytes, folder: pathlib.Path) -> Any:
    return archive.unpack(written(content, folder / 'x.tar.gz'), folder / 'out')


def data_archive(content: bytes, folder: pathlib.Path) -> Any:
    return archives.unpack([written(content, folder / 'x.tar')], folder / 'out')


def tars(folder: pathlib.Path) -> list[bytes]:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w') as tar:
        for name in ('a/model.ckpt.index', 'a/b'):
            info = tarfile.TarInfo(name)
            info.size = 5
            tar.addfile(info, io.BytesIO(b'hello'))
        link = tarfile.TarInfo('a/link')
        link.type, link.linkname = tarfile.SYMTYPE, '../..'
        tar.addfile(link)
    plain = buffer.getvalue()[:4096]
    return [plain, gzip.compress(plain, mtime=0), zipped({'a/b': b'hello', 'a/c': bytes(100)})]


def tfrecord(content: bytes, folder: pathlib.Path) -> Any:
    file = written(content, folder / 'val-00000-of-00001.tfrecord')
    contents = tfrecords.open_records(tfrecords.find_shards(file.parent), PASCAL_VOC, decode_index_png)
    return [check_pair(raw, contents.spec, contents.decode_labels) for raw in contents.read(contents.pairs['val'])]


def example(content: bytes, folder: pathlib.Path) -> Any:
    return tfrecord(framed(content), folder)


def examples(folder: pathlib.Path) -> list[bytes]:
    values = {tfrecords.IMAGE: images(folder)[0], tfrecords.FILENAME: b'a/x.jpg', tfrecords.LABELS: images(folder)[-1]}
    return [_example(values)]


def _example(values: dict[str, bytes]) -> bytes:
    feature = {k: tf.train.Feature(bytes_list=tf.train.BytesList(value=[v])) for k, v in values.items()}
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString(deterministic=True)


def map_shard(content: bytes, folder: pathlib.Path) -> Any:
    """A shard that its manifest lists as it is."""
    file = written(content, folder / 'g0' / SHARD)
    entry = {'split': 'train', 'count': 1, 'bytes': len(content), 'sha256': hashlib.sha256(content).hexdigest()}
    label_maps._write_manifest(file.parent, ORIGIN, {SHARD: entry})
    return label_maps.read_set(folder, 'g0', ORIGIN)


def map_record(content: bytes, folder: pathlib.Path) -> Any:
    return map_shard(framed(content), folder)


def map_records(folder: pathlib.Path) -> list[bytes]:
    return [label_maps._record('x', LABELS)]


def manifest(content: bytes, folder: pathlib.Path) -> Any:
    label_maps.write_set(folder, 'g0', [label_maps.Shard('train', 0, 1, lambda: [('x', LABELS)])], ORIGIN)
    written(content, folder / 'g0' / 'manifest.json')
    return label_maps.read_set(folder, 'g0', ORIGIN)


def manifests(folder: pathlib.Path) -> list[bytes]:
    label_maps.write_set(folder, 'g0', [label_maps.Shard('train', 0, 1, lambda: [('x', LABELS)])], ORIGIN)
    return [(folder / 'g0' / 'manifest.json').read_bytes()]


def run_file(name: str) -> Callable[[bytes, pathlib.Path], Any]:
    """What goes on with a run, evaluates its best model or reports on it, with one of its files replaced."""

    def parse(content: bytes, folder: pathlib.Path) -> Any:
        shutil.copytree(_run(), folder / 'run')
        written(content, folder / 'run' / name)
        run = RunDirectory(folder / 'run')
        with contextlib.redirect_stdout(io.StringIO()):
            told = [_told(parse) for parse in (lambda: read_run(run.path), lambda: _evaluated(run.path))]
            with run.locked():
                record = run.recover()
                run.adopt_config({'beta_u': 0.5}, unbound=[])
        return told, record

    return parse


def _told(parse: Callable[[], Any]) -> Any:
    try:
        return parse()
    except UserError as error:
        return error


def _evaluated(path: pathlib.Path) -> Any:
    location = locate(str(path), 'checkpoints')
    return filled(EvaluateConfig(), location.run_options, ('dataset', 'data_dir', 'eval_crop_size', 'resize_factor'))


@functools.cache
def _run() -> pathlib.Path:
    """A run directory with two states."""
    run = RunDirectory(pathlib.Path(tempfile.mkdtemp(prefix='run-')) / 'run')
    with run.locked():
        run.adopt_config({'dataset': 'shapes', 'data_dir': 'data', 'eval_crop_size': [], 'beta_u': 0.5}, unbound=[])
        for number in range(2):
            run.save_snapshot('g0', {'a': np.zeros(1)})
            length = run.append(Baseline(miou=number / 10, val_miou=0.2))
            run.write_state({'events_bytes': length, 'load': LoadState.initial(0.5).to_json()}, snapshots=['g0'])
    return run.path


def run_seeds(name: str) -> Callable[[pathlib.Path], list[bytes]]:
    return lambda folder: [(_run() / name).read_bytes()]


def flagfile(content: bytes, folder: pathlib.Path) -> Any:
    values = flags.FlagValues()
    define_flags(Config, values)
    try:
        values(['main', f'--flagfile={written(content, folder / "x.cfg")}'])
    except (flags.Error, OSError, UnicodeDecodeError) as error:  # As commands._parse tells them.
        raise UserError(str(error)[:99]) from error
    return from_flags(Config, values)


def journal(content: bytes, folder: pathlib.Path) -> Any:
    try:
        with Journal(written(content, folder / 'journal')) as opened:
            return opened.get('a')
    except sqlite3.OperationalError as error:  # As the preparation tells it.
        raise UserError(str(error)) from error


def journals(folder: pathlib.Path) -> list[bytes]:
    with Journal(folder / 'journal') as opened:
        opened.add('a', CheckedPair((3, 4), b'map', np.arange(256)))
    return [(folder / 'journal').read_bytes()]


def legend(content: bytes, folder: pathlib.Path) -> Any:
    return _read_legend(written(content, folder / 'classes.json'))


def architecture(content: bytes, folder: pathlib.Path) -> Any:
    """The original's flags in its spellings, one a line."""
    lines = content.decode(errors='replace').splitlines()
    return Architecture.from_flags(dict(line.partition('=')[::2] for line in lines))


PARSERS = {
    'photograph': Parser(photograph, images),
    'image': Parser(pair, images),
    'mask': Parser(lambda content, folder: decode_index_png(content, pathlib.Path('x.png')), images),
    'semantic boundaries': Parser(lambda content, folder: decode_mask(content, pathlib.Path('x.mat')), matlab),
    'regions': Parser(
        lambda content, folder: decode_regions(content, pathlib.Path('x.regions.txt')),
        lambda folder: [b'0 1 -1\n7 2 3\n'],
    ),
    'classes.txt': Parser(classes, lambda folder: [b'road 128 64 128\nvoid 0 0 0\n', b'a\nb\n']),
    'list': Parser(
        lambda content, folder: read_lines(written(content, folder / 'train.txt')), lambda folder: [b'im 1\nim_2\n']
    ),
    'checkpoint index': Parser(checkpoint_index, indices),
    'checkpoint entry': Parser(checkpoint_entry, entries),
    'checkpoint data': Parser(checkpoint_data, data_shards),
    'frozen graph': Parser(frozen_graph, graphs),
    'keras file': Parser(keras_file, keras_files),
    'keras config': Parser(keras_config, configs),
    'checkpoint archive': Parser(checkpoint_archive, tars),
    'data archive': Parser(data_archive, tars),
    'tfrecord': Parser(tfrecord, lambda folder: [framed(record) for record in examples(folder)]),
    'example': Parser(example, examples),
    'label-map shard': Parser(map_shard, lambda folder: [framed(record) for record in map_records(folder)]),
    'label-map record': Parser(map_record, map_records),
    'manifest': Parser(manifest, manifests),
    'state': Parser(run_file('state.json'), run_seeds('state.json')),
    'events': Parser(run_file('events.jsonl'), run_seeds('events.jsonl')),
    'config': Parser(run_file('config.json'), run_seeds('config.json')),
    'flagfile': Parser(flagfile, lambda folder: [b'# a\n--dataset=shapes\n--beta_u=0.1\n--eval_crop_size=3,4\n']),
    'journal': Parser(journal, journals),
    'legend': Parser(legend, lambda folder: [b'{"classes": ["a", "b"], "colours": [[1, 2, 3], [4, 5, 6]]}']),
    'flags of a network': Parser(architecture, lambda folder: [b'model_variant=mobilenet_v2\natrous_rates=6,12\n']),
}
