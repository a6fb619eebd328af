"""Pairs of image and label map as they lie on the user's disk, read and checked."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from deeplab_load.data.preprocessing import decode_image
from deeplab_load.data.specs import DatasetSpec
from deeplab_load.errors import UserError

PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
PNG_GREY, PNG_PALETTE = 0, 3


@dataclass(frozen=True)
class Pair:
    """Where one image and its labels are found; a drawn scene has no files."""

    image_id: str
    image: Path = Path()
    labels: Path = Path()


@dataclass(frozen=True)
class CheckedPair:
    """An image's bytes as found (uint8 [height, width, 3] once decoded) and its uint8 [height, width] label map."""

    image_id: str
    image: bytes
    label_map: np.ndarray

    def encoded_label_map(self) -> bytes:
        """The label map as a grey 8-bit PNG."""
        return encode_label_map(self.label_map)


def encode_label_map(label_map: np.ndarray) -> bytes:
    """A uint8 [height, width] label map as a grey 8-bit PNG, the same bytes every time."""
    buffer = io.BytesIO()
    Image.fromarray(label_map).save(buffer, format='PNG')
    return buffer.getvalue()


def read_bytes(path: Path) -> bytes:
    """The bytes of a file; raises UserError naming it if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f'{path} cannot be read: {error.strerror}.') from error


def read_index_png(path: Path) -> np.ndarray:
    """The uint8 [height, width] label indices of a palette or grey 8-bit PNG.

    Raises UserError naming the file if it is damaged or holds anything else, such as RGB colours.
    """
    data = read_bytes(path)
    if not data.startswith(PNG_SIGNATURE) or len(data) < 26:
        raise UserError(f'{path} is not a PNG file; label maps must be palette or grey 8-bit PNG files.')
    bit_depth, colour_type = data[24], data[25]
    if not (colour_type == PNG_PALETTE or (colour_type == PNG_GREY and bit_depth == 8)):
        raise UserError(
            f'{path} holds colours, not class indices (PNG colour type {colour_type}, {bit_depth} bits): '
            'save the label map as a palette or grey 8-bit PNG.'
        )
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.array(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise UserError(f'{path} is a damaged PNG file ({error}): replace it by a whole one.') from error


def check_pair(pair: CheckedPair, spec: DatasetSpec, *, image_name: Path, labels_name: Path) -> None:
    """Checks that the image decodes whole, that its label map has its size and that every label is a class or void.

    Raises UserError naming the file at fault. The decoder is the one that will read the image later.
    """
    try:
        height, width, _ = decode_image(tf.constant(pair.image), spec.image_format).shape
    except tf.errors.InvalidArgumentError as error:
        raise UserError(f'{image_name} is a damaged or cut image file: replace it by a whole one.') from error
    if pair.label_map.shape != (height, width):
        label_height, label_width = pair.label_map.shape
        raise UserError(
            f'{labels_name} is {label_width}x{label_height} pixels but its image {image_name} is {width}x{height}: '
            'a label map must have the size of its image.'
        )
    present = np.flatnonzero(np.bincount(pair.label_map.ravel(), minlength=256))
    strange = [int(label) for label in present if label >= spec.num_classes and label != spec.ignore_label]
    if strange:
        raise UserError(
            f'{labels_name} holds the labels {strange}, but {spec.name} has 0 to {spec.num_classes - 1} '
            f'and {spec.ignore_label} for void.'
        )
