"""TF1's slim as Keras layers: convolutions, batch normalisation and resizing with the original's numbers.

Layers are named by their slim scope with '.' for '/' (Keras forbids '/'), from which `restore.names` derives TF1 names.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from deeplab_load import replicas

# (height, width), each known now or only when a graph runs.
Size = Sequence[int | tf.Tensor]

# The fused op raises any smaller epsilon to this value, cuDNN's minimum.
SMALLEST_EPSILON = 1.001e-5


@dataclass(frozen=True)
class ArgScope:
    """What all convolutions of one part of the network share (slim.arg_scope).

    `stddev` is the initial deviation of the weights (truncated normal); None is Xavier's uniform initialiser.
    `frozen` batch normalisation uses its moving averages even in training. With `explicit_padding` strided
    convolutions pad both sides alike, whereas 'SAME' pads even sizes at the bottom and right only.
    """

    activation: str
    epsilon: float
    decay: float
    frozen: bool
    stddev: float | None
    seed: int
    explicit_padding: bool = False

    def initializer(self, name: str, stddev: float | None = None) -> keras.initializers.Initializer:
        """The initialiser of the layer `name`, seeded by the model's seed and that name."""
        seed = (self.seed + zlib.crc32(name.encode())) % 2**31
        deviation = self.stddev if stddev is None else stddev
        if deviation is None:
            return keras.initializers.GlorotUniform(seed=seed)
        return keras.initializers.TruncatedNormal(stddev=deviation, seed=seed)


@keras.saving.register_keras_serializable(package='deeplab_load')
def hard_swish(x: tf.Tensor) -> tf.Tensor:
    """x relu6(x + 3) / 6 in the original's order of float32 operations (mobilenet_v3.hard_swish)."""
    return x * tf.nn.relu6(x + 3.0) * np.float32(1.0 / 6.0)


@keras.saving.register_keras_serializable(package='deeplab_load')
def q_sigmoid(x: tf.Tensor) -> tf.Tensor:
    """relu6(x + 3) * 0.16667: the original rounds 1/6 (core/utils.q_sigmoid and the gates of squeeze_excite)."""
    return tf.nn.relu6(x + 3.0) * 0.16667


# What Keras does not have, or not with the original's numbers.
_ACTIVATIONS = {'hard_swish': hard_swish, 'q_sigmoid': q_sigmoid}


def activate(x: keras.KerasTensor, activation: str, name: str) -> keras.KerasTensor:
    """Applies an activation by its name, 'linear' for none, in a layer called '<name>.<activation>'."""
    if activation == 'linear':
        return x
    return keras.layers.Activation(_ACTIVATIONS.get(activation, activation), name=f'{name}.{activation}')(x)


def convolution(
    x: keras.KerasTensor,
    filters: int,
    name: str,
    scope: ArgScope,
    *,
    kernel_size: int = 1,
    stride: int = 1,
    rate: int = 1,
    activation: str | None = None,
    stddev: float | None = None,
) -> keras.KerasTensor:
    """A convolution without biases, batch normalisation and activation (slim.conv2d, resnet_utils.conv2d_same).

    Args:
        x: features [batch, height, width, channels].
        filters: number of output channels.
        name: the slim scope with '.' for '/'.
        scope: what the layers of this part of the network share.
        kernel_size: side of the square kernel.
        stride: stride on both sides.
        rate: atrous rate; one of stride and rate must be 1.
        activation: instead of the scope's; 'linear' for none.
        stddev: instead of the scope's.

    Returns:
        [batch, ceil(height / stride), ceil(width / stride), filters].
    """
    x, padding = _padded(x, name, scope, kernel_size, stride)
    layer = keras.layers.Conv2D(
        filters,
        kernel_size,
        stride,
        padding=padding,
        dilation_rate=rate,
        use_bias=False,
        kernel_initializer=scope.initializer(name, stddev),
        name=name,
    )
    return _normalised(layer(x), name, scope, activation)


def biased_convolution(
    x: keras.KerasTensor,
    filters: int,
    name: str,
    scope: ArgScope,
    *,
    activation: str = 'linear',
    stddev: float | None = None,
) -> keras.KerasTensor:
    """A 1x1 convolution with biases instead of batch normalisation; args and returns as `convolution`."""
    layer = keras.layers.Conv2D(filters, 1, kernel_initializer=scope.initializer(name, stddev), name=name)
    return activate(layer(x), activation, name)


def depthwise(
    x: keras.KerasTensor,
    name: str,
    scope: ArgScope,
    *,
    kernel_size: int = 3,
    stride: int = 1,
    rate: int | tuple[int, int] = 1,
    activation: str | None = None,
    stddev: float | None = None,
) -> keras.KerasTensor:
    """A depthwise (atrous) convolution, batch normalisation and activation (slim.separable_conv2d without pointwise).

    Args and returns as `convolution`; `rate` may be one for (height, width) each.
    """
    x, padding = _padded(x, name, scope, kernel_size, stride)
    layer = keras.layers.DepthwiseConv2D(
        kernel_size,
        stride,
        padding=padding,
        dilation_rate=rate,
        use_bias=False,
        depthwise_initializer=scope.initializer(name, stddev),
        name=name,
    )
    return _normalised(layer(x), name, scope, activation)


def split_separable(
    x: keras.KerasTensor, filters: int, name: str, scope: ArgScope, *, rate: int | tuple[int, int] = 1
) -> keras.KerasTensor:
    """A 3x3 depthwise and a 1x1 convolution, each normalised and activated (core/utils.split_separable_conv2d)."""
    x = depthwise(x, f'{name}_depthwise', scope, rate=rate, stddev=0.33)
    return convolution(x, filters, f'{name}_pointwise', scope, stddev=0.06)


def _padded(
    x: keras.KerasTensor, name: str, scope: ArgScope, kernel_size: int, stride: int
) -> tuple[keras.KerasTensor, str]:
    """What a convolution takes, and its padding: 'valid' where the input was padded explicitly, else 'same'."""
    if not scope.explicit_padding or stride == 1 or kernel_size == 1:
        return x, 'same'
    return keras.layers.ZeroPadding2D((kernel_size - 1) // 2, name=f'{name}.pad')(x), 'valid'


def _normalised(x: keras.KerasTensor, name: str, scope: ArgScope, activation: str | None) -> keras.KerasTensor:
    x = BatchNorm(epsilon=scope.epsilon, decay=scope.decay, frozen=scope.frozen, name=f'{name}.BatchNorm')(x)
    return activate(x, activation or scope.activation, name)


@keras.saving.register_keras_serializable(package='deeplab_load')
class BatchNorm(keras.layers.Layer):
    """Batch normalisation over [batch, height, width] by TF's fused op (slim.batch_norm, fused, center and scale).

    In training it normalises with the biased batch variance but averages the Bessel-corrected one, which Keras'
    BatchNormalization does not; epsilon is raised to the fused op's minimum. moving -= (moving - batch) * (1 - decay).
    A `frozen` layer uses its moving averages whatever `training`; gamma and beta stay trainable. On several replicas
    the statistics are those of the whole batch.
    """

    def __init__(self, *, epsilon: float, decay: float, frozen: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.epsilon = max(epsilon, SMALLEST_EPSILON)
        self.decay = decay
        self.frozen = frozen

    def build(self, input_shape):
        """Creates gamma, beta, moving_mean and moving_variance, each [channels]."""
        channels = (input_shape[-1],)
        self.gamma = self.add_weight(name='gamma', shape=channels, initializer='ones')
        self.beta = self.add_weight(name='beta', shape=channels, initializer='zeros')
        self.moving_mean = self.add_weight(name='moving_mean', shape=channels, initializer='zeros', trainable=False)
        self.moving_variance = self.add_weight(
            name='moving_variance', shape=channels, initializer='ones', trainable=False
        )

    def call(self, x, training=False):
        """Normalises x, and folds the batch's statistics into the moving averages when training and not frozen."""
        if not training or self.frozen:
            return fused_batch_norm(x, self, is_training=False)[0]
        if replicas.count() > 1:
            y, mean, variance = self._synchronised(x)
        else:
            y, mean, variance = fused_batch_norm(x, self, is_training=True)
        self._average(self.moving_mean, mean)
        self._average(self.moving_variance, variance)
        return y

    def _synchronised(self, x):
        """What the fused op gives for the whole batch: normalised x, the mean, the Bessel-corrected variance."""
        mean, variance, number = moments_of_all(x)
        scale = tf.math.rsqrt(variance + self.epsilon) * tf.convert_to_tensor(self.gamma)
        y = (x - mean) * scale + tf.convert_to_tensor(self.beta)
        return y, mean, variance * (number / tf.maximum(number - 1, 1))

    def _average(self, moving, batch):
        value = tf.convert_to_tensor(moving)
        moving.assign(value - (value - tf.stop_gradient(batch)) * tf.constant(1 - self.decay, tf.float32))

    def compute_output_shape(self, input_shape):
        """The input's shape."""
        return input_shape

    def get_config(self):
        """What `__init__` takes."""
        return {**super().get_config(), 'epsilon': self.epsilon, 'decay': self.decay, 'frozen': self.frozen}


def fused_batch_norm(
    x: tf.Tensor, norm: BatchNorm | keras.layers.BatchNormalization, *, is_training: bool
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """x normalised by TF's fused op with the layer's variables, and the mean and the Bessel-corrected variance.

    In training those of the batch, otherwise the layer's moving averages.
    """
    empty = tf.zeros([0], tf.float32)
    moments = (empty, empty) if is_training else (norm.moving_mean, norm.moving_variance)
    scale, offset, mean, variance = map(tf.convert_to_tensor, (norm.gamma, norm.beta, *moments))
    return tf.raw_ops.FusedBatchNormV3(
        x=x, scale=scale, offset=offset, mean=mean, variance=variance, epsilon=norm.epsilon, is_training=is_training
    )[:3]


def values_by_channel(x: tf.Tensor) -> tf.Tensor:
    """How many values each channel of x `[..., channels]` has, as a scalar of x's type."""
    return tf.cast(tf.reduce_prod(tf.shape(x)[:-1]), x.dtype)


def moments_of_all(x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Mean and biased variance of each channel over the slices of all replicas, and how many values each is of.

    The variance is that of deviations from the mean: a mean of squares less the squared mean loses digits.
    """
    axes = list(range(len(x.shape) - 1))
    number = replicas.total(values_by_channel(x))
    mean = replicas.total(tf.reduce_sum(x, axes)) / number
    return mean, replicas.total(tf.reduce_sum(tf.math.squared_difference(x, mean), axes)) / number, number


def scale_dimension(dimension: int | tf.Tensor, scale: float) -> int | tf.Tensor:
    """int((dimension - 1) * scale + 1), truncated; in float32 for a tensor (core/utils.scale_dimension)."""
    if isinstance(dimension, tf.Tensor):
        return tf.cast((tf.cast(dimension, tf.float32) - 1.0) * scale + 1.0, tf.int32)
    return int((float(dimension) - 1.0) * scale + 1.0)


def largest_divisor(number: int, most: int) -> int:
    """The largest divisor of a number that is not larger than `most`."""
    return max(n for n in range(1, most + 1) if number % n == 0)


def spatial_size(images: tf.Tensor) -> tuple[int | tf.Tensor, int | tf.Tensor]:
    """(height, width) of [batch, height, width, channels], each a plain int where it is known statically."""
    dynamic = tf.shape(images)
    height, width = (dynamic[axis] if images.shape[axis] is None else images.shape[axis] for axis in (1, 2))
    return height, width


def resize_bilinear(images: tf.Tensor, size: Size) -> tf.Tensor:
    """Bilinear resize of [batch, height, width, channels] to `size`, corners aligned; float32, exact at equal size."""
    return tf.raw_ops.ResizeBilinear(images=images, size=tf.stack(size), align_corners=True)


def resize_nearest(images: tf.Tensor, size: Size) -> tf.Tensor:
    """Nearest resize of [batch, height, width, channels] to `size`, corners aligned, halves rounded up; type kept."""
    return tf.raw_ops.ResizeNearestNeighbor(images=images, size=tf.stack(size), align_corners=True)


@keras.saving.register_keras_serializable(package='deeplab_load')
class ResizeToStride(keras.layers.Layer):
    """Resizes features bilinearly to the size that the image has at an output stride."""

    def __init__(self, stride: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stride = stride

    def call(self, x, image):
        """x [batch, height, width, channels] at the size of `image` divided by the stride (scale_dimension)."""
        return resize_bilinear(x, self.size_of(image))

    def size_of(self, image: tf.Tensor) -> Size:
        """Height and width of the result, each a plain int where the image's is known."""
        return tuple(scale_dimension(side, 1.0 / self.stride) for side in spatial_size(image))

    def compute_output_shape(self, x_shape, image_shape):
        """[batch, scaled height, scaled width, channels], None where the image's side is unknown."""
        height, width = (
            None if side is None else scale_dimension(side, 1.0 / self.stride) for side in image_shape[1:3]
        )
        return (x_shape[0], height, width, x_shape[3])

    def get_config(self):
        """What `__init__` takes."""
        return {**super().get_config(), 'stride': self.stride}


@keras.saving.register_keras_serializable(package='deeplab_load')
class WindowPooling(keras.layers.AveragePooling2D):
    """Means over the window that a crop is at an output stride, inside the features only (image_pooling_crop_size)."""

    def __init__(self, crop_size: Sequence[int], output_stride: int, strides: Sequence[int], **kwargs: Any) -> None:
        self.crop_size, self.output_stride = tuple(crop_size), output_stride
        window = tuple(int(scale_dimension(side, 1.0 / output_stride)) for side in crop_size)
        super().__init__(window, tuple(strides), **kwargs)

    def at_scale(self, scale: float) -> 'WindowPooling':
        """The layer for images at a scale (multi_scale_logits)."""
        crop_size = [int(scale_dimension(side, scale)) for side in self.crop_size]
        return WindowPooling(crop_size, self.output_stride, self.strides, name=self.name)

    def get_config(self):
        """What `__init__` takes."""
        kept = {key: value for key, value in super().get_config().items() if key in ('name', 'trainable', 'dtype')}
        own = {'crop_size': self.crop_size, 'output_stride': self.output_stride, 'strides': self.strides}
        return {**kept, **own}


def atrous_conversion(strides: list[int], output_stride: int) -> list[tuple[int, int]]:
    """(stride, atrous rate) of each layer, given their nominal strides and the output stride to stop at.

    Once the output stride is reached a layer's stride becomes 1; it uses the rate gathered so far, and the layers after
    it that rate times its nominal stride (slim's mobilenet_base, xception's and resnet_utils' stack_blocks_dense).
    """
    current, rate, converted = 1, 1, []
    for stride in strides:
        if current == output_stride:
            converted.append((1, rate))
            rate *= stride
        else:
            converted.append((stride, 1))
            current *= stride
    return converted
