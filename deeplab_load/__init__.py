"""DeepLab in TensorFlow 2 and Keras 3, with lookahead adversarial learning (LoAd).

`segmentor`, `label_maps` and `inspect` load TensorFlow when they are first asked for. Once this package is imported,
`keras.models.load_model` reads its .keras files, with no custom objects given.
"""

import importlib
import importlib.abc
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deeplab_load.restore.inspection import inspect
    from deeplab_load.restore.segmentors import label_maps, segmentor

__all__ = ['inspect', 'label_maps', 'segmentor']
__version__ = '0.1.0'

_HOMES = {'inspect': 'inspection', 'label_maps': 'segmentors', 'segmentor': 'segmentors'}
_LAYERS = 'deeplab_load.models.slim'


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(importlib.import_module(f'deeplab_load.restore.{_HOMES[name]}'), name)


class _Registrar(importlib.abc.MetaPathFinder):
    """Registers the package's layers with Keras when Keras is imported, since this package does not import it."""

    def find_spec(self, fullname, path=None, target=None):
        """Keras' own spec, which goes on to the package's layers; None for every other module."""
        if fullname != 'keras':
            return None
        finders = [finder for finder in sys.meta_path if finder is not self]
        spec = next((s for finder in finders if (s := finder.find_spec(fullname, path, target))), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_register(module):
                execute(module)
                if self in sys.meta_path:
                    sys.meta_path.remove(self)
                    importlib.import_module(_LAYERS)

            spec.loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec


if 'keras' in sys.modules:
    importlib.import_module(_LAYERS)
else:
    sys.meta_path.insert(0, _Registrar())
