"""TF1 names of a Keras model's variables, derived from the layers' names and types."""

import keras

from deeplab_load.models.slim import BatchNorm

_VARIABLES: dict[type[keras.layers.Layer], dict[str, str]] = {
    keras.layers.Conv2D: {'kernel': 'weights', 'bias': 'biases'},
    keras.layers.DepthwiseConv2D: {'kernel': 'depthwise_weights'},
    BatchNorm: {name: name for name in ('gamma', 'beta', 'moving_mean', 'moving_variance')},
}


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
