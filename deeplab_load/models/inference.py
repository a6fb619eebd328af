"""From images of any size to label maps, as the original's exported graphs do (deeplab/export_model.py)."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from deeplab_load.catalog import GREY, INFERENCE_FLAGS, Colour
from deeplab_load.data.specs import ResizeRange
from deeplab_load.errors import UserError
from deeplab_load.models.slim import Size, WindowPooling, resize_bilinear, resize_nearest, scale_dimension, spatial_size
from deeplab_load.spellings import typed

Model = Callable[..., tf.Tensor]

_MERGES = {'max': tf.reduce_max, 'avg': tf.reduce_mean}


@dataclass(frozen=True)
class Inference:
    """How label maps are made of a network's logits; the fields are named as the original's flags.

    `inference_scales` and `add_flipped_images` average probabilities over scaled and mirrored images, where either is
    asked for (the original passes over mirrored images where the only scale is 1). Otherwise the logits of the scales
    of `image_pyramid` are merged by `merge_method` ('max' or 'avg'), and `prediction_with_upsampled_logits` False takes
    the best class before upsampling. With `min_resize_value` every image is resized as `resize_to_range_size` says;
    those that exceed the crop then are resized into it.

    Raises:
        UserError: a value that the original does not have.
    """

    inference_scales: tuple[float, ...] = (1.0,)
    add_flipped_images: bool = False
    prediction_with_upsampled_logits: bool = True
    image_pyramid: tuple[float, ...] = (1.0,)
    merge_method: str = 'max'
    min_resize_value: int | None = None
    max_resize_value: int | None = None
    resize_factor: int | None = None

    def __post_init__(self) -> None:
        for field in ('inference_scales', 'image_pyramid'):
            scales = tuple(getattr(self, field))
            if not scales or min(scales) <= 0:
                raise UserError(f'{field} is {scales!r} but must be one or more scales above 0')
            object.__setattr__(self, field, scales)
        if self.merge_method not in _MERGES:
            raise UserError(f'merge_method is {self.merge_method!r} but must be one of {", ".join(_MERGES)}')
        if self.min_resize_value is None and (self.max_resize_value or self.resize_factor):
            raise UserError('max_resize_value and resize_factor need min_resize_value: give it too')

    @classmethod
    def from_flags(cls, flags: Mapping[str, Any]) -> 'Inference':
        """How the original infers with these flags, read by `spellings.typed`; the network's are passed over.

        Raises:
            UserError: a value that cannot be read, or that the original does not have.
        """
        return cls(**typed(cls, {flag: value for flag, value in flags.items() if flag in INFERENCE_FLAGS}))

    @property
    def resize(self) -> ResizeRange | None:
        """The sides to which images are brought."""
        if self.min_resize_value is None:
            return None
        return ResizeRange(self.min_resize_value, self.max_resize_value, self.resize_factor)

    @property
    def averages(self) -> bool:
        """Whether probabilities are averaged."""
        return self.inference_scales != (1.0,) or self.add_flipped_images


PLAIN = Inference()


def label_maps(
    model: Model,
    images: tf.Tensor,
    *,
    crop_size: tuple[int, int],
    output_stride: int,
    decoder_output_stride: int | None = None,
    colour: Colour = GREY,
    inference: Inference = PLAIN,
) -> tf.Tensor:
    """The most likely class of every pixel at the images' own size.

    Smaller images are padded to the crop at the bottom and right; an image that exceeds the crop is first resized into
    it, and its label map back by nearest neighbour. Batch, height and width may be dynamic, as in an exported function.

    Args:
        model: from float32 pixels [batch, crop height, crop width, 3] in 0..255 to logits at any stride.
        images: [batch, height, width, 3], uint8 or float, 0..255.
        crop_size: (height, width) that the model sees.
        output_stride: of the model; the sides of a resized image are multiples of it plus one.
        decoder_output_stride: of the model, where it has a decoder.
        colour: of the padding.
        inference: scales, flips and resizing.

    Returns:
        int32 [batch, height, width].
    """
    images = tf.cast(images, tf.float32)
    size = spatial_size(images)
    height, width = entering_size(size, crop_size, output_stride, inference)
    crops = pad_to_crop(resize_bilinear(images, (height, width)), crop_size, colour)
    labels = crop_labels(model, crops, decoder_output_stride or output_stride, inference)
    return resize_nearest(labels[:, :height, :width, tf.newaxis], size)[..., 0]


def crop_labels(model: Model, crops: tf.Tensor, logits_stride: int, inference: Inference = PLAIN) -> tf.Tensor:
    """The most likely class, int32 [batch, height, width], of images [batch, height, width, 3] as the model sees them.

    Source: deeplab/model.py, predict_labels and predict_labels_multi_scale.
    """
    labels = tf.argmax(class_scores(model, crops, logits_stride, inference), axis=3, output_type=tf.int32)
    return resize_nearest(labels[..., tf.newaxis], spatial_size(crops))[..., 0]


def class_scores(model: Model, crops: tf.Tensor, logits_stride: int, inference: Inference = PLAIN) -> tf.Tensor:
    """What the best class is told by: logits, or mean probabilities over scales and flips.

    Args:
        model: as in `label_maps`.
        crops: float32 [batch, height, width, 3] in 0..255.
        logits_stride: image size over logits size.
        inference: scales and flips.

    Returns:
        [batch, height, width, classes] at the size of the crops, or of the logits where the best class comes first.
    """
    size = spatial_size(crops)
    if not inference.averages:
        logits = pyramid_logits(model, crops, logits_stride, inference)[-1]
        return resize_bilinear(logits, size) if inference.prediction_with_upsampled_logits else logits
    flips = (False, True) if inference.add_flipped_images else (False,)
    views = list(itertools.product(inference.inference_scales, flips))
    total = tf.constant(0.0)
    for scale, flip in views:
        # One after another, so that a graph never holds the probabilities of more than one beside their sum.
        with tf.control_dependencies([total]):
            logits = _flipped_logits(model, tf.identity(crops), scale, logits_stride, flip)
            total += tf.nn.softmax(resize_bilinear(logits, size))
    return total / len(views)


def _flipped_logits(model: Model, crops: tf.Tensor, scale: float, logits_stride: int, flip: bool) -> tf.Tensor:
    if not flip:
        return _scaled_logits(model, crops, scale, logits_stride, scale)
    return _scaled_logits(model, crops[:, :, ::-1], scale, logits_stride, scale)[:, :, ::-1]


def pyramid_logits(
    model: Model, crops: tf.Tensor, logits_stride: int, inference: Inference, *, training: bool = False
) -> list[tf.Tensor]:
    """The logits of every scale of the image pyramid, and where there are more, last, the merged ones.

    Args:
        model: as in `label_maps`.
        crops: float32 [batch, height, width, 3] in 0..255.
        logits_stride: image size over logits size.
        inference: the scales, and how their logits are merged.
        training: how the model is called.

    Returns:
        Each [batch, height', width', classes], at the size of the largest scale.

    Source: deeplab/model.py, multi_scale_logits.
    """
    pyramid = inference.image_pyramid
    scaled = [_scaled_logits(model, crops, scale, logits_stride, max(pyramid), training) for scale in pyramid]
    if len(scaled) > 1:
        scaled.append(_MERGES[inference.merge_method](tf.stack(scaled, axis=4), axis=4))
    return scaled


def _scaled_logits(
    model: Model, crops: tf.Tensor, scale: float, logits_stride: int, largest: float, training: bool = False
) -> tf.Tensor:
    """The logits of scaled images, at the size that they have at the largest scale, or at scale 1 if that is larger."""
    if scale == largest == 1.0:
        return model(crops, training=training)
    size = spatial_size(crops)
    scaled = resize_bilinear(crops, [scale_dimension(side, scale) for side in size])
    target = [scale_dimension(side, max(1.0, largest) / logits_stride) for side in size]
    return resize_bilinear(at_scale(model, scale)(scaled, training=training), target)


def at_scale(model: Model, scale: float) -> Model:
    """The model for images at a scale: the same layers, but that a window that is pooled over is scaled too."""
    if not (isinstance(model, keras.Model) and any(isinstance(layer, WindowPooling) for layer in model.layers)):
        return model
    image = keras.Input((None, None, 3), name='image')
    return keras.models.clone_model(
        model,
        input_tensors=image,
        clone_function=lambda layer: layer.at_scale(scale) if isinstance(layer, WindowPooling) else layer,
    )


def upsampled_logits(logits: tf.Tensor, crop_size: tuple[int, int]) -> tf.Tensor:
    """Logits [batch, height, width, classes] at the crop's size, bilinear with aligned corners."""
    return resize_bilinear(logits, crop_size)


def pad_to_crop(images: tf.Tensor, crop_size: tuple[int, int], colour: Colour = GREY) -> tf.Tensor:
    """Float images [batch, height, width, 3] padded with the colour at the bottom and right to the crop."""
    height, width = spatial_size(images)
    padding = [[0, 0], [0, crop_size[0] - height], [0, crop_size[1] - width], [0, 0]]
    padded = tf.pad(images - colour, padding) + colour
    return tf.ensure_shape(padded, [None, *crop_size, 3])


def entering_size(
    size: Size, crop_size: tuple[int, int], output_stride: int, inference: Inference = PLAIN
) -> tuple[tf.Tensor, tf.Tensor]:
    """The size (height, width) at which an image enters the crop: by the flags, and by `fitted_size`."""
    return fitted_size(resized_size(size, inference), crop_size, output_stride)


def resized_size(size: Size, inference: Inference) -> Size:
    """The size (height, width) to which the flags bring an image."""
    return brought_size(size, inference.resize)


def brought_size(size: Size, resize: ResizeRange | None) -> Size:
    """The size (height, width) of an image brought to a range of sides; its own without one."""
    return size if resize is None else resize_to_range_size(size, **resize._asdict())


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
    size: Size, *, min_size: int | tf.Tensor, max_size: int | tf.Tensor | None = None, factor: int | None = None
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
    chosen = tf.floor(sides * (tf.cast(min_size, tf.float32) / tf.reduce_min(sides)))
    if max_size is not None:
        bound = tf.cast(max_size, tf.float32)
        bound -= (bound - 1.0) % float(factor or 1)
        smaller = tf.floor(sides * (bound / tf.reduce_max(sides)))
        chosen = tf.where(tf.reduce_max(chosen) > bound, smaller, chosen)
    whole = tf.cast(chosen, tf.int32)
    if factor is not None:
        whole += (factor - (whole - 1) % factor) % factor
    height, width = tf.unstack(whole)
    return height, width
