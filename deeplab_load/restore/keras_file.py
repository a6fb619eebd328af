"""What a .keras file says that its model is made of, checked before Keras builds any of it.

Keras finds the classes and functions that a file names by importing modules, some of which read files, fetch from the
network or run what else the file holds; and it allocates every weight that a file asks for.
"""

import json
import math
import pathlib
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

from deeplab_load.errors import UserError

CONFIG, WEIGHTS = 'config.json', 'model.weights.h5'
LARGEST_CONFIG = 1 << 23  # bytes; Xception-71 with a decoder has 0.6e6
_CLASSES = frozenset(
    (
        ('deeplab_load.models.slim', 'BatchNorm'),
        ('deeplab_load.models.slim', 'ResizeToStride'),
        ('deeplab_load.models.slim', 'WindowPooling'),
        ('deeplab_load.replicas', 'Dropout'),
        ('keras', 'DTypePolicy'),
        ('keras.src.models.functional', 'Functional'),
        (None, '__keras_tensor__'),
        *(('keras.initializers', name) for name in ('GlorotUniform', 'Ones', 'TruncatedNormal', 'Zeros')),
        *(
            ('keras.layers', name)
            for name in (
                *('Activation', 'Add', 'AveragePooling2D', 'Concatenate', 'Conv2D', 'DepthwiseConv2D', 'Dropout'),
                *('GlobalAveragePooling2D', 'InputLayer', 'MaxPooling2D', 'Multiply', 'Rescaling', 'ZeroPadding2D'),
            )
        ),
    )
)
_FUNCTIONS = frozenset(('hard_sigmoid', 'hard_swish', 'linear', 'q_sigmoid', 'relu', 'relu6', 'sigmoid', 'softmax'))
_DAMAGES = (ValueError, OSError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error)


def require_harmless(path: str | pathlib.Path) -> None:
    """Makes sure that a .keras file names nothing but the layers of this package's models, and holds their weights.

    Raises:
        UserError: it is damaged, or names anything else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = archive.getinfo(CONFIG).file_size
            if size > LARGEST_CONFIG:
                raise ValueError('its configuration is larger than any')
            config = json.loads(archive.read(CONFIG))
            stored = archive.getinfo(WEIGHTS).file_size
        if strange := next(_strange({key: part for key, part in config.items() if key != 'compile_config'}), None):
            raise UserError(f'the model in {path} is none of this package: it has a {strange}; give another file')
        if sum(_values(layer) for layer in config['config']['layers']) > stored:
            raise UserError(f'the model in {path} has more weights than the file; give another file')
    except (*_DAMAGES, KeyError, TypeError, AttributeError) as error:
        raise UserError(f'{path} is damaged, or no .keras file of a model of this package') from error


def _strange(part: Any) -> Iterator[str]:
    """The names of classes and functions anywhere in a configuration that are none of this package's models'."""
    parts = [part]
    while parts:
        part = parts.pop()
        if isinstance(part, list):
            parts += part
        elif isinstance(part, dict):
            parts += part.values()
            if 'class_name' in part and not _is_known(part):
                yield f'{part.get("module")}.{part["class_name"]}'


def _is_known(part: dict[str, Any]) -> bool:
    module, name, registered = (part.get(key) for key in ('module', 'class_name', 'registered_name'))
    if name == 'function':
        return module == 'builtins' and str(part.get('config')).removeprefix('deeplab_load>') in _FUNCTIONS
    known = (None, name, f'deeplab_load>{name}')
    return isinstance(module, str | None) and (module, name) in _CLASSES and registered in known


def _values(layer: dict[str, Any]) -> int:
    """How many values a layer's weights have; raises KeyError for one that does not tell its input."""
    kind, config = layer['class_name'], layer['config']
    if kind == 'BatchNorm':
        return 4 * _whole(layer['build_config']['input_shape'][-1])
    if kind not in ('Conv2D', 'DepthwiseConv2D'):
        return 0
    out = config['filters'] if kind == 'Conv2D' else config['depth_multiplier']
    return math.prod(map(_whole, (*config['kernel_size'], layer['build_config']['input_shape'][-1], out)))


def _whole(value: Any) -> int:
    if not isinstance(value, int) or value < 1:
        raise ValueError(f'{value!r} is no size')
    return value
