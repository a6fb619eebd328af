"""D's large maps in training on CPUs: most of them are made again for the gradient instead of kept.

A block is the batch normalisation, ReLU and convolution after a convolution: in MobileNet those of a depthwise and of a
pointwise convolution together. Of all its maps it keeps the one that it is given; that of D's first convolution is made
again as well, from image and labels. What lies between convolutions is compiled by XLA into one loop over memory each,
so that making maps again takes no longer than TensorFlow's own operations take without.
"""

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from deeplab_load.models.compiled_norm import Norm, moments, norm_relu, norm_relu_gradients
from deeplab_load.models.folding import is_bare_convolution
from deeplab_load.models.fused_norm import update_averages
from deeplab_load.models.in_training import convolved_in_training
from deeplab_load.models.slim import fused_batch_norm

SMALLEST = 14 * 14 * 512  # Values of an image's map from which on a block pays; measured in docs/speed.md.


class Unit(NamedTuple):
    """Batch normalisation, ReLU, perhaps padding with zeros, and a convolution, by their layers."""

    norm: keras.layers.BatchNormalization
    relu: keras.layers.ReLU
    pad: keras.layers.ZeroPadding2D | None
    convolution: keras.layers.Layer

    def in_inference(self, x: tf.Tensor) -> tf.Tensor:
        """What the layers make of x in inference mode."""
        x = self.relu(fused_batch_norm(x, self.norm, is_training=False)[0])
        return self.convolution(self.pad(x) if self.pad else x)

    def weights(self) -> list[tf.Tensor]:
        """γ, β and the kernel."""
        return [tf.convert_to_tensor(v) for v in (self.norm.gamma, self.norm.beta, self.convolution.kernel)]

    def of_batch(self, moments: tuple[tf.Tensor, tf.Tensor], gamma: tf.Tensor, beta: tf.Tensor) -> Norm:
        """The normalisation of a batch of these moments, and the ReLU."""
        most = float('inf') if self.relu.max_value is None else self.relu.max_value
        return Norm(*moments, gamma, beta, self.norm.epsilon, most)

    def convolve(self, x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """x padded and convolved."""
        if self.pad and self._is_same(self.pad, x.shape[1:3]):
            return convolved_in_training(x, kernel, self.convolution, padding='same')
        return convolved_in_training(self.pad(x) if self.pad else x, kernel, self.convolution)

    def _is_same(self, pad: keras.layers.ZeroPadding2D, sides: Sequence[int]) -> bool:
        """Whether the padding is that of SAME, which needs no padded copy."""
        layer, missing = self.convolution, []
        for side, stride, size in zip(sides, layer.strides, layer.kernel_size, strict=True):
            total = max((-(-side // stride) - 1) * stride + size - side, 0)
            missing.append((total // 2, total - total // 2))
        return layer.padding == 'valid' and [tuple(p) for p in pad.padding] == missing


class Block(keras.layers.Layer):
    """Units one after the other. In training it keeps the first one's input at most, and makes the others anew."""

    def __init__(self, units: Sequence[Unit], **kwargs: Any) -> None:
        super().__init__(name=f'{units[0].norm.name}_block', **kwargs)
        self.units = list(units)

    def call(self, x, training=False, again=None):
        """What the layers make of x `[batch, height, width, channels]`; updates the moving averages when training.

        Where `again` is given, a function that makes x, x is not kept for the gradient either.
        """
        if not training:
            for unit in self.units:
                x = unit.in_inference(x)
            return x
        y, *statistics = _trained(self.units, x, again or (lambda: tf.identity(x)))
        for unit, mean, variance in zip(self.units, statistics[::2], statistics[1::2], strict=True):
            update_averages(unit.norm, mean, variance)
        return y

    def compute_output_shape(self, input_shape):
        """The last convolution's."""
        for unit in self.units:
            padded = unit.pad.compute_output_shape(input_shape) if unit.pad else input_shape
            input_shape = unit.convolution.compute_output_shape(padded)
        return input_shape


def blocks(layers: Sequence[keras.Layer], shape: Sequence[int]) -> tuple[list[Block], list[keras.Layer]]:
    """The blocks that a chain of layers begins with as long as maps are large, and the layers after them.

    On GPUs, where this is not measured, none.

    Args:
        layers: what follows a convolution.
        shape: of its map, `[batch, height, width, channels]`; the sides are known.
    """
    found: list[Block] = []
    rest, pending = list(layers), list(layers)
    units: list[Unit] = []
    if tf.config.list_physical_devices('GPU'):
        return found, rest
    while shape[1] * shape[2] * shape[3] >= SMALLEST and (unit := _unit(pending)):
        units.append(unit)
        del pending[: len(unit) - unit.count(None)]
        if not isinstance(unit.convolution, keras.layers.DepthwiseConv2D):
            found.append(Block(units))
            rest, units, shape = list(pending), [], found[-1].compute_output_shape(shape)
    return found, rest


def _unit(layers: Sequence[keras.Layer]) -> Unit | None:
    """The unit that layers begin with."""
    if len(layers) < 4:
        return None
    norm, relu, *after = layers[:4]
    pad = after.pop(0) if isinstance(after[0], keras.layers.ZeroPadding2D) else None
    convolution = after[0]
    is_norm = type(norm) is keras.layers.BatchNormalization
    is_relu = isinstance(relu, keras.layers.ReLU) and not relu.negative_slope and not relu.threshold
    is_convolution = is_bare_convolution(convolution) and convolution.dilation_rate == (1, 1)
    return Unit(norm, relu, pad, convolution) if is_norm and is_relu and is_convolution else None


def _trained(units: Sequence[Unit], x: tf.Tensor, again: Callable[[], tf.Tensor]) -> tuple[tf.Tensor, ...]:
    """The last unit's map, and of every unit the mean and the biased variance of its batch."""

    @tf.custom_gradient
    def compute(x: tf.Tensor, *weights: tf.Tensor) -> tuple[tuple[tf.Tensor, ...], Callable]:
        norms, kernels, y = [], weights[2::3], x
        for unit, gamma, beta, kernel in zip(units, weights[::3], weights[1::3], kernels, strict=True):
            norms.append(unit.of_batch(moments(y), gamma, beta))
            y = unit.convolve(norm_relu(y, norms[-1]), kernel)

        def gradient(upstream: tf.Tensor, *_: tf.Tensor) -> list[tf.Tensor]:
            with tf.control_dependencies([upstream]):  # Not before, or the maps would be there all the while.
                made = _made_again(units, again(), norms, kernels)
            gradients: list[tf.Tensor] = []
            for unit, norm, kernel, (before, after) in reversed(list(zip(units, norms, kernels, made, strict=True))):
                upstream, of_kernel = _convolution_gradients(unit, after, kernel, upstream)
                upstream, *of_norm = norm_relu_gradients(before, upstream, norm)
                gradients = [*of_norm, of_kernel, *gradients]
            return [upstream, *gradients]

        return (y, *(moment for norm in norms for moment in (norm.mean, norm.variance))), gradient

    return compute(x, *chain.from_iterable(unit.weights() for unit in units))


def _made_again(
    units: Sequence[Unit], x: tf.Tensor, norms: Sequence[Norm], kernels: Sequence[tf.Tensor]
) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """Of each unit the map before its batch normalisation and that after its ReLU."""
    made = [(x, norm_relu(x, norms[0]))]
    for before, kernel, norm in zip(units, kernels, norms[1:], strict=False):
        x = before.convolve(made[-1][1], kernel)
        made.append((x, norm_relu(x, norm)))
    return made


def _convolution_gradients(
    unit: Unit, x: tf.Tensor, kernel: tf.Tensor, upstream: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """By x and by the kernel."""
    with tf.GradientTape() as tape:
        tape.watch([x, kernel])
        y = unit.convolve(x, kernel)
    return tape.gradient(y, [x, kernel], upstream)
