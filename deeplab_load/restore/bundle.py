"""TF1 checkpoint files, whose index is checked before TensorFlow reads it, which allocates whatever an index asks for.

An index is a sorted table in LevelDB's format, uncompressed as TensorFlow writes it: from an empty name to a
`BundleHeaderProto`, and from each variable's name to a `BundleEntryProto` (tensor_bundle.cc).
"""

import itertools
import math
import pathlib
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import tensor_bundle_pb2

from deeplab_load.errors import UserError

LARGEST_INDEX = 1 << 24  # bytes; Xception-71 with momentum has 0.2e6
_FOOTER, _MAGIC = 48, 0xDB4775248B80FB57
_BLOCK_TRAILER = 5  # the kind of compression and a checksum
_LAST_TYPE = 100  # Those above are references.
# What TF's reader raises on damaged files; a read beyond a cut file's end is an IndexError.
_READER_ERRORS = (tf.errors.OpError, IndexError)


class Bundle:
    """The variables of a TF1 checkpoint: names, shapes and types from its index, values from the data shards.

    Raises:
        UserError: the index is cut or altered, or describes what no data can be.
    """

    def __init__(self, prefix: pathlib.Path) -> None:
        self._prefix = prefix
        try:
            header, *entries = _table(_read(prefix))
            if header[0]:
                raise ValueError('its first entry is no header')
            self._shards = tensor_bundle_pb2.BundleHeaderProto.FromString(header[1]).num_shards
            self._entries = {
                name.decode(): tensor_bundle_pb2.BundleEntryProto.FromString(entry) for name, entry in entries
            }
            for name, entry in self._entries.items():
                if not _is_possible(entry, self._shards):
                    raise UserError(f'the checkpoint {prefix} says of {name} what no tensor can be; download it again')
            self._reader = tf.train.load_checkpoint(str(prefix))
        except (*_READER_ERRORS, ValueError, struct.error, DecodeError) as error:
            raise UserError(f'the checkpoint index {prefix}.index is cut or altered; download it again') from error

    def get_variable_to_shape_map(self) -> dict[str, tuple[int, ...]]:
        """The shapes by name."""
        return {name: tuple(dim.size for dim in entry.shape.dim) for name, entry in self._entries.items()}

    def get_variable_to_dtype_map(self) -> dict[str, tf.DType]:
        """The types by name."""
        return {name: tf.as_dtype(entry.dtype) for name, entry in self._entries.items()}

    def get_tensor(self, name: str) -> np.ndarray:
        """The value of a variable, verified by its checksum; raises UserError if its data are missing or damaged."""
        entry = self._entries[name]
        shard = self._prefix.with_name(f'{self._prefix.name}.data-{entry.shard_id:05d}-of-{self._shards:05d}')
        if not shard.exists():
            raise UserError(f'the checkpoint {self._prefix} is incomplete: {shard.name} is missing; download it again')
        try:
            if entry.offset + entry.size > shard.stat().st_size:
                raise IndexError('its data end before')
            return self._reader.get_tensor(name)
        except _READER_ERRORS as error:
            raise UserError(
                f'the checkpoint {self._prefix} is damaged: the data of {name} is cut or altered; download it again'
            ) from error


def _read(prefix: pathlib.Path) -> bytes:
    """The bytes of the index; raises ValueError for a file larger than any."""
    index = prefix.with_name(f'{prefix.name}.index')
    if not index.is_file() or index.stat().st_size > LARGEST_INDEX:
        raise ValueError('it is no index')
    return index.read_bytes()


def _table(data: bytes) -> list[tuple[bytes, bytes]]:
    """The entries of a table; raises ValueError or struct.error for one that is not whole."""
    if len(data) < _FOOTER or struct.unpack('<Q', data[-8:])[0] != _MAGIC:
        raise ValueError('its end is missing')
    place = len(data) - _FOOTER
    _, place = _handle(data, place)  # of what describes the table, in which TensorFlow writes nothing
    index, _ = _handle(data, place)
    handles = [_handle(handle, 0)[0] for _, handle in _block(data, *index)]
    if sum(size for _, size in handles) > len(data):
        raise ValueError('its blocks overlap')
    entries = [entry for start, size in handles for entry in _block(data, start, size)]
    names = [name for name, _ in entries]
    if any(first >= second for first, second in itertools.pairwise(names)):
        raise ValueError('its names are not in order')
    return entries


def _handle(data: bytes, place: int) -> tuple[tuple[int, int], int]:
    """Where a block starts and its size, and where what follows the two numbers starts."""
    start, place = _number(data, place)
    size, place = _number(data, place)
    return (start, size), place


def _number(data: bytes, place: int) -> tuple[int, int]:
    """A variable-length number, and where what follows it starts."""
    value = 0
    for shift in range(0, 64, 7):
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise ValueError('it has a number of more than 64 bits')


def _block(data: bytes, start: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Names and values of a block. Names share their beginnings; a list of places to start reading at ends it."""
    if start + size + _BLOCK_TRAILER > len(data) or data[start + size]:
        raise ValueError('a block is cut, or compressed')
    block = data[start : start + size]
    end = size - 4 * (1 + struct.unpack('<I', block[-4:])[0])
    place, name = 0, b''
    while place < end:
        shared, place = _number(block, place)
        own, place = _number(block, place)
        length, place = _number(block, place)
        if shared > len(name) or place + own + length > end:
            raise ValueError('an entry is cut')
        name = name[:shared] + block[place : place + own]
        yield name, block[place + own : place + own + length]
        place += own + length


def _is_possible(entry: Any, shards: int) -> bool:
    """Whether a whole tensor of this type and shape has as many bytes as the index says; a string has one or more."""
    try:
        dtype = tf.as_dtype(entry.dtype)
    except TypeError:
        return False
    sizes = [dim.size for dim in entry.shape.dim]
    if entry.slices or entry.shape.unknown_rank or not dtype.is_numpy_compatible or entry.dtype > _LAST_TYPE:
        return False
    if min(sizes, default=0) < 0 or min(entry.offset, entry.size) < 0 or not 0 <= entry.shard_id < shards:
        return False
    count = math.prod(sizes)
    return count <= entry.size if dtype == tf.string else count * dtype.size == entry.size
