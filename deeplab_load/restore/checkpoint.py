"""TF1 checkpoint files: an index of names and shapes, and data shards beside it; or a frozen graph instead."""

import glob
import pathlib
import re
from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from deeplab_load.catalog import row_for_path
from deeplab_load.errors import UserError
from deeplab_load.restore.bundle import Bundle
from deeplab_load.restore.frozen_graph import FrozenGraph
from deeplab_load.shortages import tensorflow_writes

FROZEN = '.pb'


class Checkpoint:
    """An open checkpoint: names, shapes and types from its index; values are read, and verified, when asked for."""

    def __init__(self, prefix: pathlib.Path, reader: Bundle | FrozenGraph) -> None:
        self.prefix = prefix
        self.shapes: dict[str, tuple[int, ...]] = dict(sorted(reader.get_variable_to_shape_map().items()))
        self.dtypes: dict[str, tf.DType] = reader.get_variable_to_dtype_map()
        self._reader = reader

    def value(self, name: str) -> np.ndarray:
        """The value of a variable, verified by its checksum.

        Raises:
            UserError: a data shard is missing, cut or altered.
        """
        return np.asarray(self._reader.get_tensor(name))


def read_checkpoint(path: str | pathlib.Path) -> Checkpoint:
    """Opens a checkpoint by its index, so names and shapes can be read where the data shards are absent.

    Args:
        path: the prefix (`model.ckpt`), one of its files, a frozen graph (`*.pb`), or a folder that holds exactly one
            checkpoint or, without any, one frozen graph.

    Raises:
        UserError: there is no checkpoint, or its index or the frozen graph is damaged.
    """
    prefix = resolve_prefix(path)
    if prefix.suffix == FROZEN:
        return Checkpoint(prefix, FrozenGraph(prefix))
    return Checkpoint(prefix, Bundle(prefix))


def resolve_prefix(path: str | pathlib.Path) -> pathlib.Path:
    """The prefix of the checkpoint, or the frozen graph, that a path means: see `read_checkpoint`."""
    given = pathlib.Path(path).expanduser()
    if given.is_dir():
        return _only_prefix(given)
    if given.suffix == FROZEN and given.is_file():
        return given
    prefix = given.with_name(re.sub(r'\.(index|data-\d{5}-of-\d{5})$', '', given.name)) if given.name else given
    if _index(prefix).exists():
        return prefix
    if list(prefix.parent.glob(f'{glob.escape(prefix.name)}.data-*')):
        raise UserError(f'the checkpoint {prefix} is incomplete: {prefix.name}.index is missing; download it again')
    raise UserError(f'there is no checkpoint at {given}: {_download_advice(given)}')


def _index(prefix: pathlib.Path) -> pathlib.Path:
    return prefix.with_name(f'{prefix.name}.index')


def _only_prefix(folder: pathlib.Path) -> pathlib.Path:
    if (folder / 'saved_model.pb').exists():
        raise UserError(f'{folder} is a SavedModel: give the checkpoint that it was exported from')
    found = sorted(path.with_suffix('') for path in folder.glob('*.index')) or sorted(folder.glob(f'*{FROZEN}'))
    if not found:
        raise UserError(f'there is no checkpoint in the folder {folder}: {_download_advice(folder)}')
    if len(found) > 1:
        names = ', '.join(prefix.name for prefix in found)
        raise UserError(f'the folder {folder} holds {len(found)} checkpoints: name one of {names}')
    return found[0]


def _download_advice(path: pathlib.Path) -> str:
    row = row_for_path(path)
    if row is None:
        return 'give another path; `python -m deeplab_load.zoo list` names what can be downloaded'
    return f'get it with `python -m deeplab_load.zoo download {row.name}` and give checkpoints/{row.folder}'


def write_checkpoint(prefix: str | pathlib.Path, values: Mapping[str, ArrayLike]) -> None:
    """Writes the values, bit for bit and with their types, as a TF1 checkpoint of one shard.

    Both files appear under their own names only when written; the index comes last.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    pathlib.Path(prefix).parent.mkdir(parents=True, exist_ok=True)
    names = sorted(values)
    tensors = [tf.convert_to_tensor(values[name]) for name in names]
    with tensorflow_writes():
        tf.raw_ops.SaveV2(prefix=str(prefix), tensor_names=names, shape_and_slices=[''] * len(names), tensors=tensors)
