"""Frozen batch normalisation folded into the convolution before it: the same variables, fewer operations."""

from collections.abc import Callable

import keras
import tensorflow as tf

from deeplab_load.models.foreign import is_foreign
from deeplab_load.models.slim import BatchNorm

_NORM = '.BatchNorm'


def norms_of(segmentor: keras.Model) -> dict[str, BatchNorm]:
    """The batch normalisations by the name of the convolution that each follows, alone (`slim.convolution`)."""
    return {layer.name.removesuffix(_NORM): layer for layer in segmentor.layers if isinstance(layer, BatchNorm)}


def folded_in_graph(segmentor: keras.Model) -> keras.Model:
    """The segmentor with its batch normalisation frozen and, at every call anew, folded into the convolutions.

    y = conv(x, W·s) + (β − mean·s) with s = γ / √(variance + ε), which is what the moving averages make of conv(x, W).

    Args:
        segmentor: of `build_segmentor`; another one is left as it is.

    Returns:
        A model of the same input, output and variables, differentiable in W, γ and β. All its other layers are the
        segmentor's own, those of dropout too.
    """
    if is_foreign(segmentor):
        return segmentor
    norms = norms_of(segmentor)

    def counterpart(layer: keras.Layer) -> keras.Layer:
        if isinstance(layer, BatchNorm):
            return keras.layers.Identity(name=layer.name)
        return FoldedConvolution(layer, norms[layer.name]) if layer.name in norms else layer

    return keras.models.clone_model(segmentor, clone_function=counterpart)


class FoldedConvolution(keras.layers.Layer):
    """A convolution without biases and the frozen batch normalisation after it, as one convolution with biases."""

    def __init__(
        self,
        convolution: keras.Layer,
        norm: keras.layers.BatchNormalization,
        convolve: Callable[[tf.Tensor, tf.Tensor, keras.Layer], tf.Tensor] | None = None,
    ) -> None:
        super().__init__(name=convolution.name)
        self.convolution, self.norm, self.convolve = convolution, norm, convolve or convolved

    def call(self, x):
        """x [batch, height, width, channels] as the convolution takes it, to what the normalisation returns."""
        norm = self.norm
        statistics = (tf.convert_to_tensor(v) for v in (norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance))
        kernel, bias = folded_weights(tf.convert_to_tensor(self.convolution.kernel), *statistics, epsilon=norm.epsilon)
        return tf.nn.bias_add(self.convolve(x, kernel, self.convolution), bias)

    def compute_output_shape(self, input_shape):
        """The convolution's."""
        return self.convolution.compute_output_shape(input_shape)


def is_bare_convolution(layer: keras.Layer) -> bool:
    """Whether a layer is a convolution, depthwise or not, with neither biases nor an activation."""
    is_convolution = isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D)
    return is_convolution and not layer.use_bias and layer.activation is keras.activations.linear


def folded_weights(
    kernel: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor, *, epsilon: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Kernel and biases of a convolution with its batch normalisation.

    The last axis of a kernel is the output channel, but of a depthwise one [height, width, channels, 1] the one before.
    """
    scale = gamma / tf.sqrt(variance + epsilon)
    by_channel = scale[:, tf.newaxis] if kernel.shape[2:] == (*scale.shape, 1) else scale
    return kernel * by_channel, beta - mean * scale


def convolved(x: tf.Tensor, kernel: tf.Tensor, layer: keras.layers.Conv2D, *, padding: str | None = None) -> tf.Tensor:
    """What a convolution layer, depthwise or not, would make of x with another kernel or padding, biases left out."""
    operation = keras.ops.depthwise_conv if isinstance(layer, keras.layers.DepthwiseConv2D) else keras.ops.conv
    return operation(x, kernel, layer.strides, padding or layer.padding, dilation_rate=layer.dilation_rate)
