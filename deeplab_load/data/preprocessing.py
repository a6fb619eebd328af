"""From encoded bytes to crops: pure TensorFlow functions, randomness by stateless seeds only."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from deeplab_load.catalog import GREY, Colour
from deeplab_load.data.resizing import bilinear_window, nearest_window
from deeplab_load.data.specs import ResizeRange, ScaleRange
from deeplab_load.models.inference import brought_size
from deeplab_load.models.slim import resize_bilinear, resize_nearest

IGNORE_LABEL = 255


class View(NamedTuple):
    """A window's place in an image: offset int32 [2] (down, right) in pixels and whether it is mirrored left-right.

    `size` int32 [2] is the size to which the image is resized first; None leaves it as it is.
    """

    offset: tf.Tensor
    mirrored: tf.Tensor
    size: tf.Tensor | None = None


def decode_image(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes JPEG or PNG bytes to uint8 [height, width, 3]; grey images are repeated in all three channels.

    JPEGs are decoded with the accurate DCT, which was TF1's default (and is Pillow's). TF2's default is the fast one:
    it moves pixels by a grey level, and the mIoU of a published checkpoint on VOC by a tenth of a point and more.
    """
    return tf.io.decode_jpeg(encoded, channels=3, dct_method='INTEGER_ACCURATE')  # This op decodes PNG too.


def decode_label_map(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes a grey 8-bit PNG to uint8 [height, width].

    Only for the PNGs this package has written itself: of a palette PNG this op gives the colours' red, not the labels.
    """
    return tf.io.decode_png(encoded, channels=1)[:, :, 0]


def resize_image(image: tf.Tensor, resize: ResizeRange | None) -> tf.Tensor:
    """Resizes an image [height, width, 3] bilinearly, float32, if asked to (preprocess_utils.resize_to_range)."""
    return image if resize is None else resize_bilinear(image[tf.newaxis], _range_size(image, resize))[0]


def resize_label_map(label_map: tf.Tensor, resize: ResizeRange | None) -> tf.Tensor:
    """Resizes a label map [height, width] by the nearest, if asked to (preprocess_utils.resize_to_range)."""
    if resize is None:
        return label_map
    return resize_nearest(label_map[tf.newaxis, ..., tf.newaxis], _range_size(label_map, resize))[0, ..., 0]


def _range_size(image: tf.Tensor, resize: ResizeRange) -> tuple[tf.Tensor, tf.Tensor]:
    shape = tf.shape(image)
    height, width = brought_size((shape[0], shape[1]), resize)
    return height, width


def pad_image(image: tf.Tensor, crop_size: tuple[int, int], colour: Colour = GREY) -> tf.Tensor:
    """Pads [height, width, 3] at bottom and right to at least `crop_size` with a colour; float32 in 0-255.

    The colour is the segmentor's `catalog.mean_pixel`. Source: preprocess_utils.pad_to_bounding_box of TF1 DeepLab,
    which takes the colour off and adds it again, to the last bit.
    """
    return _pad(tf.cast(image, tf.float32) - colour, crop_size, 0.0) + colour


def pad_label_map(label_map: tf.Tensor, crop_size: tuple[int, int]) -> tf.Tensor:
    """Pads uint8 [height, width] labels at bottom and right to at least `crop_size` with void (255)."""
    return _pad(label_map, crop_size, IGNORE_LABEL)


def _pad(tensor: tf.Tensor, crop_size: tuple[int, int], value: float) -> tf.Tensor:
    missing = tf.maximum(tf.constant(crop_size) - tf.shape(tensor)[:2], 0)
    ends = tf.concat([missing, tf.zeros([len(tensor.shape) - 2], tf.int32)], axis=0)
    return tf.pad(tensor, tf.stack([tf.zeros_like(ends), ends], axis=1), constant_values=value)


def random_view(
    image_size: tf.Tensor, crop_size: tuple[int, int], seed: tf.Tensor, *, flip: bool, scales: ScaleRange | None = None
) -> View:
    """Draws a window of `crop_size` uniformly from the scaled and padded image, mirrored one time in two if `flip`.

    `seed` int32 [2] alone decides. Source: randomly_scale_image_and_label, random_crop and flip_dim in
    preprocess_utils of TF1 DeepLab.
    """
    size = scaled_size(image_size, random_scale(seed, scales)) if scales else None
    draws = tf.random.stateless_uniform([3], seed, alg='philox')
    room = tf.maximum((image_size if size is None else size) - tf.constant(crop_size), 0)
    offset = tf.cast(draws[:2] * tf.cast(room + 1, tf.float32), tf.int32)
    return View(tf.minimum(offset, room), tf.logical_and(draws[2] <= 0.5, flip), size)


def random_scale(seed: tf.Tensor, scales: ScaleRange) -> tf.Tensor:
    """Draws a factor, float32, by the seed alone and apart from all else that it decides."""
    own_seed = tf.random.split(seed, 2, alg='philox')[1]
    if not scales.step:
        return tf.random.stateless_uniform([], own_seed, scales.minimum, scales.maximum, alg='philox')
    values = scale_factors(scales)
    return tf.constant(values)[tf.random.stateless_uniform([], own_seed, 0, len(values), tf.int32, alg='philox')]


def scale_factors(scales: ScaleRange) -> np.ndarray:
    """The factors that may be drawn where there is a step, float32 (preprocess_utils.get_random_scale)."""
    count = int((scales.maximum - scales.minimum) / scales.step + 1)
    return np.linspace(scales.minimum, scales.maximum, count, dtype=np.float32)


def scaled_size(image_size: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
    """The sides, int32 [2], times a factor, truncated from float32 (randomly_scale_image_and_label)."""
    return tf.cast(tf.cast(image_size, tf.float32) * scale, tf.int32)


def centre_view(image_size: tf.Tensor, crop_size: tuple[int, int]) -> View:
    """The window of `crop_size` in the middle of the padded image, not mirrored."""
    return View(tf.maximum(image_size - tf.constant(crop_size), 0) // 2, tf.constant(False))


def view_image(image: tf.Tensor, view: View, crop_size: tuple[int, int], colour: Colour = GREY) -> tf.Tensor:
    """The view of an image [height, width, 3], uint8 or float32: float32 [crop height, crop width, 3] in 0-255.

    Cuts before resizing and padding where the pixels are the same, for less work.
    """
    window = pad_image(_window(image, view, crop_size, bilinear_window), crop_size, colour)
    return tf.ensure_shape(_mirrored(window, view), (*crop_size, 3))


def view_label_map(label_map: tf.Tensor, view: View, crop_size: tuple[int, int]) -> tf.Tensor:
    """The view of a uint8 [height, width] label map: uint8 [crop height, crop width]."""
    window = pad_label_map(_window(label_map, view, crop_size, nearest_window), crop_size)
    return tf.ensure_shape(_mirrored(window, view), crop_size)


def _window(tensor: tf.Tensor, view: View, crop_size: tuple[int, int], resized_window: Callable) -> tf.Tensor:
    if view.size is not None:
        return resized_window(tensor, view.size, view.offset, tf.minimum(view.size - view.offset, crop_size))
    down, right = view.offset[0], view.offset[1]
    return tensor[down : down + crop_size[0], right : right + crop_size[1]]


def _mirrored(window: tf.Tensor, view: View) -> tf.Tensor:
    return tf.cond(view.mirrored, lambda: tf.reverse(window, axis=[1]), lambda: window)
