"""Segmentors for programs: by zoo name, by checkpoint or by the original's flags, and their label maps."""

import os
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

from deeplab_load.catalog import INFERENCE_FLAGS, Architecture, row
from deeplab_load.errors import UserError
from deeplab_load.models import inference
from deeplab_load.models.deeplab import build_segmentor, require_window
from deeplab_load.models.foreign import is_foreign, padding_colour
from deeplab_load.models.inference import Inference
from deeplab_load.restore.download import downloaded
from deeplab_load.restore.inspection import inspect
from deeplab_load.restore.restoring import restore
from deeplab_load.spellings import is_given, read

# The layers that take a backbone's features, which have the output stride.
_FIRST_OF_HEAD = ('aspp0', 'meta_architecture.branch0_depthwise')
MOST_CLASSES = 256  # of a label map in uint8
_PROBE = (1025, 1025)  # a size that every network takes


def segmentor(
    name: str | None = None,
    *,
    checkpoint: str | os.PathLike | None = None,
    num_classes: int | str | None = None,
    crop_size: Any = None,
    model_variant: str | None = None,
    output_stride: int | str | None = None,
    atrous_rates: Any = None,
    decoder_output_stride: int | str | None = None,
    depth_multiplier: float | str | None = None,
    multi_grid: Any = None,
    fresh_head: str | bool | None = None,
    home: str | os.PathLike = 'checkpoints',
    **flags: Any,
) -> keras.Model:
    """A DeepLab network.

    The original's flags go by its names, in its spellings or typed, and None is not given. With `model_variant` they
    alone say what the network is; without it they change what the checkpoint says.

    Args:
        name: of a published checkpoint, which `python -m deeplab_load.zoo download` put into `home`.
        checkpoint: a TF1 checkpoint, its folder, or a frozen graph; without it and a name the weights are fresh. Of a
            backbone alone, only the backbone is restored.
        num_classes, model_variant, output_stride, atrous_rates, decoder_output_stride, depth_multiplier, multi_grid:
            flags of the original's.
        crop_size: (height, width) of its images, (513, 513) or '513,513'; None takes images of every size.
        fresh_head: 'logits' (or True) keeps the last layer's fresh weights, as another `num_classes` than the
            checkpoint's needs; 'last_layers' those of all that follows the backbone.
        home: the folder of downloaded checkpoints.
        **flags: all others of `catalog.Architecture`, and those of `models.inference.Inference`, which are kept for
            `label_maps`.

    Returns:
        A model from float32 pixels [batch, crop height, crop width, 3] in 0..255 to logits [batch, height, width,
        num_classes] at their stride; `restoration.table()` of it tells what was restored, is fresh, or was skipped.

    Raises:
        UserError: an unknown name or flag, a value that cannot be, or a checkpoint that does not fit.
    """
    named = {
        'num_classes': num_classes,
        'model_variant': model_variant,
        'output_stride': output_stride,
        'atrous_rates': atrous_rates,
        'decoder_output_stride': decoder_output_stride,
        'depth_multiplier': depth_multiplier,
        'multi_grid': multi_grid,
    }
    given = {flag: value for flag, value in {**named, **flags}.items() if value is not None}
    if name is not None and checkpoint is None:
        checkpoint = downloaded(_published(name), home)
    asked = Inference.from_flags(given)
    network = Architecture.from_flags(given) if checkpoint is None else inspect(os.fspath(checkpoint)).asked(given)
    model = build_segmentor(network, crop_size=_size(crop_size))
    fresh = 'logits' if fresh_head is True else fresh_head or None
    if fresh and checkpoint is None:
        raise UserError(f'fresh_head is {fresh!r} but there is no checkpoint: without one all weights are fresh')
    model.restoration = checkpoint and restore(model, os.fspath(checkpoint), fresh_head=fresh)
    model.inference = asked
    return model


def _published(name: str) -> str:
    try:
        return row(name).name
    except UserError as error:
        raise UserError(f'{error}; a path is given as checkpoint=') from error


def label_maps(
    model: keras.Model, images: Iterable[np.ndarray], *, crop_size: Any = None, **flags: Any
) -> list[np.ndarray]:
    """The most likely class of every pixel.

    Args:
        model: of `segmentor`, or loaded from a .keras file.
        images: uint8 [height, width, 3] each, of any sizes.
        crop_size: of a model that takes images of every size: smaller images are padded to it, larger ones resized into
            it. Without it each image is padded to the next size that fits the output stride, and none is resized.
        **flags: of `models.inference.Inference`, in place of those that the segmentor was asked for with.

    Returns:
        uint8 [height, width] for each image, at its own size.

    Raises:
        UserError: an unknown flag, a value that cannot be, a model of another kind or of more classes than uint8 can
            tell, an image of another kind, or a crop that is smaller than what the model pools over.
    """
    unknown = sorted(set(flags) - set(INFERENCE_FLAGS))
    if unknown:
        raise UserError(f'the flag {unknown[0]!r} is unknown here: there are {", ".join(INFERENCE_FLAGS)}')
    asked = Inference.from_flags(flags) if flags else getattr(model, 'inference', inference.PLAIN)
    output_stride, logits_stride = strides(model)
    if model.output_shape[-1] > MOST_CLASSES:
        raise UserError(f'the model has {model.output_shape[-1]} classes, but a label map holds {MOST_CLASSES} at most')
    fixed = _size(crop_size) or _fixed_size(model)
    network = model if asked.inference_scales == asked.image_pyramid == (1.0,) else any_size(model)
    maps = []
    for number, image in enumerate(map(np.asarray, images)):
        crop = fixed or _next_size(image, output_stride)
        _require_image(image, number, crop, asked)
        require_window(network, crop)
        labels = inference.label_maps(
            network,
            image[np.newaxis],
            crop_size=crop,
            output_stride=output_stride,
            decoder_output_stride=logits_stride,
            colour=padding_colour(model),
            inference=asked,
        )
        maps.append(labels[0].numpy().astype(np.uint8))
    return maps


def _require_image(image: np.ndarray, number: int, crop_size: tuple[int, int], asked: Inference) -> None:
    if image.dtype.kind not in 'uif' or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise UserError(
            f'image {number} is {image.dtype} {list(image.shape)} but must be pixels [height, width, 3] of 0 to 255'
        )
    height, width = map(int, inference.resized_size(image.shape[:2], asked))
    if asked.min_resize_value and (height > crop_size[0] or width > crop_size[1]):
        raise UserError(
            f'min_resize_value={asked.min_resize_value} resizes image {number} to {height}x{width}, '
            f'more than the crop of {crop_size[0]}x{crop_size[1]}: lower it, or give max_resize_value'
        )


def any_size(model: keras.Model) -> keras.Model:
    """The same layers behind an input of every size, for images at other scales than the crop's."""
    image = keras.Input((None, None, 3), name='image')
    return keras.models.clone_model(model, input_tensors=image, clone_function=lambda layer: layer)


def strides(model: keras.Model) -> tuple[int, int]:
    """(stride of the features, stride of the logits) of a segmentor, told from what its layers make of an image.

    1 and 1 of one that is not DeepLab's: images enter it at any size, and its logits are taken to the window's.
    """
    if is_foreign(model):
        return 1, 1
    names = {layer.name for layer in model.layers}
    first = next((name for name in _FIRST_OF_HEAD if name in names), None)
    if first is None:
        raise UserError(f'the model {model.name} is no segmentor of this package')
    features = keras.Model(model.input, model.get_layer(first).output)
    return _stride(features), _stride(model)


def _stride(model: keras.Model) -> int:
    size = _fixed_size(model) or _PROBE
    scaled = model.compute_output_shape((1, *size, 3))[1:3]
    return next(stride for stride in (4, 8, 16, 32) if scaled == tuple(-(-side // stride) for side in size))


def _size(crop_size: Any) -> tuple[int, int] | None:
    if not is_given(crop_size):
        return None
    try:
        height, width = read('crop_size', crop_size, tuple[int, ...])
    except (UserError, ValueError):
        height = width = 0
    if min(height, width) < 1:
        raise UserError(f'crop_size is {crop_size!r} but must be a height and a width, such as (513, 513)')
    return height, width


def _fixed_size(model: keras.Model) -> tuple[int, int] | None:
    height, width = model.input_shape[1:3]
    return None if height is None or width is None else (height, width)


def _next_size(image: np.ndarray, output_stride: int) -> tuple[int, int]:
    height, width = (-(-(side - 1) // output_stride) * output_stride + 1 for side in np.shape(image)[:2])
    return height, width
