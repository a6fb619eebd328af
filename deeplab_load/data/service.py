"""Batches that workers of tf.data service make, on this machine or others: the same batches, in the same order.

A worker runs graphs without Python, so that it cannot read prepared examples by number. For it they are copied to a
TFRecord file, in which it reads a record where it begins. All workers must find this file and the label-map sets under
the same path.
"""

import contextlib
import hashlib
import itertools
import json
import queue
import socket
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from deeplab_load import files
from deeplab_load.data.records import HEADER, TRAILER, records_at
from deeplab_load.errors import UserError
from deeplab_load.models.passing import one_by_one
from deeplab_load.shortages import tensorflow_writes
from deeplab_load.spellings import host_and_port

MANIFEST, RECORDS, OFFSETS = 'manifest.json', 'records', 'offsets.npy'
FORMAT_VERSION = 1

CHUNK = 1000  # Batches that are asked for at once.
LOST = 20  # Seconds after which a batch that is due is made here, while others come: a worker was lost with it.
PATIENCE = 300  # Seconds without any batch.
WAITING = 4e9  # Bytes of batches that may wait for an earlier one.
REACHED = 10  # Seconds in which the dispatcher must answer.
_AHEAD = 4  # Batches that arrive while others are used.
_AT_ONCE = 2  # Batches that a worker makes at once: the more, the further they come out of order.
_ROWS_AT_ONCE = 10  # As tf.map_fn has it.

Element = Callable[[tf.Tensor], dict[str, tf.Tensor]]
Batch = dict[str, tf.Tensor]


class Service:
    """The workers behind a dispatcher, and where they find the records of examples, by the records' numbers."""

    def __init__(self, address: str, folder: Path, numbers: Sequence[int], *, check: Callable[[], None] = lambda: None):
        self.address, self._folder, self._check = address, folder.absolute(), check
        self._offsets = np.zeros(max(numbers) + 1, np.int64)
        self._offsets[list(numbers)] = np.load(folder / OFFSETS)

    def offset(self, number: int) -> int:
        """Where the image of a record begins in the file, in bytes; its label map follows it."""
        return int(self._offsets[number])

    def pair(self, offset: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """In a worker's graph: the encoded image and label map that begin at an offset."""
        pair = records_at(str(self._folder / RECORDS), offset, 2)
        return pair[0], pair[1]

    def batches(self, tables: Iterable[np.ndarray], element: Element) -> Iterator[Batch]:
        """Batches of elements, of which each is a function of a row of a table, int64 `[rows, columns]`.

        There is a table for each batch. What is lost with a worker is made here.

        Raises:
            UserError: a record is damaged, or there is no worker any more.
        """
        make = _maker(element)
        for chunk in _chunks(tables):
            require_answer('--data_service', self.address)
            with (
                self._told(),
                contextlib.closing(_in_order(Arrivals(self.address, chunk, make), chunk, make, self._check)) as batches,
            ):
                yield from batches

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Tells in one sentence what TensorFlow says of the service, or of a record."""
        advice = 'start the dispatcher and workers, which must find the run directory under its path here'
        try:
            yield
        except queue.Empty as error:
            raise UserError(
                f'--data_service={self.address}: no batch has come for {PATIENCE} s; {advice}, each with a --host by '
                'which it is reached from here, and the same command goes on.'
            ) from error
        except tf.errors.DataLossError as error:
            files.remove(self._folder)
            raise UserError(
                f'--data_service={self.address}: {_first_line(error)}; the copy in {self._folder} is deleted, and the '
                'same command makes it again. If that does not help, a label-map set is damaged: give --repair.'
            ) from error
        except tf.errors.ResourceExhaustedError:
            raise
        except tf.errors.OpError as error:
            raise UserError(
                f'--data_service={self.address}: {_first_line(error)}; {advice}, and the same command goes on.'
            ) from error


def _first_line(error: tf.errors.OpError) -> str:
    return str(error.message).splitlines()[0]


class Arrivals:
    """Batches of tables, int64 `[batches, rows, columns]`, with their numbers, as workers make them."""

    def __init__(self, address: str, chunk: np.ndarray, make: Element):
        def numbered(number: tf.Tensor, table: tf.Tensor) -> tuple[tf.Tensor, Batch]:
            return number, make(table)

        batches = tf.data.Dataset.from_tensor_slices((np.arange(len(chunk)), chunk))
        self._batches = batches.map(numbered, num_parallel_calls=_AT_ONCE, deterministic=False)
        self._address, self._given_up = address, threading.Event()
        self._arrived: queue.Queue = queue.Queue(_AHEAD)
        threading.Thread(target=self._fetch, daemon=True).start()

    def next(self, timeout: float) -> tuple[int, Batch]:
        """The next of them; raises queue.Empty where none comes in so many seconds, and what the service raises."""
        found = self._arrived.get(timeout=timeout)
        if isinstance(found, Exception):
            raise found
        number, batch = found
        return int(number), batch

    def close(self) -> None:
        """Wants no more."""
        self._given_up.set()

    def _fetch(self) -> None:
        service = tf.data.experimental.service
        options = tf.data.Options()
        options.autotune.enabled = False
        how = service.distribute(service.ShardingPolicy.DYNAMIC, self._address, compression=None)
        try:
            for batch in self._batches.apply(how).with_options(options):
                self._hand_on(batch)
                if self._given_up.is_set():
                    return
        except (tf.errors.OpError, RuntimeError, TypeError, ValueError) as error:
            self._hand_on(error)

    def _hand_on(self, found: object) -> None:
        while not self._given_up.is_set():
            try:
                self._arrived.put(found, timeout=1)
            except queue.Full:
                continue
            return


def _in_order(
    arrivals: Arrivals, chunk: np.ndarray, make: Element, check: Callable[[], None]
) -> Generator[Batch, None, None]:
    """The batches of a chunk by their numbers; one that is lost with its worker is made here.

    `check` is called while nothing comes. Raises queue.Empty after `PATIENCE` seconds of that.
    """
    waiting: dict[int, Batch] = {}
    silence, patience, began = 0.0, LOST, False  # Seconds without any; with which one counts as lost; one has come.
    with contextlib.closing(arrivals):
        for due in range(len(chunk)):
            since = time.monotonic()
            while due not in waiting:
                if silence >= PATIENCE:
                    raise queue.Empty
                start = time.monotonic()
                if (began and start >= since + patience) or sum(map(_bytes, waiting.values())) > WAITING:
                    waiting[due], patience = make(tf.constant(chunk[due])), 1  # The next may be lost with it.
                    silence += time.monotonic() - start
                    break
                try:
                    number, batch = arrivals.next(1)
                except queue.Empty:
                    silence += time.monotonic() - start
                    check()
                    continue
                silence, began = 0.0, True
                if number >= due:
                    waiting[number] = batch
                    patience = LOST if number == due else patience
            yield waiting.pop(due)


def _bytes(batch: Batch) -> int:
    return sum(tensor.shape.num_elements() * tensor.dtype.size for tensor in batch.values())


def _maker(element: Element) -> Element:
    """A traced function from a table to its batch."""

    def make(table: tf.Tensor) -> Batch:
        with tf.device('CPU:0'):
            return one_by_one(element, table, at_once=_ROWS_AT_ONCE)

    return tf.function(make)


def _chunks(tables: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Tables of one shape in a row, stacked."""
    for _, alike in itertools.groupby(tables, key=lambda table: table.shape):
        while chunk := list(itertools.islice(alike, CHUNK)):
            yield np.stack(chunk)


def require_answer(flag: str, address: str) -> None:
    """Raises UserError if nothing listens at the address that a flag gives."""
    try:
        socket.create_connection(host_and_port(address, flag.lstrip('-')), timeout=REACHED).close()
    except (OSError, UnicodeError) as error:
        reason = getattr(error, 'strerror', None) or error
        raise UserError(
            f'{flag}={address} does not answer: {reason}; start `python -m deeplab_load.data dispatcher` there, or '
            'mend the address.'
        ) from error


def write_copy(folder: Path, pairs: Iterable[tuple[bytes, bytes]], fingerprint: str) -> None:
    """Copies encoded images and label maps for workers, whole or not at all; raises UserError if the disk is full."""
    offsets, end = [], 0
    with files.replacing(folder) as part:
        part.mkdir()
        with tensorflow_writes(), tf.io.TFRecordWriter(str(part / RECORDS)) as writer:
            for pair in pairs:
                offsets.append(end)
                for data in pair:
                    writer.write(data)
                    end += HEADER + len(data) + TRAILER
        np.save(part / OFFSETS, np.array(offsets, np.int64))
        (part / MANIFEST).write_text(json.dumps(_manifest(part, fingerprint)) + '\n')


def is_copied(folder: Path, fingerprint: str) -> bool:
    """Whether the folder holds the records of the examples of this fingerprint, as long as they were written."""
    try:
        return files.read_json(folder / MANIFEST, '') == _manifest(folder, fingerprint)
    except (UserError, OSError):
        return False


def _manifest(folder: Path, fingerprint: str) -> dict:
    return {
        'format_version': FORMAT_VERSION,
        'fingerprint': fingerprint,
        'bytes': (folder / RECORDS).stat().st_size,
        'offsets': hashlib.sha256((folder / OFFSETS).read_bytes()).hexdigest(),
    }
