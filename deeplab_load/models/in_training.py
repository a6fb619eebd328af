"""The segmentor as the steps of training call it: the same variables, faster operations, in float32 or bfloat16."""

import pathlib
from collections.abc import Callable

import keras
import tensorflow as tf

from deeplab_load.models.enlarging import EnlargeToStride
from deeplab_load.models.folding import FoldedConvolution, convolved, norms_of
from deeplab_load.models.foreign import is_foreign
from deeplab_load.models.passing import has_dilated_depthwise
from deeplab_load.models.pointwise import pointwise
from deeplab_load.models.shifting import LARGEST_RATE_APART, dilated_depthwise
from deeplab_load.models.slim import BatchNorm, ResizeToStride


def in_training(segmentor: keras.Model, *, frozen: bool = False, mixed_precision: bool = False) -> keras.Model:
    """The segmentor of operations that are fast in training; frozen batch norm is folded (`folding.folded_in_graph`).

    XLA compiles, once for each shape of a batch, what takes TensorFlow long.

    Args:
        segmentor: of `build_segmentor`; another one is left as it is.
        frozen: whether all batch normalisation counts as frozen, not only that which was built so.
        mixed_precision: whether the dense convolutions that batch norm follows compute in bfloat16. All else
            stays float32: weights, their folding, biases, batch norm, maps between convolutions.

    Returns:
        A model of the same input, output and variables. All its other layers are the segmentor's own, those of dropout
        too.
    """
    if is_foreign(segmentor):
        return segmentor
    norms = norms_of(segmentor)
    convolve = _convolved_in_bfloat16 if mixed_precision else convolved_in_training

    def is_frozen(norm: BatchNorm) -> bool:
        return frozen or norm.frozen

    def counterpart(layer: keras.Layer) -> keras.Layer:
        if isinstance(layer, BatchNorm) and is_frozen(layer):
            return keras.layers.Identity(name=layer.name)
        if isinstance(layer, ResizeToStride):
            return EnlargeToStride(layer.stride, name=layer.name)
        if norm := norms.get(layer.name):
            return FoldedConvolution(layer, norm, convolve) if is_frozen(norm) else ConvolutionBy(layer, convolve)
        return layer

    return keras.models.clone_model(segmentor, clone_function=counterpart)


def gains_from_mixed_precision() -> bool:
    """Whether TensorFlow has fast bfloat16 here: GPUs since Ampere; oneDNN on processors with AVX512-BF16 or AMX."""
    if gpus := tf.config.list_physical_devices('GPU'):
        details = (tf.config.experimental.get_device_details(gpu) for gpu in gpus)
        return all(found.get('compute_capability', (0, 0)) >= (8, 0) for found in details)
    return has_dilated_depthwise() and not {'avx512_bf16', 'amx_bf16'}.isdisjoint(_processor_flags())


def _processor_flags() -> list[str]:
    """What the processors can do, as Linux calls it, among other words; none on other systems."""
    processors = pathlib.Path('/proc/cpuinfo')
    return processors.read_text(errors='replace').split() if processors.exists() else []


class ConvolutionBy(keras.layers.Layer):
    """A convolution without biases by another function."""

    def __init__(self, convolution: keras.Layer, convolve: Callable) -> None:
        super().__init__(name=convolution.name)
        self.convolution, self.convolve = convolution, convolve

    def call(self, x):
        """What the convolution makes of x `[batch, height, width, channels]`."""
        return self.convolve(x, tf.convert_to_tensor(self.convolution.kernel), self.convolution)

    def compute_output_shape(self, input_shape):
        """The convolution's."""
        return self.convolution.compute_output_shape(input_shape)


def _convolved_in_bfloat16(x: tf.Tensor, kernel: tf.Tensor, layer: keras.layers.Conv2D) -> tf.Tensor:
    """`convolved_in_training` with factors, results and gradients rounded to bfloat16, float32 outside.

    Depthwise convolutions stay float32: they are no products of matrices, which is what processors have instructions
    for, and most of the error would be theirs (docs/speed.md).
    """
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return convolved_in_training(x, kernel, layer)
    y = convolved_in_training(tf.cast(x, tf.bfloat16), tf.cast(kernel, tf.bfloat16), layer)
    return tf.cast(y, tf.float32)


def convolved_in_training(
    x: tf.Tensor, kernel: tf.Tensor, layer: keras.layers.Conv2D, *, padding: str | None = None
) -> tf.Tensor:
    """`convolved`, on CPUs one of 1x1 as `pointwise`, and a depthwise one of a large rate as a sum of shifted maps."""
    (rate, of_columns), padding = layer.dilation_rate, padding or layer.padding
    if not isinstance(layer, keras.layers.DepthwiseConv2D):
        is_pointwise = kernel.shape[:3] == (1, 1, x.shape[-1]) and tuple(layer.strides) == (1, 1)
        if is_pointwise and not tf.config.list_physical_devices('GPU'):  # Not measured there.
            return pointwise(x, kernel)
        return convolved(x, kernel, layer, padding=padding)
    is_dilated = rate == of_columns > LARGEST_RATE_APART and kernel.shape[:2] == (3, 3) and padding == 'same'
    if is_dilated and None not in x.shape[1:]:
        return dilated_depthwise(x, kernel, rate)
    return convolved(x, kernel, layer, padding=padding)
