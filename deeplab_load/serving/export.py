"""SavedModels of a segmentor, for TF Serving and for plain TensorFlow."""

import json
import os
import pathlib
import shutil
import tempfile
from dataclasses import dataclass

import keras
import tensorflow as tf

from deeplab_load.data.specs import DatasetSpec
from deeplab_load.serving.network import Network, folded, frozen, has_dilated_depthwise
from deeplab_load.serving.signatures import ServedSegmentor
from deeplab_load.serving.warmup import write_warmup_requests
from deeplab_load.serving.windows import Window


@dataclass(frozen=True)
class ExportOptions:
    """How a segmentor is exported.

    `tiles` cuts images that exceed the crop into tiles, in place of resizing them. `portable` takes only operations
    that every build of TensorFlow has.
    """

    tiles: bool = False
    portable: bool = False


def export(
    segmentor: keras.Model,
    folder: str | os.PathLike,
    *,
    crop_size: tuple[int, int],
    output_stride: int,
    spec: DatasetSpec,
    options: ExportOptions | None = None,
) -> pathlib.Path:
    """Exports a SavedModel under the next free version of `folder` and returns its path.

    It has the signatures of `ServedSegmentor`, the classes' names and colours in `assets/classes.json`, and requests
    that warm up TF Serving in `assets.extra`. The version appears whole, by rename.
    """
    options = options or ExportOptions()
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob('.part-*'):
        shutil.rmtree(leftover)
    version = 1 + max((int(p.name) for p in folder.iterdir() if p.name.isdigit()), default=0)
    part, final = folder / f'.part-{version}', folder / str(version)
    portable = options.portable or not has_dilated_depthwise()
    network = frozen(folded(segmentor, portable=portable), crop_size)
    window = Window(crop_size, output_stride, segmentor.name)
    _save(network, part, window=window, spec=spec, tiles=options.tiles)
    os.replace(part, final)
    return final


def _save(network: Network, part: pathlib.Path, *, window: Window, spec: DatasetSpec, tiles: bool) -> None:
    """Writes the SavedModel of a network into a folder."""
    with tempfile.TemporaryDirectory() as aside:
        classes = pathlib.Path(aside) / 'classes.json'
        classes.write_text(json.dumps({'classes': spec.classes, 'colours': spec.colours}, indent=1) + '\n')
        module = ServedSegmentor(network, window, tiles=tiles, classes=str(classes))
        tf.saved_model.save(module, str(part), signatures=module.signatures())
    write_warmup_requests(part)
