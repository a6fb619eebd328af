"""What stage 1 minimises, and by how much its gradients are scaled."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf

from deeplab_load import losses
from deeplab_load.models.enlarging import enlarge
from deeplab_load.models.foreign import is_foreign
from deeplab_load.models.in_training import in_training
from deeplab_load.models.inference import Inference, pyramid_logits
from deeplab_load.models.slim import resize_nearest, spatial_size
from deeplab_load.restore.names import named_variables, tf1_variables
from deeplab_load.restore.segmentors import strides
from deeplab_load.training.recipe import Recipe

# By their first names in model.get_extra_layer_scopes; a name that only contains one of them counts too.
LAST_LAYERS = ('logits', 'image_pooling', 'aspp', 'concat_projection', 'decoder', 'meta_architecture')


def scale_logits(segmentor: keras.Model, recipe: Recipe) -> Callable[[tf.Tensor], list[tf.Tensor]]:
    """From images to the logits in training of every scale of the recipe's pyramid, the merged ones last.

    Where batch norm is frozen, DeepLab's layers know it; another segmentor is then called as in inference.
    """
    training = recipe.fine_tune_batch_norm or not is_foreign(segmentor)
    pyramid = Inference(image_pyramid=recipe.image_pyramid, merge_method=recipe.merge_method)
    logits_stride = strides(segmentor)[1]
    network = in_training(segmentor, mixed_precision=recipe.mixed_precision)
    return lambda images: pyramid_logits(network, images, logits_stride, pyramid, training=training)


def pixel_weights(
    labels: tf.Tensor, recipe: Recipe, mean_counts: tf.Tensor | None, ignore_label: int
) -> tf.Tensor | None:
    """The weight of each class in each image, `[batch, classes]`: label_weights times what balances; None if all 1."""
    weights = None
    if recipe.label_weights:
        weights = tf.ones([tf.shape(labels)[0], 1]) * recipe.label_weights
    if mean_counts is not None:
        balancing = losses.balancing_weights(labels, mean_counts, ignore_label=ignore_label)
        weights = balancing if weights is None else weights * balancing
    return weights


def scale_loss(
    logits: tf.Tensor,
    labels: tf.Tensor,
    recipe: Recipe,
    *,
    step: tf.Tensor,
    ignore_label: int,
    class_weights: tf.Tensor | None,
) -> tf.Tensor:
    """The loss of the logits of one scale of the image.

    Args:
        logits: `[batch, height, width, classes]`, of any size.
        labels: integers `[batch, crop height, crop width]` in 0..classes−1 or `ignore_label`.
        recipe: at which size logits and labels are compared, and which pixels count.
        step: number of the step, from 0.
        ignore_label: the label of void pixels.
        class_weights: `[batch, classes]`, a weight per image and class; 1 by default.

    Returns:
        A scalar, at least 0.

    Source: TF1 train_utils.add_softmax_cross_entropy_loss_for_each_scale.
    """
    labels = labels[..., tf.newaxis]
    if recipe.upsample_logits:
        logits = enlarge(logits, spatial_size(labels))
    else:
        labels = resize_nearest(labels, spatial_size(logits))
    how: dict[str, Any] = {'ignore_label': ignore_label, 'class_weights': class_weights}
    if recipe.top_k_percent_pixels == 1.0:
        return losses.cross_entropy(labels[..., 0], logits, **how)
    return losses.hard_cross_entropy(labels[..., 0], logits, share=_share(recipe, step), **how)


def _share(recipe: Recipe, step: tf.Tensor) -> tf.Tensor:
    """The share of pixels that count at a step: from all of them down to top_k_percent_pixels."""
    if not recipe.hard_example_mining_step:
        return tf.constant(recipe.top_k_percent_pixels)
    ratio = tf.minimum(1.0, tf.cast(step, tf.float32) / recipe.hard_example_mining_step)
    return ratio * recipe.top_k_percent_pixels + (1.0 - ratio)


def regularized(segmentor: keras.Model) -> dict[str, keras.Variable]:
    """The variables that weight decay acts on, by TF1 name: weights of convolutions, depthwise ones left out."""
    return {name: v for name, v in tf1_variables(segmentor).items() if name.endswith('/weights')}


def regularization_loss(weights: Iterable[keras.Variable], weight_decay: float) -> tf.Tensor:
    """weight_decay · Σ w² / 2 over all weights, a scalar (slim.l2_regularizer); 0 without weights."""
    return weight_decay * sum((tf.nn.l2_loss(weight.value) for weight in weights), tf.zeros(()))


def gradient_multipliers(names: Iterable[str], recipe: Recipe) -> dict[str, float]:
    """The factor on the gradient of each variable, those of the regularisation included; 1 if it is not named here.

    Args:
        names: TF1 names of a model's variables.
        recipe: the factors.

    Source: TF1 train_utils.get_model_gradient_multipliers.
    """
    last_layers = LAST_LAYERS[:1] if recipe.last_layers_contain_logits_only else LAST_LAYERS
    multipliers = {}
    for name in names:
        is_bias, is_last = 'biases' in name, any(layer in name for layer in last_layers)
        if is_bias or is_last:
            multipliers[name] = (recipe.bias_gradient_multiplier if is_bias else 1.0) * (
                recipe.last_layer_gradient_multiplier if is_last else 1.0
            )
    return multipliers


def gradient_factors(segmentor: keras.Model, variables: Sequence[keras.Variable], recipe: Recipe) -> list[float]:
    """The `gradient_multipliers` of some variables of a segmentor, in their order."""
    named = named_variables(segmentor)
    multipliers = gradient_multipliers(named, recipe)
    by_variable = {id(variable): multipliers.get(name, 1.0) for name, variable in named.items()}
    return [by_variable[id(variable)] for variable in variables]
