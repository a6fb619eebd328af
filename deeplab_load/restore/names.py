"""Names of a Keras model's variables: TF1's, derived from the layers' names and types."""

from collections.abc import Iterator, Mapping

import keras
import numpy as np

from deeplab_load.models.foreign import NAME, is_foreign
from deeplab_load.models.slim import BatchNorm

_VARIABLES: dict[type[keras.layers.Layer], dict[str, str]] = {
    keras.layers.Conv2D: {'kernel': 'weights', 'bias': 'biases'},
    keras.layers.DepthwiseConv2D: {'kernel': 'depthwise_weights'},
    BatchNorm: {name: name for name in ('gamma', 'beta', 'moving_mean', 'moving_variance')},
}


def named_variables(model: keras.Model) -> dict[str, keras.Variable]:
    """The model's variables by the names that a run stores them under.

    TF1's of a DeepLab; of another segmentor their numbers, as its layers' names may depend on what was built before it.
    """
    if is_foreign(model):
        return {f'{NAME}/{place:04d}': variable for place, variable in enumerate(model.weights)}
    return tf1_variables(model)


def assign(model: keras.Model, values: Mapping[str, np.ndarray]) -> None:
    """Gives variables of `named_variables` these values, and settles the model."""
    variables = named_variables(model)
    for name, value in values.items():
        variables[name].assign(value)
    settle(model)


def settle(model: keras.Model) -> None:
    """Lets layers that compute with other values than their variables make them of those, which were assigned."""
    for layer in _layers(model):
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()


def _layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    for layer in model.layers:
        yield layer
        if isinstance(layer, keras.Model):
            yield from _layers(layer)


def tf1_variables(model: keras.Model) -> dict[str, keras.Variable]:
    """The model's variables by the names that slim gives them: 'MobilenetV2/Conv/weights' and so on.

    Random states (of dropout) and optimizers are not among them.
    """
    named: dict[str, keras.Variable] = {}
    for layer in model.layers:
        for variable in layer.weights:
            named[f'{layer.name.replace(".", "/")}/{_VARIABLES[type(layer)][variable.name]}'] = variable
    return named


def tf1_shapes(model: keras.Model) -> dict[str, tuple[int, ...]]:
    """The shapes of the model's variables by TF1 name."""
    return {name: tuple(variable.shape) for name, variable in tf1_variables(model).items()}
