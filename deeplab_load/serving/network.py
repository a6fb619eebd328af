"""A segmentor made fast for inference: fewer operations, and its weights as constants of the graph."""

import math
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from deeplab_load.models.folding import folded_weights, norms_of
from deeplab_load.models.foreign import is_foreign
from deeplab_load.models.inference import upsampled_logits
from deeplab_load.models.slim import BatchNorm

Network = Callable[[tf.Tensor], tf.Tensor]
# From float32 crops [batch, height, width, 3] in 0..255 to int32 labels [batch, height, width].
CropFunction = Callable[[np.ndarray], np.ndarray]

# Up to which rate a dilated depthwise convolution is one operation: in graphs for every build of TensorFlow; in those
# for oneDNN, whose fast kernel ends there (beyond, taking the image apart is faster); in those of other runtimes.
PORTABLE, ONEDNN, OTHERS = 1, 4, math.inf


class DilatedDepthwise(keras.layers.DepthwiseConv2D):
    """A dilated depthwise convolution as one operation, where Keras takes the image apart and puts it together.

    On CPUs only oneDNN and XLA have a kernel of it; without them it raises UnimplementedError.
    """

    def call(self, x):
        """x [batch, height, width, channels], to the same size."""
        y = tf.raw_ops.DepthwiseConv2dNative(
            input=x,
            filter=tf.convert_to_tensor(self.kernel),
            strides=[1, *self.strides, 1],
            padding=self.padding.upper(),
            dilations=[1, *self.dilation_rate, 1],
        )
        return tf.nn.bias_add(y, tf.convert_to_tensor(self.bias))


def folded(segmentor: keras.Model, *, largest_rate: float) -> keras.Model:
    """The segmentor of inference: batch normalisation folded into the convolutions before it, no dropout.

    Args:
        segmentor: of `build_segmentor`; another one is left as it is.
        largest_rate: up to which a dilated depthwise convolution becomes one operation; the others stay as Keras makes
            them, of operations that run everywhere. `PORTABLE`, `ONEDNN` or `OTHERS`.

    Returns:
        A model of the same input and output, with layers of the same names.
    """
    if is_foreign(segmentor):
        return segmentor
    norms = norms_of(segmentor)

    def inference_layer(layer: keras.Layer) -> keras.Layer:
        if isinstance(layer, BatchNorm | keras.layers.Dropout):
            return keras.layers.Identity(name=layer.name)
        config = layer.get_config()
        if layer.name not in norms:
            return type(layer).from_config(config)
        depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        one = depthwise and 1 < max(layer.dilation_rate) <= largest_rate
        return (DilatedDepthwise if one else type(layer)).from_config({**config, 'use_bias': True})

    model = keras.models.clone_model(segmentor, clone_function=inference_layer)
    for layer in segmentor.layers:
        if layer.name in norms:
            model.get_layer(layer.name).set_weights(_constants(layer, norms[layer.name]))
        elif layer.weights and not isinstance(layer, BatchNorm | keras.layers.Dropout):
            model.get_layer(layer.name).set_weights(layer.get_weights())
    return model


def _constants(layer: keras.Layer, norm: BatchNorm) -> list[np.ndarray]:
    """Kernel and biases of a convolution with its batch normalisation, computed in float64."""
    values = (value.astype(np.float64) for value in (*layer.get_weights(), *norm.get_weights()))
    return [value.numpy().astype(np.float32) for value in folded_weights(*values, epsilon=norm.epsilon)]


def frozen(model: Network, crop_size: tuple[int, int]) -> tf.types.experimental.PolymorphicFunction:
    """A function of float32 crops [batch, crop height, crop width, 3] whose graph holds the weights as constants."""
    crops = tf.TensorSpec([None, *crop_size, 3], tf.float32, name='crops')
    concrete = tf.function(lambda images: model(images), input_signature=[crops]).get_concrete_function()
    constant = convert_variables_to_constants_v2(concrete)
    graph, entry, result = constant.graph.as_graph_def(), constant.inputs[0].name, constant.outputs[0].name

    @tf.function(input_signature=[crops])
    def network(crops: tf.Tensor) -> tf.Tensor:
        (logits,) = tf.graph_util.import_graph_def(graph, {entry: crops}, [result], name='')
        return logits

    return network


def crop_function(
    network: Network, crop_size: tuple[int, int], *, batch: int | None
) -> tf.types.experimental.PolymorphicFunction:
    """The function that other runtimes get, of operations that they have: crops to label maps by full-size logits."""
    crops = tf.TensorSpec([batch, *crop_size, 3], tf.float32, name='ImageTensor')

    @tf.function(input_signature=[crops])
    def segment(ImageTensor: tf.Tensor) -> dict[str, tf.Tensor]:  # noqa: N803 (becomes the input's name)
        scores = upsampled_logits(network(ImageTensor), crop_size)
        return {'SemanticPredictions': tf.argmax(scores, axis=3, output_type=tf.int32)}

    return segment
