"""From the backbone's features to logits: image pooling, ASPP and decoder (deeplab/model.py)."""

from collections.abc import Mapping
from typing import NamedTuple

import keras

from deeplab_load.catalog import Architecture
from deeplab_load.models.slim import (
    ArgScope,
    ResizeToStride,
    WindowPooling,
    biased_convolution,
    convolution,
    split_separable,
)
from deeplab_load.replicas import Dropout

BATCH_NORM_EPSILON = 1e-5
BATCH_NORM_DECAY = 0.9997
PROJECTED_LOW_LEVEL_FILTERS = 48
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
    features: keras.KerasTensor, image: keras.KerasTensor, architecture: Architecture, scope: ArgScope
) -> keras.KerasTensor:
    """Image pooling, a 1x1 and the atrous branches, concatenated, projected and dropped out (extract_features).

    With aspp_with_squeeze_and_excitation the pooled features are no branch but weigh the others.

    Args:
        features: [batch, height, width, channels] at the output stride.
        image: [batch, crop height, crop width, 3], whose size alone matters.
        architecture: which branches there are, and what becomes of them.
        scope: of `arg_scope`.

    Returns:
        [batch, height, width, aspp_convs_filters], or the branches' sum of channels without projection.
    """
    filters, gated = architecture.aspp_convs_filters, architecture.aspp_with_squeeze_and_excitation
    pooled = _image_pooling(features, image, architecture, scope) if architecture.add_image_level_feature else None
    branches = [] if gated or pooled is None else [pooled]
    branches.append(convolution(features, filters, 'aspp0', scope))
    for index, rate in enumerate(architecture.atrous_rates, start=1):
        if architecture.aspp_with_separable_conv:
            branches.append(split_separable(features, filters, f'aspp{index}', scope, rate=rate))
        else:
            branches.append(convolution(features, filters, f'aspp{index}', scope, kernel_size=3, rate=rate))
    x = keras.layers.Concatenate(name='concat')(branches) if len(branches) > 1 else branches[0]
    if architecture.aspp_with_concat_projection:
        x = convolution(x, filters, 'concat_projection', scope)
        x = Dropout(DROPOUT_RATE, seed=scope.seed, name='concat_projection_dropout')(x)
    return keras.layers.Multiply(name='image_pooling.scale')([x, pooled]) if gated else x


def _image_pooling(
    features: keras.KerasTensor, image: keras.KerasTensor, architecture: Architecture, scope: ArgScope
) -> keras.KerasTensor:
    x, filters = _pooled(features, architecture), architecture.aspp_convs_filters
    if architecture.aspp_with_squeeze_and_excitation:
        gate = 'q_sigmoid' if architecture.image_se_uses_qsigmoid else 'sigmoid'
        x = biased_convolution(x, filters, 'image_pooling', scope, activation=gate)
    else:
        x = convolution(x, filters, 'image_pooling', scope)
    return ResizeToStride(architecture.output_stride, name='image_pooling.resize')(x, image)


def _pooled(features: keras.KerasTensor, architecture: Architecture) -> keras.KerasTensor:
    crop, name = architecture.image_pooling_crop_size, 'image_pooling.mean'
    if crop is None:
        # The original's pooling window, scale_dimension(crop, 1/stride), is then the whole feature map.
        return keras.layers.GlobalAveragePooling2D(keepdims=True, name=name)(features)
    return WindowPooling(crop, architecture.output_stride, architecture.image_pooling_stride, name=name)(features)


def decoder(
    x: keras.KerasTensor,
    low_level: Mapping[int, keras.KerasTensor],
    image: keras.KerasTensor,
    architecture: Architecture,
    scope: ArgScope,
) -> keras.KerasTensor:
    """Refines the ASPP's output by low-level features, where there is a decoder (refine_by_decoder).

    Args:
        x: [batch, height, width, channels] at the output stride.
        low_level: the backbone's features [batch, height', width', channels'] by the stride of a decoder.
        image: [batch, crop height, crop width, 3], whose size alone matters.
        architecture: the decoder's stride and filters; with decoder_use_sum_merge its output is the logits.
        scope: of `arg_scope`.

    Returns:
        [batch, scaled crop height, scaled crop width, decoder_filters], or x itself without a decoder.
    """
    stride = architecture.decoder_output_stride
    if stride is None:
        return x
    name, filters = 'decoder.feature_projection0', architecture.decoder_filters
    if architecture.decoder_use_sum_merge:
        projected = biased_convolution(low_level[stride], filters, name, scope)
    else:
        projected = convolution(low_level[stride], PROJECTED_LOW_LEVEL_FILTERS, name, scope)
    resized = [
        ResizeToStride(stride, name=f'decoder.{name}.resize')(part, image)
        for name, part in (('features', x), ('feature_projection0', projected))
    ]
    if architecture.decoder_use_sum_merge:
        resized[0] = biased_convolution(resized[0], filters, 'decoder.decoder_conv0', scope)
        return keras.layers.Add(name='decoder.sum')(resized)
    x = keras.layers.Concatenate(name='decoder.concat')(resized)
    for index in range(2):
        if architecture.decoder_use_separable_conv:
            x = split_separable(x, filters, f'decoder.decoder_conv{index}', scope)
        else:
            x = convolution(x, filters, f'decoder.decoder_conv0.decoder_conv0_{index + 1}', scope, kernel_size=3)
    return x


def logits(x: keras.KerasTensor, num_classes: int, scope: ArgScope) -> keras.KerasTensor:
    """The last layer, a 1x1 convolution with biases: [batch, height, width, num_classes]."""
    return biased_convolution(x, num_classes, 'logits.semantic', scope, stddev=0.01)
