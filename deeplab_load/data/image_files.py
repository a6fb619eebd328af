"""Image files of strangers: kind and size are checked by the header, before a pixel is decoded."""

import contextlib
import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from deeplab_load.errors import UserError

IMAGE_FORMATS = ('JPEG', 'PNG')

# What Pillow raises for files that are cut or damaged.
_DAMAGES = (OSError, SyntaxError, ValueError, IndexError, KeyError, TypeError, OverflowError, struct.error, zlib.error)


@contextlib.contextmanager
def opened(
    file: str | os.PathLike | BinaryIO, name: str | os.PathLike, formats: tuple[str, ...] = IMAGE_FORMATS
) -> Iterator[Image.Image]:
    """Opens an image, to be decoded within.

    Pillow and TensorFlow draw the same line: images of 2^29 bytes of RGB are refused by their headers.

    Raises:
        UserError: `name` cannot be read, is of another format, cut or damaged, or has more than 178,956,970 pixels.
    """
    kinds = ' or '.join(formats)
    try:
        with _header_read(file, formats) as picture:
            yield picture
    except Image.DecompressionBombError as error:
        raise UserError(f'{name} cannot be read: it has more than 178,956,970 pixels; give a smaller one.') from error
    except _DAMAGES as error:
        words = getattr(error, 'strerror', None) or f'it is no whole {kinds} file'
        raise UserError(f'{name} cannot be read: {words}; give a whole {kinds} file.') from error


def _header_read(file: str | os.PathLike | BinaryIO, formats: tuple[str, ...]) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # Of half as many pixels Pillow warns, and of EXIF that nobody needs.
        return Image.open(file, formats=formats)


def read_bytes(path: Path) -> bytes:
    """The bytes of a file; raises UserError naming it if it cannot be read."""
    try:
        if not path.is_file() and path.exists():
            raise UserError(f'{path} cannot be read: it is no file.')  # A pipe has no end.
        return path.read_bytes()
    except OSError as error:
        raise UserError(f'{path} cannot be read: {error.strerror}.') from error
