"""The files of an evaluation: JSON, CSV, confusion matrices and the worst images."""

import csv
import dataclasses
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from deeplab_load import files
from deeplab_load.data.examples import Examples
from deeplab_load.data.preprocessing import decode_image
from deeplab_load.evaluation.assessment import Assessment
from deeplab_load.reporting.confusion import AXES, normalised
from deeplab_load.reporting.figures import confusion_figure, save
from deeplab_load.reporting.pictures import overlay, palette, side_by_side

PER_CLASS = ('per_class', 'precision', 'recall')


def record(assessment: Assessment, classes: Sequence[str], setting: dict[str, Any]) -> dict[str, Any]:
    """All that was measured, for JSON: fractions in [0, 1], None where there is nothing to divide by."""
    found = dataclasses.asdict(assessment.metrics)
    for name in PER_CLASS:
        found[name] = dict(zip(classes, found[name], strict=True))
    if assessment.boundaries:
        boundary = dataclasses.asdict(assessment.boundaries)
        for name in ('per_class_iou', 'per_class_f'):
            boundary[name] = dict(zip(classes, boundary[name], strict=True))
        found['boundary'] = {'width': assessment.boundary_width, **boundary}
    found['worst'] = [{'image_id': score.prediction.image_id, 'miou': score.miou} for score in assessment.worst]
    found['confusion'] = assessment.confusion.tolist()
    found['setting'] = {**setting, 'images': assessment.images}
    return found


def write_files(folder: pathlib.Path, assessment: Assessment, examples: Examples) -> None:
    """Writes metrics.csv, confusion_{counts,rows,columns}.csv, .png and .svg, and worst/<rank>_<image id>.png.

    Of a row-normalised matrix the diagonal is the recall, of a column-normalised one the precision.
    """
    classes = examples.spec.classes
    _write_table(folder / 'metrics.csv', *_class_columns(assessment, classes))
    counts = assessment.confusion
    forms = {'counts': counts, **{by: normalised(counts, by) for by in AXES}}
    for form, matrix in forms.items():
        cells = [['' if np.isnan(value) else value for value in row] for row in matrix.tolist()]
        rows = ([name, *row] for name, row in zip(classes, cells, strict=True))
        _write_table(folder / f'confusion_{form}.csv', ['label \\ prediction', *classes], rows)
        save(confusion_figure(matrix, classes, f'Confusion matrix, {form}'), folder, f'confusion_{form}')
    with files.writing(folder):
        _write_worst(folder / 'worst', assessment, examples)


def _class_columns(assessment: Assessment, classes: Sequence[str]) -> tuple[list[str], Iterable[Sequence]]:
    metrics, boundaries = assessment.metrics, assessment.boundaries
    columns = {
        'class': classes,
        'iou': metrics.per_class,
        'precision': metrics.precision,
        'recall': metrics.recall,
        'label_pixels': assessment.confusion.sum(axis=1).tolist(),
    }
    if boundaries:
        columns |= {'boundary_iou': boundaries.per_class_iou, 'boundary_f': boundaries.per_class_f}
    return list(columns), zip(*columns.values(), strict=True)


def _write_table(file: pathlib.Path, header: Sequence[str], rows: Iterable[Sequence]) -> None:
    with files.replacing(file) as part, open(part, 'w', newline='') as stream:
        writer = csv.writer(stream)
        writer.writerow(header)
        writer.writerows(rows)


def _write_worst(folder: pathlib.Path, assessment: Assessment, examples: Examples) -> None:
    """The label and the prediction over each of the worst images, side by side, in place of an earlier evaluation's."""
    folder.mkdir(exist_ok=True)
    for of_another in folder.glob('[0-9][0-9]*_*.png'):
        of_another.unlink()
    colours, places = palette(examples.spec.colours), {image_id: i for i, image_id in enumerate(examples.ids)}
    for rank, (miou, (image_id, label, label_map)) in enumerate(assessment.worst, 1):
        encoded, _ = examples.encoded(places[image_id])
        # Where images were resized, the label maps are smaller.
        image = np.asarray(Image.fromarray(decode_image(encoded).numpy()).resize(label.shape[::-1]))
        pictures = [('label', overlay(image, label, colours)), ('prediction', overlay(image, label_map, colours))]
        pictures[1] = (f'prediction, mIoU {100 * miou:.1f} %', pictures[1][1])
        with files.replacing(folder / f'{rank:02d}_{image_id}.png') as part:
            side_by_side(pictures).save(part, format='PNG')
