"""The segmentor: backbone, head and logits put together as the original does (deeplab/model.py)."""

from collections.abc import Sequence
from typing import Protocol

import keras

from deeplab_load.catalog import IMAGENET_MEAN, Architecture
from deeplab_load.errors import UserError
from deeplab_load.models import heads, mobilenet_edgetpu, mobilenet_v2, mobilenet_v3, resnet_v1, xception
from deeplab_load.models.dense_prediction_cell import dense_prediction_cell
from deeplab_load.models.slim import ArgScope, WindowPooling


class Backbone(Protocol):
    """What the module of a family of backbones provides."""

    def arg_scope(self, *, decay: float | None, frozen: bool, seed: int) -> ArgScope:
        """What the convolutions share; `decay` and `frozen` are of their batch normalisation."""
        ...

    def backbone(self, x: keras.KerasTensor, architecture: Architecture, scope: ArgScope) -> heads.Features:
        """Adds the backbone to preprocessed images [batch, height, width, 3]."""
        ...


BACKBONES: dict[str, Backbone] = {
    'mobilenet_v2': mobilenet_v2,
    **dict.fromkeys(mobilenet_v3.NETWORKS, mobilenet_v3),
    'mobilenet_edgetpu': mobilenet_edgetpu,
    **dict.fromkeys(xception.NETWORKS, xception),
    **dict.fromkeys(resnet_v1.NETWORKS, resnet_v1),
    **dict.fromkeys((f'{name}_beta' for name in resnet_v1.NETWORKS), resnet_v1),
}


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
        UserError: the crop is smaller than what the network pools over (image_pooling_crop_size).
    """
    _require_pooling_fits(architecture.image_pooling_crop_size, crop_size)
    frozen = not fine_tune_batch_norm
    image = keras.Input((*(crop_size or (None, None)), 3), name='image')
    family = BACKBONES[architecture.model_variant]
    scope = family.arg_scope(decay=batch_norm_decay, frozen=frozen, seed=seed)
    features = family.backbone(_preprocessed(image, architecture.model_variant), architecture, scope)
    scope = heads.arg_scope(decay=batch_norm_decay, frozen=frozen, seed=seed)
    return keras.Model(image, _head(features, image, architecture, scope), name=architecture.model_variant)


def require_window(model: keras.Model, crop_size: tuple[int, int]) -> None:
    """Raises UserError for a crop, (height, width), that is smaller than what the model pools over."""
    for layer in model.layers:
        if isinstance(layer, WindowPooling):
            _require_pooling_fits(layer.crop_size, crop_size)


def _require_pooling_fits(window: Sequence[int] | None, crop_size: tuple[int, int] | None) -> None:
    if window and crop_size and (window[0] > crop_size[0] or window[1] > crop_size[1]):
        raise UserError(
            f'the crop is {crop_size[0]}x{crop_size[1]} but the network pools over {window[0]}x{window[1]} '
            '(image_pooling_crop_size): give a crop of at least that'
        )


def _preprocessed(image: keras.KerasTensor, model_variant: str) -> keras.KerasTensor:
    """Pixels 0..255 without the ImageNet mean for plain ResNets, else to -1..1, in the original's float32 arithmetic.

    (2 / 255) * x - 1 is not x / 127.5 - 1 to the last bit.
    """
    if model_variant in resnet_v1.NETWORKS:
        return keras.layers.Rescaling(1.0, offset=[-mean for mean in IMAGENET_MEAN], name='preprocess')(image)
    return keras.layers.Rescaling(2.0 / 255.0, offset=-1.0, name='preprocess')(image)


def _head(
    features: heads.Features, image: keras.KerasTensor, architecture: Architecture, scope: ArgScope
) -> keras.KerasTensor:
    if architecture.dense_prediction_cell_json is None:
        x = heads.aspp(features.deep, image, architecture, scope)
    else:
        x = dense_prediction_cell(features.deep, output_stride=architecture.output_stride, scope=scope)
    x = heads.decoder(x, features.low_level, image, architecture, scope)
    return x if architecture.decoder_output_is_logits else heads.logits(x, architecture.num_classes, scope)
