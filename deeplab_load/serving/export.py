"""SavedModels of a segmentor, for TF Serving and for plain TensorFlow, and models for other runtimes beside them."""

import json
import os
import pathlib
import tempfile
from dataclasses import dataclass

import keras
import tensorflow as tf

from deeplab_load import files
from deeplab_load.data.examples import Examples
from deeplab_load.data.specs import DatasetSpec, ResizeRange
from deeplab_load.models.foreign import padding_colour
from deeplab_load.models.passing import has_dilated_depthwise, leave_caches
from deeplab_load.serving.agreement import Judge, pictures_of
from deeplab_load.serving.conversion import AGREEMENT, add_formats
from deeplab_load.serving.formats import SAVED_MODEL
from deeplab_load.serving.network import (
    ONEDNN,
    OTHERS,
    PORTABLE,
    CropFunction,
    Network,
    folded,
    frozen,
)
from deeplab_load.serving.signatures import ServedSegmentor
from deeplab_load.serving.upsampling import upsampled_labels
from deeplab_load.serving.warmup import EXTRA, write_warmup_requests
from deeplab_load.serving.windows import Window
from deeplab_load.shortages import tensorflow_writes


@dataclass(frozen=True)
class ExportOptions:
    """How a segmentor is exported.

    `formats` are of `formats.FORMATS`. `tiles` cuts images that exceed the crop into tiles, in place of resizing them.
    `portable` takes only operations that every build of TensorFlow has. `batched` computes a whole batch at once, not
    image after image; by default what is faster here (`models.passing.leave_caches`).
    """

    formats: tuple[str, ...] = (SAVED_MODEL,)
    tiles: bool = False
    portable: bool = False
    batched: bool | None = None


@dataclass(frozen=True)
class Sources:
    """Examples to calibrate int8 on, and to compare formats on; the first `count` of each are taken."""

    calibration: Examples
    comparison: Examples
    count: int = 64


def export(
    segmentor: keras.Model,
    folder: str | os.PathLike,
    *,
    crop_size: tuple[int, int],
    output_stride: int,
    spec: DatasetSpec,
    resize: ResizeRange | None = None,
    options: ExportOptions | None = None,
    sources: Sources | None = None,
) -> pathlib.Path:
    """Exports a SavedModel under the next free version of `folder` and returns its path.

    It has the signatures of `ServedSegmentor`, the classes' names and colours in `assets/classes.json`, and requests
    that warm up TF Serving in `assets.extra`. There too are the models of other formats, which need `sources`, and
    `agreement.json`, a list of their comparisons with the SavedModel; one that does not agree is left out. Images are
    brought to the sides of `resize` first, as in training; that of other formats is up to who runs them. The version
    appears whole, by rename.
    """
    options = options or ExportOptions()
    others = [name for name in options.formats if name != SAVED_MODEL]
    if options.tiles and resize:
        raise ValueError('tiles show images at their own scale: they cannot be resized')
    if others and sources is None:
        raise ValueError(f'without examples {others} cannot be compared with the SavedModel')
    folder = pathlib.Path(folder)
    for leftover in folder.glob(f'{files.PART}*'):
        files.remove(leftover)
    version = 1 + max((int(p.name) for p in folder.glob('*') if p.name.isdigit()), default=0)
    window = Window(crop_size, output_stride, padding_colour(segmentor), resize)
    largest_rate = PORTABLE if options.portable or not has_dilated_depthwise() else ONEDNN
    network = frozen(folded(segmentor, largest_rate=largest_rate), crop_size)
    with files.replacing(folder / str(version)) as part:
        _save(network, part, window=window, spec=spec, options=options)
        if others and sources:
            judged = pictures_of(sources.comparison, window, sources.count)
            judge = Judge(_crop_labels(network, crop_size), judged, spec.num_classes)
            # Other runtimes have the dilated operation for every rate, whatever this one has.
            whole = frozen(folded(segmentor, largest_rate=OTHERS), crop_size)
            crops = [picture.crop for picture in pictures_of(sources.calibration, window, sources.count)]
            add_formats(part / EXTRA, others, whole, crop_size=crop_size, calibration=crops, judge=judge)
    return folder / str(version)


def _crop_labels(network: Network, crop_size: tuple[int, int]) -> CropFunction:
    segment = tf.function(lambda crops: upsampled_labels(network(crops), crop_size))
    return lambda crops: segment(tf.constant(crops)).numpy()


def read_agreements(version: pathlib.Path) -> list[dict]:
    """The records of `Agreement`s of an exported version; none where there is the SavedModel only."""
    file = version / EXTRA / AGREEMENT
    return json.loads(file.read_text()) if file.exists() else []


def _save(network: Network, part: pathlib.Path, *, window: Window, spec: DatasetSpec, options: ExportOptions) -> None:
    """Writes the SavedModel of a network into a folder."""
    with tempfile.TemporaryDirectory() as aside:
        classes = pathlib.Path(aside) / 'classes.json'
        classes.write_text(json.dumps({'classes': spec.classes, 'colours': spec.colours}, indent=1) + '\n')
        batched = not leave_caches(window.crop_size) if options.batched is None else options.batched
        module = ServedSegmentor(network, window, tiles=options.tiles, batched=batched, classes=str(classes))
        with tensorflow_writes():
            tf.saved_model.save(module, str(part), signatures=module.signatures())
            write_warmup_requests(part)
