"""Models of a segmentor for other runtimes beside its SavedModel, each compared with it first."""

import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from deeplab_load.serving import litert, onnx
from deeplab_load.serving.agreement import Judge
from deeplab_load.serving.formats import LITERT, ONNX
from deeplab_load.serving.network import CropFunction, Network

AGREEMENT = 'agreement.json'


class Converted(NamedTuple):
    """A model in another format: its file's name and bytes, how to run it, the loss of mIoU that it may have."""

    file: str
    model: bytes
    segment: CropFunction
    most_drop: float | None


def add_formats(
    folder: pathlib.Path,
    formats: Sequence[str],
    network: Network,
    crop_size: tuple[int, int],
    calibration: Sequence[np.ndarray],
    judge: Judge,
) -> None:
    """Writes the models that agree with the SavedModel, and what was found of each to `agreement.json`.

    Args:
        folder: for the files.
        formats: of `formats.FORMATS`, but the SavedModel.
        network: of `network.frozen`.
        crop_size: (height, width) that it sees.
        calibration: crops [1, *crop_size, 3] for int8.
        judge: compares.
    """
    records = []
    for converted in _converted(formats, network, crop_size, calibration):
        found = judge.compare(converted.file, len(converted.model), converted.segment, converted.most_drop)
        if found.holds:
            (folder / converted.file).write_bytes(converted.model)
        records.append(found.record())
    (folder / AGREEMENT).write_text(json.dumps(records, indent=1) + '\n')


def _converted(
    formats: Sequence[str], network: Network, crop_size: tuple[int, int], calibration: Sequence[np.ndarray]
) -> Iterator[Converted]:
    if LITERT in formats:
        for kind, most_drop in litert.KINDS.items():
            model = litert.convert(network, crop_size, kind, calibration)
            yield Converted(f'segmentor_{kind}.tflite', model, litert.runner(model), most_drop)
    if ONNX in formats:
        model = onnx.convert(network, crop_size)
        yield Converted('segmentor.onnx', model, onnx.runner(model), None)
