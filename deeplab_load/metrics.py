"""Metrics of semantic segmentation, from a confusion matrix of counts."""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf


def confusion_matrix(
    labels: tf.Tensor, predictions: tf.Tensor, *, num_classes: int, ignore_label: int = 255
) -> tf.Tensor:
    """Counts the pixels of each (label, prediction).

    Args:
      labels: integers, any shape, in 0..num_classes−1 or `ignore_label`.
      predictions: integers of the same shape in 0..num_classes−1.
      num_classes: K.
      ignore_label: pixels with this label do not count.

    Returns:
      int64 `[num_classes, num_classes]`; rows are labels, columns predictions.

    Raises:
      InvalidArgumentError: a label or a prediction is out of range; nothing is dropped in silence.
    """
    labels, predictions = tf.cast(tf.reshape(labels, [-1]), tf.int32), tf.cast(tf.reshape(predictions, [-1]), tf.int32)
    valid = tf.not_equal(labels, ignore_label)
    labels, predictions = tf.boolean_mask(labels, valid), tf.boolean_mask(predictions, valid)
    checks = [
        tf.debugging.assert_less(values, num_classes, message=f'a {what} is not below the {num_classes} classes')
        for what, values in (('label', labels), ('prediction', predictions))
    ]
    with tf.control_dependencies([c for c in checks if c is not None]):
        index = labels * num_classes + predictions
    counts = tf.math.bincount(index, minlength=num_classes**2, maxlength=num_classes**2, dtype=tf.int64)
    return tf.reshape(counts, [num_classes, num_classes])


@dataclass(frozen=True)
class Metrics:
    """What a confusion matrix says; fractions in [0, 1].

    Attributes:
      miou: mean IoU over the classes whose union is not empty (TF1 `tf.metrics.mean_iou`, as DeepLab's `eval.py`).
      miou_present: mean IoU over the classes that occur in the labels.
      pixel_accuracy: share of pixels that are right.
      per_class: IoU of each class; None where the union is empty.
    """

    miou: float
    miou_present: float
    pixel_accuracy: float
    per_class: tuple[float | None, ...]


def summarise(confusion: np.ndarray) -> Metrics:
    """Computes the metrics of a confusion matrix `[classes, classes]` of counts, rows being labels.

    Means over nothing (no pixel counted at all) are 0.
    """
    confusion = np.asarray(confusion, np.float64)
    hits, labels = np.diag(confusion), confusion.sum(axis=1)
    union = labels + confusion.sum(axis=0) - hits
    iou = np.divide(hits, union, out=np.full(len(hits), np.nan), where=union > 0)
    return Metrics(
        miou=_mean(iou[union > 0]),
        miou_present=_mean(iou[labels > 0]),
        pixel_accuracy=float(hits.sum() / max(confusion.sum(), 1)),
        per_class=tuple(None if np.isnan(v) else float(v) for v in iou),
    )


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else 0.0
