"""Pairs of image and label map as they lie on the user's disk, read and checked."""

import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from deeplab_load.data.image_files import opened, read_bytes
from deeplab_load.data.preprocessing import decode_image
from deeplab_load.data.specs import DatasetSpec
from deeplab_load.errors import UserError

PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
PNG_GREY, PNG_PALETTE = 0, 3


@dataclass(frozen=True)
class Pair:
    """Where one image and its labels are found: in no file if it is drawn, without `labels` in a test split."""

    image_id: str
    image: Path = Path()
    labels: Path | None = None


@dataclass(frozen=True)
class RawPair:
    """The bytes of a pair as found; `labels` is None where it has none."""

    pair: Pair
    image: bytes
    labels: bytes | None


@dataclass(frozen=True)
class CheckedPair:
    """What a check found: (height, width), the label map as a grey 8-bit PNG, and its pixels of each label, [256]."""

    size: tuple[int, int]
    label_map: bytes
    pixels: np.ndarray


# From the bytes of a file and its name to uint8 [height, width] with void as 255; raises UserError naming the file.
DecodeLabels = Callable[[bytes, Path], np.ndarray]


def read_files(pairs: Sequence[Pair]) -> Iterator[RawPair]:
    """Reads the pairs' files in their order; raises UserError naming a file that cannot be read."""
    for pair in pairs:
        yield RawPair(pair, read_bytes(pair.image), read_bytes(pair.labels) if pair.labels else None)


def read_lines(path: Path) -> list[str]:
    """The lines of a text file that are not blank, stripped; raises UserError naming it if it is no UTF-8 text."""
    try:
        text = read_bytes(path).decode('utf-8-sig')
    except UnicodeDecodeError as error:
        raise UserError(f'{path} is not UTF-8 text (byte {error.start}): save it as UTF-8.') from error
    if '\0' in text:
        raise UserError(f'{path} is not text (byte {text.encode().index(0)} is 0): save it as UTF-8.')
    return [line.strip() for line in text.splitlines() if line.strip()]


def encode_label_map(label_map: np.ndarray) -> bytes:
    """A uint8 [height, width] label map as a grey 8-bit PNG, the same bytes every time.

    Of label maps zlib's run lengths make smaller files, as a rule, than its search for strings, in about half of the
    time.
    """
    buffer = io.BytesIO()
    Image.fromarray(label_map).save(buffer, format='PNG', compress_type=zlib.Z_RLE)
    return buffer.getvalue()


def decode_index_png(data: bytes, path: Path) -> np.ndarray:
    """The uint8 [height, width] label indices of a palette or grey 8-bit PNG.

    Raises UserError naming the file if it is damaged or holds anything else, such as RGB colours.
    """
    if not holds_indices(data, path):
        raise UserError(
            f'{path} holds colours, not class indices (PNG colour type {data[25]}, {data[24]} bits): '
            'save the label map as a palette or grey 8-bit PNG.'
        )
    return decode_indices(data, path)


def holds_indices(data: bytes, path: Path) -> bool:
    """Whether a PNG is a palette or grey 8-bit one; raises UserError naming the file if it is no PNG."""
    if not data.startswith(PNG_SIGNATURE) or data[12:16] != b'IHDR' or len(data) < 26:
        raise UserError(f'{path} is not a PNG file; label maps must be palette or grey 8-bit PNG files.')
    bit_depth, colour_type = data[24], data[25]
    return colour_type == PNG_PALETTE or (colour_type == PNG_GREY and bit_depth == 8)


def decode_indices(data: bytes, path: Path) -> np.ndarray:
    """The uint8 [height, width] label indices of a PNG of which `holds_indices`; raises UserError as `opened`."""
    pixels = decode_png(data, path)
    if pixels.ndim != 2 or pixels.dtype != np.uint8:
        raise UserError(f'{path} has several headers that contradict each other: replace it by a whole PNG file.')
    return pixels


def decode_png(data: bytes, path: Path, mode: str | None = None) -> np.ndarray:
    """The pixels of a PNG, brought to one of Pillow's modes if given; raises UserError as `opened`."""
    with opened(io.BytesIO(data), path, ('PNG',)) as image:
        return np.array(image.convert(mode) if mode else image)


def png_palette(data: bytes, path: Path) -> np.ndarray:
    """The colours of a palette PNG's labels, uint8 [labels, 3], none of a grey one; raises UserError as `opened`."""
    with opened(io.BytesIO(data), path, ('PNG',)) as image:
        return np.array(image.getpalette() or (), np.uint8).reshape(-1, 3)


def check_pair(raw: RawPair, spec: DatasetSpec, decode_labels: DecodeLabels) -> CheckedPair:
    """Checks that the image decodes whole, that its label map has its size and that every label is a class or void.

    This is the one place where labels out of range are stopped; all that is prepared has passed it. Where there are no
    labels the label map is void throughout. Raises UserError naming the file at fault.
    """
    height, width = _image_size(raw)
    name = raw.pair.labels or raw.pair.image
    if raw.labels is None:
        label_map = np.full((height, width), spec.ignore_label, np.uint8)
    else:
        label_map = decode_labels(raw.labels, name)
    if label_map.shape != (height, width):
        label_height, label_width = label_map.shape
        raise UserError(
            f'{name} is {label_width}x{label_height} pixels but its image {raw.pair.image} is '
            f'{width}x{height}: a label map must have the size of its image.'
        )
    pixels = np.bincount(label_map.ravel(), minlength=256)
    strange = [int(n) for n in np.flatnonzero(pixels) if n >= spec.num_classes and n != spec.ignore_label]
    if strange:
        raise UserError(
            f'{name} holds the labels {strange}, but {spec.name} has 0 to {spec.num_classes - 1} '
            f'and {spec.ignore_label} for void.'
        )
    return CheckedPair((height, width), encode_label_map(label_map), pixels)


def _image_size(raw: RawPair) -> tuple[int, int]:
    """Height and width, by the decoder that will read the image later."""
    try:
        with opened(io.BytesIO(raw.image), raw.pair.image):
            height, width, _ = decode_image(tf.constant(raw.image)).shape
    except tf.errors.InvalidArgumentError as error:
        raise UserError(f'{raw.pair.image} cannot be read: it is cut or damaged; give a whole file.') from error
    return height, width
