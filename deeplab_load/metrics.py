"""Metrics of semantic segmentation, from a confusion matrix of counts."""

from dataclasses import dataclass

import numpy as np

PerClass = tuple[float | None, ...]


def histogram(values: np.ndarray, bins: int) -> np.ndarray:
    """Counts how often each of 0..bins−1 occurs: int64 `[bins]`.

    Counts runs of equal neighbours, of which label maps have few, instead of values: four times as fast as
    np.bincount on a photograph's.

    Args:
      values: unsigned integers below `bins`, any shape.
      bins: their number.
    """
    flat = values.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts = np.concatenate([[0] if flat.size else [], changes]).astype(np.int64)
    lengths = np.diff(starts, append=flat.size)
    # Sums of whole numbers below 2**53 are exact in float64.
    return np.bincount(flat[starts], weights=lengths, minlength=bins).astype(np.int64)


def confusion_matrix(
    labels: np.ndarray, predictions: np.ndarray, *, num_classes: int, ignore_label: int = 255
) -> np.ndarray:
    """Counts the pixels of each (label, prediction).

    Args:
      labels: integers, any shape, in 0..num_classes−1 or `ignore_label`.
      predictions: integers of the same shape in 0..num_classes−1.
      num_classes: K, at most 256.
      ignore_label: pixels with this label do not count.

    Returns:
      int64 `[num_classes, num_classes]`; rows are labels, columns predictions.

    Raises:
      ValueError: a label or a prediction is out of range; nothing is dropped in silence.
    """
    labels, predictions = _bytes(labels, 'label'), _bytes(predictions, 'prediction')
    _require_below(num_classes, predictions, 'prediction')
    pairs = np.multiply(labels, num_classes, dtype=np.uint16) + predictions
    counts = histogram(pairs, 256 * num_classes).reshape(256, num_classes)
    counts[ignore_label] = 0
    if counts[num_classes:].any():
        strange = int(np.flatnonzero(counts[num_classes:].any(axis=1))[0]) + num_classes
        raise ValueError(f'a label is {strange}, not below the {num_classes} classes')
    return counts[:num_classes]


def _bytes(values: np.ndarray, what: str) -> np.ndarray:
    values = np.asarray(values)
    if values.dtype != np.uint8 and values.size and (values.min() < 0 or values.max() > 255):
        raise ValueError(f'a {what} is {values.min() if values.min() < 0 else values.max()}, not in 0 to 255')
    return values.astype(np.uint8, copy=False)


def _require_below(num_classes: int, values: np.ndarray, what: str) -> None:
    if values.size and values.max() >= num_classes:
        raise ValueError(f'a {what} is {values.max()}, not below the {num_classes} classes')


@dataclass(frozen=True)
class Metrics:
    """What a confusion matrix says; fractions in [0, 1], None where there is nothing to divide by.

    Attributes:
      miou: mean IoU over the classes whose union is not empty (TF1 `tf.metrics.mean_iou`, as DeepLab's `eval.py`).
      miou_present: mean IoU over the classes that occur in the labels.
      pixel_accuracy: share of pixels that are right.
      frequency_weighted_iou: mean IoU, each class weighing as many pixels as it has labels (Long et al., CVPR 2015).
      per_class: IoU of each class; None where the union is empty.
      precision: of each class, the share of the pixels predicted as it that are it.
      recall: of each class, the share of its pixels that are predicted as it.
    """

    miou: float
    miou_present: float
    pixel_accuracy: float
    frequency_weighted_iou: float
    per_class: PerClass
    precision: PerClass
    recall: PerClass


def summarise(confusion: np.ndarray) -> Metrics:
    """Computes the metrics of a confusion matrix `[classes, classes]` of counts, rows being labels.

    Means over nothing (no pixel counted at all) are 0.
    """
    confusion = np.asarray(confusion, np.float64)
    hits, labels, predicted = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    union = labels + predicted - hits
    iou = ratios(hits, union)
    pixels = max(confusion.sum(), 1)
    return Metrics(
        miou=_mean(iou[union > 0]),
        miou_present=_mean(iou[labels > 0]),
        pixel_accuracy=float(hits.sum() / pixels),
        frequency_weighted_iou=float((labels * np.nan_to_num(iou)).sum() / pixels),
        per_class=per_class(iou),
        precision=per_class(ratios(hits, predicted)),
        recall=per_class(ratios(hits, labels)),
    )


def ratios(parts: np.ndarray, wholes: np.ndarray) -> np.ndarray:
    """parts / wholes, NaN where the whole is 0."""
    parts, wholes = np.broadcast_arrays(np.asarray(parts, np.float64), wholes)
    return np.divide(parts, wholes, out=np.full(parts.shape, np.nan), where=wholes > 0)


def per_class(values: np.ndarray) -> PerClass:
    """Numbers by class, None for NaN."""
    return tuple(None if np.isnan(value) else float(value) for value in values)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else 0.0
