"""Formats of an exported segmentor, and the packages that each needs."""

import importlib.util
from collections.abc import Sequence

from deeplab_load.errors import UserError

SAVED_MODEL, LITERT, ONNX = FORMATS = ('saved_model', 'litert', 'onnx')

# What converts into a format and what runs it, for the check against the SavedModel: module and package.
_NEEDED = {
    SAVED_MODEL: {},
    LITERT: {'ai_edge_litert': 'ai-edge-litert'},
    ONNX: {'onnxruntime': 'onnxruntime', 'tf2onnx': 'tf2onnx'},
}


def require_formats(formats: Sequence[str]) -> None:
    """Raises UserError for an unknown format, and for one whose packages are not installed."""
    for name in formats:
        if name not in FORMATS:
            raise UserError(f'--export={",".join(formats)} names {name!r}; choose among {", ".join(FORMATS)}.')
        absent = [package for module, package in _NEEDED[name].items() if not importlib.util.find_spec(module)]
        if absent:
            raise UserError(f"--export={name} needs {' and '.join(absent)}: pip install 'deeplab_load[runtimes]'.")
    if SAVED_MODEL not in formats:
        raise UserError(
            f'--export={",".join(formats)} must name {SAVED_MODEL} too: the other formats are checked against it.'
        )
