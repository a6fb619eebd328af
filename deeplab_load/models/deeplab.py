"""The segmentor: backbone, head and logits put together as the original does (deeplab/model.py)."""

from typing import Protocol

import keras

from deeplab_load.catalog import MODEL_VARIANTS, Architecture, mobilenet_v2_row
from deeplab_load.errors import UserError
from deeplab_load.models import heads, mobilenet_v2


class BackboneBuilder(Protocol):
    """Adds a backbone to images [batch, height, width, 3] in 0..255."""

    def __call__(
        self, image: keras.KerasTensor, architecture: Architecture, *, decay: float | None, frozen: bool, seed: int
    ) -> heads.Features:
        """The backbone's features; `decay` and `frozen` are of its batch normalisation."""
        ...


def _mobilenet_v2(
    image: keras.KerasTensor, architecture: Architecture, *, decay: float | None, frozen: bool, seed: int
) -> heads.Features:
    return mobilenet_v2.backbone(
        _normalised_to_one(image),
        depth_multiplier=architecture.depth_multiplier,
        output_stride=architecture.output_stride,
        scope=mobilenet_v2.arg_scope(decay=decay, frozen=frozen, seed=seed),
    )


def _normalised_to_one(image: keras.KerasTensor) -> keras.KerasTensor:
    """Pixels 0..255 to -1..1 in the original's float32 arithmetic: (2 / 255) * x - 1, not x / 127.5 - 1."""
    return keras.layers.Rescaling(2.0 / 255.0, offset=-1.0, name='preprocess')(image)


BACKBONES: dict[str, BackboneBuilder] = {'mobilenet_v2': _mobilenet_v2}


def build_segmentor(
    architecture: Architecture,
    *,
    crop_size: tuple[int, int] | None = None,
    fine_tune_batch_norm: bool = False,
    batch_norm_decay: float | None = None,
    seed: int = 0,
) -> keras.Model:
    """A DeepLab network with freshly drawn weights.

    Args:
        architecture: which network.
        crop_size: (height, width) of its images; None serves every size with the same weights, as the sizes inside are
            taken from the image itself.
        fine_tune_batch_norm: whether `training=True` normalises with batch statistics and updates the moving ones;
            without it the moving averages are always used, and gamma and beta are still trainable.
        batch_norm_decay: of all batch normalisations, instead of the original's per-part values.
        seed: of the initial weights and of the dropout.

    Returns:
        A flat functional model from float32 pixels [batch, height, width, 3] in 0..255 to logits
        [batch, scaled height, scaled width, num_classes] at the decoder's stride, or the output stride without one.

    Raises:
        UserError: the variant is not supported yet.
    """
    if architecture.model_variant not in BACKBONES:
        raise UserError(_unsupported(architecture))
    frozen = not fine_tune_batch_norm
    image = keras.Input((*(crop_size or (None, None)), 3), name='image')
    build_backbone = BACKBONES[architecture.model_variant]
    features = build_backbone(image, architecture, decay=batch_norm_decay, frozen=frozen, seed=seed)
    scope = heads.arg_scope(decay=batch_norm_decay, frozen=frozen, seed=seed)
    return keras.Model(image, _head(features, image, architecture, scope), name=architecture.model_variant)


def _head(
    features: heads.Features, image: keras.KerasTensor, architecture: Architecture, scope: heads.ArgScope
) -> keras.KerasTensor:
    x = heads.aspp(
        features.deep,
        image,
        output_stride=architecture.output_stride,
        atrous_rates=architecture.atrous_rates,
        scope=scope,
    )
    stride = architecture.decoder_output_stride
    if stride is not None:
        x = heads.decoder(x, features.low_level[stride], image, decoder_output_stride=stride, scope=scope)
    return heads.logits(x, architecture.num_classes, scope)


def _unsupported(architecture: Architecture) -> str:
    row = mobilenet_v2_row(architecture.num_classes)
    return (
        f'{MODEL_VARIANTS[architecture.model_variant]} ({architecture.model_variant}) is not supported yet: '
        f'use the MobileNetV2 checkpoint {row.archive} ({row.dataset}) from {row.url}'
    )
