"""From images of any size to label maps, as the original's exported graphs do (deeplab/export_model.py)."""

from collections.abc import Callable

import tensorflow as tf

from deeplab_load.models.slim import Size, resize_bilinear, resize_nearest, spatial_size

MEAN_PIXEL = 127.5


def upsampled_logits(logits: tf.Tensor, crop_size: tuple[int, int]) -> tf.Tensor:
    """Logits [batch, height, width, classes] at the crop's size, bilinear with aligned corners."""
    return resize_bilinear(logits, crop_size)


def label_maps(
    model: Callable[..., tf.Tensor], images: tf.Tensor, *, crop_size: tuple[int, int], output_stride: int
) -> tf.Tensor:
    """The most likely class of every pixel at the images' own size.

    Smaller images are padded to the crop at the bottom and right; an image that exceeds the crop is first resized into
    it, and its label map back by nearest neighbour. Batch, height and width may be dynamic, as in an exported function.

    Args:
        model: from float32 pixels [batch, crop height, crop width, 3] in 0..255 to logits at any stride.
        images: [batch, height, width, 3], uint8 or float, 0..255.
        crop_size: (height, width) that the model sees.
        output_stride: of the model; the sides of a resized image are multiples of it plus one.

    Returns:
        int32 [batch, height, width].
    """
    images = tf.cast(images, tf.float32)
    size = spatial_size(images)
    height, width = fitted_size(size, crop_size, output_stride)
    padded = pad_to_crop(resize_bilinear(images, (height, width)), crop_size)
    logits = upsampled_logits(model(padded, training=False), crop_size)
    labels = tf.argmax(logits, axis=3, output_type=tf.int32)[:, :height, :width, tf.newaxis]
    return resize_nearest(labels, size)[..., 0]


def pad_to_crop(images: tf.Tensor, crop_size: tuple[int, int]) -> tf.Tensor:
    """Float images [batch, height, width, 3] padded with the mean pixel at the bottom and right to the crop."""
    height, width = spatial_size(images)
    padding = [[0, 0], [0, crop_size[0] - height], [0, crop_size[1] - width], [0, 0]]
    padded = tf.pad(images - MEAN_PIXEL, padding) + MEAN_PIXEL
    return tf.ensure_shape(padded, [None, *crop_size, 3])


def fitted_size(size: Size, crop_size: tuple[int, int], factor: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The size at which an image enters the crop: its own where it fits, else scaled into it keeping the aspect.

    The original only knows square crops here (min_resize_value = max_resize_value = the crop's side); on others the
    longer side is the longest with which both sides fit.

    Args:
        size: (height, width) of the image, ints or tensors.
        crop_size: (height, width).
        factor: of `resize_to_range_size`.

    Returns:
        (height, width) as int32 tensors.
    """
    height, width = (tf.cast(side, tf.int32) for side in size)
    crop_height, crop_width = ((side - 1) // factor * factor + 1 for side in crop_size)
    longer = tf.maximum(height, width)
    side = tf.minimum(crop_height * longer // height, crop_width * longer // width)
    fits = tf.logical_and(height <= crop_size[0], width <= crop_size[1])
    scaled = resize_to_range_size((height, width), min_size=side, max_size=side, factor=factor)
    return tf.where(fits, height, scaled[0]), tf.where(fits, width, scaled[1])


def resize_to_range_size(
    size: Size, *, min_size: int | tf.Tensor, max_size: int | tf.Tensor, factor: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """The size that the original resizes an image to (core/preprocess_utils.resize_to_range), in its float32.

    Args:
        size: (height, width) of the image.
        min_size: wanted length of the shorter side.
        max_size: bound of the longer side, which wins over min_size; lowered to a multiple of factor plus one.
        factor: both sides are rounded up to a multiple of it plus one.

    Returns:
        (height, width) as int32 tensors.
    """
    sides = tf.cast(tf.stack(size), tf.float32)
    bound = tf.cast(max_size, tf.float32)
    bound -= (bound - 1.0) % float(factor)
    larger = tf.floor(sides * (tf.cast(min_size, tf.float32) / tf.reduce_min(sides)))
    smaller = tf.floor(sides * (bound / tf.reduce_max(sides)))
    chosen = tf.cast(tf.where(tf.reduce_max(larger) > bound, smaller, larger), tf.int32)
    height, width = tf.unstack(chosen + (factor - (chosen - 1) % factor) % factor)
    return height, width
