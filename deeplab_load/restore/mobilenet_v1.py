"""ImageNet weights of slim's MobileNet-v1 for the discriminator, which is keras.applications' MobileNet.

The two compute the same: BN's epsilon is 1e-3 in both, and the one-sided padding that Keras spells out before strided
convolutions is TF's 'SAME' wherever the size before is even, as it is everywhere at 224 and at all multiples of 32.
"""

import pathlib
import re

import keras
import numpy as np

from deeplab_load.restore.checkpoint import read_checkpoint
from deeplab_load.restore.restoring import CLASSIFIER, SKIPPED, Restoration, strict_values

# Keras' layers in slim's scopes; what follows them tells real maps from generated ones and stays fresh.
_SCOPES = {r'conv1': 'Conv2d_0', r'conv_dw_(\d+)': r'Conv2d_\1_depthwise', r'conv_pw_(\d+)': r'Conv2d_\1_pointwise'}
_FIRST = 'MobilenetV1/Conv2d_0/weights'
RULES = {**SKIPPED, 'classifier': CLASSIFIER}


def slim_variables(model: keras.Model) -> dict[str, keras.Variable]:
    """The variables of a keras.applications MobileNet, but for its last layer, by slim's names."""
    named = {}
    for layer in model.layers:
        for pattern, scope in _SCOPES.items():
            match = re.fullmatch(f'{pattern}(?P<norm>_bn)?', layer.name)
            if match:
                prefix = f'MobilenetV1/{re.sub(pattern, scope, layer.name.removesuffix("_bn"))}'
                kernel = 'depthwise_weights' if scope.endswith('depthwise') else 'weights'
                for variable in layer.weights:
                    name = f'BatchNorm/{variable.name}' if match['norm'] else kernel
                    named[f'{prefix}/{name}'] = variable
    return named


def restore_discriminator(discriminator: keras.Model, path: str | pathlib.Path) -> Restoration:
    """Fills a MobileNet discriminator that sees class-split images from an ImageNet checkpoint (`MobilenetV1/...`).

    Its first kernel is repeated for every class: as the classes' images add up to the photograph, D first sees that as
    the ImageNet network does. The last layer stays fresh.

    Args:
        discriminator: of `build_discriminator`, 'mobilenet' and 'image_split'.
        path: as `read_checkpoint` takes it.

    Raises:
        UserError: the checkpoint is missing, damaged, of another network or width, lacks a variable or holds one too
            many.
    """
    variables = slim_variables(discriminator)
    wanted = {name: tuple(variable.shape) for name, variable in variables.items()}
    classes = wanted[_FIRST][2] // 3
    wanted[_FIRST] = (*wanted[_FIRST][:2], 3, wanted[_FIRST][3])
    values, skipped = strict_values(read_checkpoint(path), wanted, RULES)
    values[_FIRST] = np.tile(values[_FIRST], (1, 1, classes, 1))
    for name, value in values.items():
        variables[name].assign(value)
    taken = {id(variable) for variable in variables.values()}
    fresh = tuple(sorted(v.path for v in discriminator.weights if id(v) not in taken))
    return Restoration(tuple(sorted(wanted)), fresh, tuple(sorted(skipped.items())), 'the last layer of D')
