"""Decoded images and label maps in a file, for examples that are read again and again: a cache, which may be deleted.

A folder of `pixels`, for each example its image, uint8 [height, width, 3], and then its label map, uint8 [height,
width]; and `manifest.json` with the file's digest.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from deeplab_load import files
from deeplab_load.errors import UserError

MANIFEST, PIXELS = 'manifest.json', 'pixels'
FORMAT_VERSION = 1
CHANNELS = 4  # bytes a pixel: three of the image, one of the label map

Pair = tuple[np.ndarray, np.ndarray]


class Pixels:
    """Pairs of image and label map by the numbers of their records; the file's pages are memory that can be freed."""

    def __init__(self, file: Path, numbers: Sequence[int], sizes: Sequence[tuple[int, int]]):
        ends = np.cumsum([CHANNELS * height * width for height, width in sizes], dtype=np.int64).tolist()
        self._places = dict(zip(numbers, zip([0, *ends], sizes, strict=False), strict=True))
        self._bytes = np.memmap(file, np.uint8, 'r')

    def pair(self, number: int) -> Pair:
        """The image, uint8 [height, width, 3], and the label map, uint8 [height, width], of a record, read-only."""
        start, (height, width) = self._places[number]
        middle, end = start + 3 * height * width, start + CHANNELS * height * width
        image, label = self._bytes[start:middle], self._bytes[middle:end]
        return image.reshape(height, width, 3), label.reshape(height, width)


def write_pixels(folder: Path, pairs: Iterable[Pair], fingerprint: str) -> None:
    """Writes the folder whole or not at all; raises UserError if the disk is full."""
    digest = hashlib.sha256()
    with files.replacing(folder) as part:
        part.mkdir()
        with open(part / PIXELS, 'wb') as file:
            for data in (array.tobytes() for pair in pairs for array in pair):
                digest.update(data)
                file.write(data)
        manifest = {'format_version': FORMAT_VERSION, 'fingerprint': fingerprint, 'sha256': digest.hexdigest()}
        (part / MANIFEST).write_text(json.dumps(manifest) + '\n')


def is_whole(folder: Path, fingerprint: str) -> bool:
    """Whether the folder holds the pixels of the examples of this fingerprint, undamaged."""
    try:
        manifest = files.read_json(folder / MANIFEST, '')
        digest = hashlib.sha256(np.memmap(folder / PIXELS, np.uint8, 'r').data).hexdigest()
    except (UserError, OSError, ValueError):  # numpy raises a ValueError for a file without bytes.
        return False
    return manifest == {'format_version': FORMAT_VERSION, 'fingerprint': fingerprint, 'sha256': digest}
