"""From the backbone's features to logits: image pooling, ASPP and decoder (deeplab/model.py)."""

from typing import NamedTuple

import keras

from deeplab_load.models.slim import ArgScope, ResizeToStride, convolution, split_separable

BATCH_NORM_EPSILON = 1e-5
BATCH_NORM_DECAY = 0.9997
ASPP_FILTERS = 256
PROJECTED_LOW_LEVEL_FILTERS = 48
DECODER_FILTERS = 256
DROPOUT_RATE = 0.1


class Features(NamedTuple):
    """A backbone's features: at the output stride, and the low-level ones that a decoder at a stride takes."""

    deep: keras.KerasTensor
    low_level: dict[int, keras.KerasTensor]


def arg_scope(*, decay: float | None, frozen: bool, seed: int) -> ArgScope:
    """What the head's convolutions share: Xavier's initialiser and the head's own decay unless another is given."""
    decay = BATCH_NORM_DECAY if decay is None else decay
    return ArgScope('relu', BATCH_NORM_EPSILON, decay, frozen, stddev=None, seed=seed)


def aspp(
    features: keras.KerasTensor,
    image: keras.KerasTensor,
    *,
    output_stride: int,
    atrous_rates: tuple[int, ...],
    scope: ArgScope,
) -> keras.KerasTensor:
    """Image pooling, a 1x1 and the atrous branches, concatenated, projected and dropped out (extract_features).

    Args:
        features: [batch, height, width, channels] at the output stride.
        image: [batch, crop height, crop width, 3], whose size alone matters.
        output_stride: image size over feature size.
        atrous_rates: one branch each; none leaves image pooling and the 1x1 branch.
        scope: of `arg_scope`.

    Returns:
        [batch, height, width, 256].
    """
    branches = [_image_pooling(features, image, output_stride, scope)]
    branches.append(convolution(features, ASPP_FILTERS, 'aspp0', scope))
    for index, rate in enumerate(atrous_rates, start=1):
        branches.append(split_separable(features, ASPP_FILTERS, f'aspp{index}', scope, rate=rate))
    x = keras.layers.Concatenate(name='concat')(branches)
    x = convolution(x, ASPP_FILTERS, 'concat_projection', scope)
    return keras.layers.Dropout(DROPOUT_RATE, seed=scope.seed, name='concat_projection_dropout')(x)


def _image_pooling(
    features: keras.KerasTensor, image: keras.KerasTensor, output_stride: int, scope: ArgScope
) -> keras.KerasTensor:
    # The original's pooling window, scale_dimension(crop, 1/stride), is always the whole feature map.
    x = keras.layers.GlobalAveragePooling2D(keepdims=True, name='image_pooling.mean')(features)
    x = convolution(x, ASPP_FILTERS, 'image_pooling', scope)
    return ResizeToStride(output_stride, name='image_pooling.resize')(x, image)


def decoder(
    x: keras.KerasTensor,
    low_level: keras.KerasTensor,
    image: keras.KerasTensor,
    *,
    decoder_output_stride: int,
    scope: ArgScope,
) -> keras.KerasTensor:
    """Refines the ASPP's output by low-level features (refine_by_decoder).

    Args:
        x: [batch, height, width, channels] at the output stride.
        low_level: [batch, height', width', channels'], the backbone's features at the decoder's stride.
        image: [batch, crop height, crop width, 3], whose size alone matters.
        decoder_output_stride: image size over the decoder's output size.
        scope: of `arg_scope`.

    Returns:
        [batch, scaled crop height, scaled crop width, 256].
    """
    projected = convolution(low_level, PROJECTED_LOW_LEVEL_FILTERS, 'decoder.feature_projection0', scope)
    pair = [
        ResizeToStride(decoder_output_stride, name=f'decoder.{name}.resize')(part, image)
        for name, part in (('features', x), ('feature_projection0', projected))
    ]
    x = keras.layers.Concatenate(name='decoder.concat')(pair)
    for index in range(2):
        x = split_separable(x, DECODER_FILTERS, f'decoder.decoder_conv{index}', scope)
    return x


def logits(x: keras.KerasTensor, num_classes: int, scope: ArgScope) -> keras.KerasTensor:
    """The last layer, a 1x1 convolution with biases: [batch, height, width, num_classes]."""
    name = 'logits.semantic'
    initializer = scope.initializer(name, stddev=0.01)
    return keras.layers.Conv2D(num_classes, 1, kernel_initializer=initializer, name=name)(x)
