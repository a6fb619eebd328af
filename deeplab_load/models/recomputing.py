"""D's large maps in training on CPUs: most of them are made again for the gradient instead of kept.

A block is the batch normalisation, ReLU and convolution after a convolution, once or twice. Of all its maps it keeps
the one that it is given; that of D's first convolution is made again as well, from image and labels. Blocks end
before a convolution that makes more channels, where maps are small, and after a pointwise one that takes long to be
made again. What lies between convolutions is compiled by XLA into one loop over memory each, so that making maps again
takes no longer than TensorFlow's own operations take without.
"""

import math
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

# Values of an image's map from which on a block pays; smaller ones save little, and each shape is compiled.
SMALLEST = 14 * 14 * 512
MANY_CHANNELS = 128  # From which on a pointwise convolution takes longer than what lies between convolutions.
# Where the first unit's kernel, and the second one's γ, β and depthwise kernel, have the channels between the units.
AXES = (-1, -1, -1, -2)


class Unit(NamedTuple):
    """Batch normalisation, ReLU, perhaps padding with zeros, and a convolution, by their layers."""

    norm: keras.layers.BatchNormalization
    relu: keras.layers.ReLU
    pad: keras.layers.ZeroPadding2D | None
    convolution: keras.layers.Layer

    def is_depthwise(self) -> bool:
        """Whether the convolution keeps channels apart."""
        return isinstance(self.convolution, keras.layers.DepthwiseConv2D)

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

    def compute_output_shape(self, input_shape: Sequence[int]) -> Sequence[int]:
        """The convolution's."""
        padded = self.pad.compute_output_shape(input_shape) if self.pad else input_shape
        return self.convolution.compute_output_shape(padded)

    def _is_same(self, pad: keras.layers.ZeroPadding2D, sides: Sequence[int]) -> bool:
        """Whether the padding is that of SAME, which needs no padded copy."""
        layer, missing = self.convolution, []
        for side, stride, size in zip(sides, layer.strides, layer.kernel_size, strict=True):
            total = max((-(-side // stride) - 1) * stride + size - side, 0)
            missing.append((total // 2, total - total // 2))
        return layer.padding == 'valid' and [tuple(p) for p in pad.padding] == missing


class Block(keras.layers.Layer):
    """One or two units. In training it keeps the first one's input at most, and makes what follows anew.

    Where a pointwise convolution makes twice, or more times, the channels that it takes, it and a depthwise one after
    it, which keeps them apart, are computed for one part of these channels after the other, so that no map between is
    larger than the input.
    """

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
            input_shape = unit.compute_output_shape(input_shape)
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
    while unit := _unit(pending):
        before, shape = shape, unit.compute_output_shape(shape)
        if not units and max(math.prod(before[1:]), math.prod(shape[1:])) < SMALLEST:
            break
        units.append(unit)
        del pending[: len(unit) - unit.count(None)]
        if len(units) == 2 or _ends(unit, shape, _unit(pending)):
            found.append(Block(units))
            rest, units = list(pending), []
    return found, rest


def _ends(unit: Unit, shape: Sequence[int], following: Unit | None) -> bool:
    """Whether a block ends with a unit, whose map has a shape, before there are two.

    It does where the next map is larger; and after a pointwise convolution that takes long to be made again, unless the
    next map is smaller.
    """
    if following is None:
        return True
    here, there = math.prod(shape[1:]), math.prod(following.compute_output_shape(shape)[1:])
    takes_long = not unit.is_depthwise() and unit.convolution.kernel.shape[-2] >= MANY_CHANNELS
    return there > here or (there == here and takes_long)


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


def _parts(units: Sequence[Unit]) -> int:
    """In how many parts the channels between units are computed."""
    if [unit.is_depthwise() for unit in units] != [False, True]:
        return 1
    inputs, outputs = units[0].convolution.kernel.shape[-2:]
    return outputs // inputs if outputs % inputs == 0 else 1


def _trained(units: Sequence[Unit], x: tf.Tensor, again: Callable[[], tf.Tensor]) -> tuple[tf.Tensor, ...]:
    """The last unit's map, and of every unit the mean and the biased variance of its batch."""
    first, second = units[0], units[1] if len(units) == 2 else None
    parts = _parts(units)

    @tf.custom_gradient
    def compute(x: tf.Tensor, *weights: tf.Tensor) -> tuple[tuple[tf.Tensor, ...], Callable]:
        norm = first.of_batch(moments(x), *weights[:2])
        a = norm_relu(x, norm)
        made: list[tf.Tensor] = []
        between: list[Norm] = []
        split = (tf.split(w, parts, axis) for w, axis in zip(weights[2:], AXES, strict=False))
        by_part = list(zip(*split, strict=True))
        for kernel, *others in by_part:
            with tf.control_dependencies(made[-1:]):  # Not two parts at once.
                made.append(first.convolve(a, kernel))
            if second:
                between.append(second.of_batch(moments(made[-1]), *others[:2]))
                made[-1] = second.convolve(norm_relu(made[-1], between[-1]), others[2])

        def gradient(upstream: tf.Tensor, *_: tf.Tensor) -> list[tf.Tensor]:
            with tf.control_dependencies([upstream]):  # Not before, or the maps would be there all the while.
                x = again()
                a = norm_relu(x, norm)
            of_a, of_weights = None, []
            for number, of_y in enumerate(tf.split(upstream, parts, -1)):
                (kernel, *others), of_others = by_part[number], []
                if second:
                    with tf.control_dependencies([] if of_a is None else [of_a]):  # Not two parts at once.
                        y = first.convolve(a, kernel)
                    of_y, *of_others = _unit_gradients(second, y, between[number], others[2], of_y)
                of_part, of_kernel = _convolution_gradients(first, a, kernel, of_y)
                of_a = of_part if of_a is None else of_a + of_part
                of_weights.append([of_kernel, *of_others])
            of_x, *of_norm = norm_relu_gradients(x, of_a, norm)
            joined = [tf.concat(g, axis) for g, axis in zip(zip(*of_weights, strict=True), AXES, strict=False)]
            return [of_x, *of_norm, *joined]

        moments_between = [tf.concat(values, -1) for values in zip(*(n[:2] for n in between), strict=True)]
        return (tf.concat(made, -1), norm.mean, norm.variance, *moments_between), gradient

    return compute(x, *chain.from_iterable(unit.weights() for unit in units))


def _unit_gradients(
    unit: Unit, x: tf.Tensor, norm: Norm, kernel: tf.Tensor, upstream: tf.Tensor
) -> tuple[tf.Tensor, ...]:
    """By x, γ, β and the kernel."""
    upstream, of_kernel = _convolution_gradients(unit, norm_relu(x, norm), kernel, upstream)
    return *norm_relu_gradients(x, upstream, norm), of_kernel


def _convolution_gradients(
    unit: Unit, x: tf.Tensor, kernel: tf.Tensor, upstream: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """By x and by the kernel."""
    with tf.GradientTape() as tape:
        tape.watch([x, kernel])
        y = unit.convolve(x, kernel)
    return tape.gradient(y, [x, kernel], upstream)
