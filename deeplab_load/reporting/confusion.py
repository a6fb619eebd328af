"""Confusion matrices by row and by column, and the pairs that changed most (the article's Figs C.9 and C.10)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deeplab_load.metrics import ratios

# Of a matrix normalised by row the diagonal is the recall, of one normalised by column the precision.
AXES = {'rows': 1, 'columns': 0}


@dataclass(frozen=True)
class Change:
    """A pair of classes, label and prediction, whose confusion changed; shares in [0, 1]."""

    label: int
    prediction: int
    before: float
    after: float


def normalised(counts: np.ndarray, by: str) -> np.ndarray:
    """The shares of counts `[classes, classes]` in their rows or columns; NaN in an empty row or column."""
    return ratios(counts, counts.sum(axis=AXES[by], keepdims=True))


def largest_changes(before: np.ndarray, after: np.ndarray, count: int) -> list[Change]:
    """The pairs of different classes whose shares changed most between two normalised matrices, largest first."""
    size = np.nan_to_num(np.abs(after - before))
    np.fill_diagonal(size, 0)
    order = np.argsort(-size, axis=None, kind='stable')[:count]
    pairs = [divmod(int(index), len(size)) for index in order if size.flat[index] > 0]
    return [Change(row, column, float(before[row, column]), float(after[row, column])) for row, column in pairs]


def total(matrices: Sequence[np.ndarray]) -> np.ndarray:
    """The counts of all seeds together."""
    return np.sum(matrices, axis=0)
