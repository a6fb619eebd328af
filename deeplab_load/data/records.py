"""TFRecord files, whose framing is checked before TensorFlow reads them: it allocates whatever length a record claims.

A record is its length (uint64, little-endian), a checksum of that, its bytes, and a checksum of these.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError

from deeplab_load.errors import UserError

ADVICE = 'replace it by a whole one'
HEADER, TRAILER = 12, 4  # Bytes of a record before and after its data.


def read_examples(path: Path) -> Iterator[tf.train.Example]:
    """The examples in a file, whose checksums are verified.

    Raises:
        UserError: it is missing, cut or damaged, or a record is no example.
    """
    try:
        _require_whole(path)
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            yield tf.train.Example.FromString(record)
    except DecodeError as error:
        raise UserError(f'{path} holds records that are no tf.train.Example; {ADVICE}.') from error
    except (OSError, tf.errors.OpError) as error:
        raise UserError(f'{path} is cut or damaged; {ADVICE}.') from error


def records_at(file: tf.Tensor | str, offset: tf.Tensor, count: int) -> tf.Tensor:
    """The data of so many records of a TFRecord file, string `[count]`, from the one on that begins at an offset.

    An error where the file is cut there or a record is damaged, by its checksum.
    """
    variant = tf.raw_ops.TFRecordDatasetV2(
        filenames=file, compression_type='', buffer_size=tf.constant(0, tf.int64), byte_offsets=offset
    )
    records = tf.data.experimental.from_variant(variant, tf.TensorSpec([], tf.string))
    return records.take(count).batch(count, drop_remainder=True).get_single_element()


def _require_whole(path: Path) -> None:
    """Raises OSError unless every record ends within the file."""
    size, place = path.stat().st_size, 0
    with path.open('rb') as file:
        while place < size:
            file.seek(place)
            header = file.read(HEADER)
            if len(header) == HEADER:
                place += HEADER + struct.unpack('<Q', header[:8])[0] + TRAILER
            if len(header) < HEADER or place > size:
                raise OSError('its last record is cut')
