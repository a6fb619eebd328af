"""Segmentors that are not DeepLab's: any Keras model from images to logits, by the name of the function that builds it.

The function takes `num_classes` and `crop_size`: the (height, width) of the windows, or None where training and
evaluation have windows of different sizes. It returns a `keras.Model` from float32 pixels `[batch, height, width, 3]`
in 0 to 255 to float32 logits `[batch, h, w, num_classes]` at any stride; they are upsampled to the window, bilinear
with aligned corners. What else there is to know the model says itself:

- by its input: which windows it takes;
- by an attribute `mean_pixel`, three numbers in 0 to 255: the colour that pads images smaller than the window, grey
  (127.5) without it. Padding is void, and void pixels count nowhere: not in the loss, not in the mIoU, not for D;
- by its weights when it is returned: where it starts from, unless `--checkpoint` is given.
"""

import importlib
from collections.abc import Callable, Iterable

import keras
import numpy as np
import tensorflow as tf

from deeplab_load.catalog import Colour, mean_pixel
from deeplab_load.errors import UserError

Size = tuple[int, int]
Builder = Callable[..., keras.Model]

NAME = 'foreign'


def builder(path: str) -> Builder:
    """The function that `package.module:function` names.

    Raises:
        UserError: there is none.
    """
    module, _, name = path.partition(':')
    try:
        found = getattr(importlib.import_module(module), name, None) if module and name else None
    except ImportError as error:
        raise UserError(f'--segmentor={path} cannot be imported: {error}.') from error
    if not callable(found):
        raise UserError(f'--segmentor={path} names no function; give package.module:function.')
    return found


def build_foreign(path: str, *, num_classes: int, windows: Iterable[Size], seed: int) -> keras.Model:
    """Builds a segmentor by its function and makes sure of what the job relies on.

    Args:
        path: `package.module:function`.
        num_classes: K.
        windows: (height, width) of training and of evaluation.
        seed: of the initial weights.

    Returns:
        A functional model around the function's, of the same weights, whose name is `NAME`.

    Raises:
        UserError: there is no such function, it returns no model, or the model takes other windows or returns something
            else than logits of K classes.
    """
    sizes = sorted(set(windows))
    keras.utils.set_random_seed(seed)
    crop_size = sizes[0] if len(sizes) == 1 else None
    inner = builder(path)(num_classes=num_classes, crop_size=crop_size)
    if not isinstance(inner, keras.Model):
        raise UserError(f'--segmentor={path} returns {type(inner).__name__}; it must return a keras.Model.')
    image = keras.Input((*(crop_size or (None, None)), 3), name='image')
    try:
        model = keras.Model(image, inner(image), name=NAME)
        outputs = [model(_noise(size), training=False).numpy() for size in sizes]
    except (ValueError, tf.errors.OpError) as error:
        said = ' '.join(str(error).split())[:200]
        raise UserError(
            f'--segmentor={path} does not take windows of {" and ".join(f"{h}x{w}" for h, w in sizes)} ({said}); '
            'give others with --train_crop_size and --eval_crop_size.'
        ) from error
    for output in outputs:
        _require_logits(path, output, num_classes)
    if hasattr(inner, 'mean_pixel'):
        model.mean_pixel = tuple(float(value) for value in inner.mean_pixel)
    return model


def is_foreign(segmentor: keras.Model) -> bool:
    """Whether a segmentor is one of `build_foreign`."""
    return segmentor.name == NAME


def padding_colour(segmentor: keras.Model) -> Colour:
    """The colour that pads a segmentor's images, DeepLab's or another's, 0 to 255."""
    return getattr(segmentor, 'mean_pixel', None) or mean_pixel(segmentor.name)


def _noise(size: Size) -> tf.Tensor:
    return tf.random.stateless_uniform([1, *size, 3], [0, 0], maxval=255.0)


def _require_logits(path: str, output: np.ndarray, num_classes: int) -> None:
    if output.dtype != np.float32 or output.ndim != 4 or output.shape[-1] != num_classes:
        raise UserError(
            f'--segmentor={path} returns {output.dtype} {list(output.shape)} for one window; it must return float32 '
            f'logits [batch, height, width, {num_classes}].'
        )
    if np.allclose(output.sum(axis=-1), 1, atol=1e-3) and output.min() >= 0:
        raise UserError(f'--segmentor={path} returns probabilities; it must return logits: leave out its last softmax.')
