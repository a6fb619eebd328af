"""Masks of the Semantic Boundaries Dataset (Hariharan et al., ICCV 2011) as its owners publish them: MATLAB files.

SciPy's reader crashes the process on some damaged files, so the few parts of the format that are needed are read here
(MAT-File Format, version 5, The MathWorks).
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from deeplab_load.errors import UserError

# Where the archive benchmark.tgz of the owners has its masks of classes.
FOLDERS = ('benchmark_RELEASE/dataset/cls', 'dataset/cls', 'cls')

HEADER_BYTES = 128
MATRIX, COMPRESSED = 14, 15  # Types of data elements.
STRUCT, UINT8 = 2, 9  # Classes of arrays.
MAX_BYTES = 1 << 26  # A compressed element unpacks to no more: masks have fewer than 300,000 pixels.


class Matrix(NamedTuple):
    """An array of a MATLAB file: its class, its size, its name, and the elements that follow."""

    kind: int
    shape: tuple[int, ...]
    name: str
    elements: list[tuple[int, bytes]]


def find_masks(places: tuple[Path, ...]) -> Path | None:
    """The folder of the masks in one of `places`; None if it is in none of them."""
    folders = [place / folder for place in places for folder in FOLDERS]
    return next((folder for folder in folders if folder.is_dir() and any(folder.glob('*.mat'))), None)


def decode_mask(data: bytes, path: Path) -> np.ndarray:
    """The uint8 [height, width] labels, GTcls.Segmentation; raises UserError naming a file without them."""
    try:
        classes = next(m for m in _matrices(_elements(data[HEADER_BYTES:])) if (m.kind, m.name) == (STRUCT, 'GTcls'))
        mask = _field(classes, 'Segmentation')
        if mask.kind != UINT8 or len(mask.shape) != 2:
            raise ValueError('its label map is not of unsigned bytes')
        return np.frombuffer(mask.elements[0][1], np.uint8).reshape(mask.shape, order='F')
    except (ValueError, IndexError, StopIteration, struct.error, zlib.error) as error:
        raise UserError(
            f'{path} holds no mask of the Semantic Boundaries Dataset ({str(error) or "no GTcls"}): get it again.'
        ) from error


def _field(matrix: Matrix, name: str) -> Matrix:
    """A field of a 1x1 struct: after the width of the names and the names come the fields, in order."""
    (_, width), (_, names), *fields = matrix.elements
    (size,) = struct.unpack('<i', width)
    if size < 1:
        raise ValueError('its field names are damaged')
    listed = [_text(names[start : start + size]) for start in range(0, len(names), size)]
    return next(_matrices(iter(fields[listed.index(name) :])))


def _matrices(elements: Iterator[tuple[int, bytes]]) -> Iterator[Matrix]:
    for kind, data in elements:
        if kind == COMPRESSED:
            yield from _matrices(_elements(zlib.decompressobj().decompress(data, MAX_BYTES)))
        elif kind == MATRIX:
            (_, flags), (_, shape), (_, name), *rest = _elements(data)
            yield Matrix(flags[0], struct.unpack(f'<{len(shape) // 4}i', shape), _text(name), rest)


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Types and contents of data elements; those of four bytes or fewer share eight bytes with their tag."""
    start = 0
    while start < len(data):
        kind, size = struct.unpack_from('<II', data, start)
        if kind >> 16:
            kind, size, begin, end = kind & 0xFFFF, kind >> 16, start + 4, start + 8
        else:
            begin = start + 8
            end = begin + size + (0 if kind == COMPRESSED else -size % 8)
        if begin + size > min(end, len(data)):
            raise ValueError('it is cut')
        yield kind, data[begin : begin + size]
        start = end


def _text(data: bytes) -> str:
    return data.split(b'\0')[0].decode('ascii')
