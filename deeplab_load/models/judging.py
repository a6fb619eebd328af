"""The discriminator D as the steps ask it: what its layers compute, in fewer and faster operations."""

from collections.abc import Callable
from itertools import pairwise

import keras
import tensorflow as tf

from deeplab_load.models.class_split import split_convolution
from deeplab_load.models.discriminator import discriminator_images
from deeplab_load.models.folding import FoldedConvolution, is_bare_convolution
from deeplab_load.models.fused_norm import FusedNorm
from deeplab_load.models.in_training import ConvolutionBy, convolved_in_training
from deeplab_load.models.recomputing import blocks


def on_labels(discriminator: keras.Model, num_classes: int) -> Callable[[tf.Tensor, tf.Tensor, bool], tf.Tensor]:
    """D on hard maps, whose split by class is never made: see `split_convolution`.

    Args:
      discriminator: of `build_discriminator`: a chain of layers that begins with a convolution.
      num_classes: K.

    Returns:
      A function of the segmentor's windows `[batch, h, w, 3]` (0 to 255), of `hard_labels` and of `training`, which
      gives D's logits `[batch, 1]`, with a gradient to D's variables.
    """
    size, channels = discriminator.input_shape[2:]
    first, *after = _layers(discriminator)
    shape = first.compute_output_shape(discriminator.input_shape)
    compiled, after = blocks(after, shape)
    block = compiled.pop(0) if compiled else None
    shape = block.compute_output_shape(shape) if block else shape
    rest = keras.Sequential([keras.Input(shape[1:]), *compiled, *map(_faster, after)])

    def judge(images: tf.Tensor, labels: tf.Tensor, training: bool) -> tf.Tensor:
        # A map alone is the split of an image of ones.
        alone = channels == num_classes
        seen = tf.ones_like(labels, tf.float32)[..., tf.newaxis] if alone else discriminator_images(images, size)
        kernel = tf.convert_to_tensor(first.kernel)
        bias = tf.convert_to_tensor(first.bias) if first.use_bias else None

        def convolve() -> tf.Tensor:
            x = split_convolution(seen, labels, kernel, strides=first.strides, padding=first.padding)
            return first.activation(x if bias is None else tf.nn.bias_add(x, bias))

        x = convolve()
        x = block(x, training=training, again=convolve) if block else x
        return rest(x, training=training)

    return judge


def folded_in_inference(discriminator: keras.Model) -> keras.Model:
    """D in inference mode, its batch normalisation folded into its convolutions at every call anew.

    Args:
      discriminator: of `build_discriminator`: a chain of layers.

    Returns:
      A model of the same input, output and variables, for calls with training=False.
    """
    layers = _layers(discriminator)
    norms = {layer: after for layer, after in pairwise(layers) if _is_normalised(layer, after)}
    folded = [FoldedConvolution(layer, norms[layer]) if layer in norms else layer for layer in layers]
    kept = [layer for layer in folded if layer not in norms.values()]
    return keras.Sequential([keras.Input(discriminator.input_shape[1:]), *kept])


def _faster(layer: keras.Layer) -> keras.Layer:
    """What computes the same as a layer in training, faster, or the layer itself."""
    if type(layer) is keras.layers.BatchNormalization:
        return FusedNorm(layer)
    is_pointwise = is_bare_convolution(layer) and layer.kernel_size == (1, 1)
    return ConvolutionBy(layer, convolved_in_training) if is_pointwise else layer


def _layers(model: keras.Model) -> list[keras.Layer]:
    return [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]


def _is_normalised(layer: keras.Layer, after: keras.Layer) -> bool:
    """Whether a layer is a convolution alone, and the one after it its batch normalisation."""
    return is_bare_convolution(layer) and isinstance(after, keras.layers.BatchNormalization)
