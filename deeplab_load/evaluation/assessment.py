"""What a model's label maps are worth: counts of every image, added up, and what they say."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from deeplab_load.background import in_background
from deeplab_load.data.specs import DatasetSpec
from deeplab_load.errors import UserError
from deeplab_load.evaluation.boundaries import (
    BoundaryCounts,
    BoundaryMetrics,
    count_boundaries,
    summarise_boundaries,
)
from deeplab_load.evaluation.evaluation import Prediction
from deeplab_load.metrics import Metrics, confusion_matrix, summarise


class ImageScore(NamedTuple):
    """The mIoU of one image, by the same definition as that of all."""

    miou: float
    prediction: Prediction


@dataclass(frozen=True)
class Assessment:
    """What was measured: `confusion` int64 `[classes, classes]`, `worst` the images of the lowest mIoU, worst first.

    `boundary_width` is in pixels, or below 1 a share of the image's diagonal; `boundaries` is None for a width of 0.
    """

    images: int
    confusion: np.ndarray
    metrics: Metrics
    boundary_width: float
    boundaries: BoundaryMetrics | None
    worst: tuple[ImageScore, ...]


class ImageCounts(NamedTuple):
    """What one image adds: its confusion matrix and, if asked for, its boundaries."""

    prediction: Prediction
    confusion: np.ndarray
    boundaries: BoundaryCounts | None


def assess(
    predictions: Iterable[Prediction], spec: DatasetSpec, *, boundary_width: float = 0.0, worst: int = 0
) -> Assessment:
    """Counts label maps as they come, beside whoever makes them; only counts and the `worst` images are kept.

    Raises:
        UserError: a label or a prediction is out of range, or a label map has not the size of its image.
    """
    confusion = np.zeros((spec.num_classes, spec.num_classes), np.int64)
    boundaries, images, scores = BoundaryCounts.zero(spec.num_classes), 0, []
    for image in in_background(lambda p: count(p, spec, boundary_width), predictions):
        images += 1
        confusion += image.confusion
        boundaries = boundaries if image.boundaries is None else boundaries + image.boundaries
        if image.confusion.any():
            scores.append(ImageScore(summarise(image.confusion).miou, image.prediction))
            scores = sorted(scores, key=lambda score: (score.miou, score.prediction.image_id))[:worst]
    return Assessment(
        images=images,
        confusion=confusion,
        metrics=summarise(confusion),
        boundary_width=boundary_width,
        boundaries=summarise_boundaries(boundaries) if boundary_width else None,
        worst=tuple(scores),
    )


def count(prediction: Prediction, spec: DatasetSpec, boundary_width: float) -> ImageCounts:
    """The counts of one image; raises as `assess`."""
    image_id, label, label_map = prediction
    if label.shape != label_map.shape:
        raise UserError(f'The label map predicted for {image_id} is {label_map.shape}, its image {label.shape}.')
    among = {'num_classes': spec.num_classes, 'ignore_label': spec.ignore_label}
    try:
        confusion = confusion_matrix(label, label_map, **among)
    except ValueError as error:
        raise UserError(f'{image_id} of {spec.name} cannot be counted: {error}.') from error
    if not boundary_width:
        return ImageCounts(prediction, confusion, None)
    return ImageCounts(prediction, confusion, count_boundaries(label, label_map, **among, width=boundary_width))
