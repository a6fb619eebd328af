"""Boundary IoU and boundary F: how well the contours of the classes are met."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from deeplab_load.metrics import PerClass, histogram, per_class, ratios

VOID = 255


@dataclass(frozen=True)
class BoundaryCounts:
    """What an image, or several added up, contribute to the boundary metrics; each an array `[classes]`.

    `intersection` and `union` count pixels, `f` sums F over the `images` in which the class has a contour.
    """

    intersection: np.ndarray
    union: np.ndarray
    f: np.ndarray
    images: np.ndarray

    @classmethod
    def zero(cls, num_classes: int) -> 'BoundaryCounts':
        """The counts of no image."""
        return cls(*(np.zeros(num_classes, dtype) for dtype in (np.int64, np.int64, np.float64, np.int64)))

    def __add__(self, other: 'BoundaryCounts') -> 'BoundaryCounts':
        return BoundaryCounts(*(a + b for a, b in zip(self.fields, other.fields, strict=True)))

    @property
    def fields(self) -> tuple[np.ndarray, ...]:
        """The arrays in the order of the fields."""
        return self.intersection, self.union, self.f, self.images


@dataclass(frozen=True)
class BoundaryMetrics:
    """Boundary IoU and F; fractions in [0, 1], means over the classes that have one; None where none has."""

    iou: float | None
    f: float | None
    per_class_iou: PerClass
    per_class_f: PerClass


def summarise_boundaries(counts: BoundaryCounts) -> BoundaryMetrics:
    """The metrics that the counts of all images give."""
    iou, f = ratios(counts.intersection, counts.union), ratios(counts.f, counts.images)
    return BoundaryMetrics(_mean(iou), _mean(f), per_class(iou), per_class(f))


def _mean(values: np.ndarray) -> float | None:
    return None if np.isnan(values).all() else float(np.nanmean(values))


def pixel_width(width: float, size: tuple[int, int]) -> int:
    """A width in pixels, at least 1: below 1 it is a fraction of the diagonal of an image of this size."""
    return max(1, round(width * math.hypot(*size) if width < 1 else width))


def count_boundaries(
    label: np.ndarray, prediction: np.ndarray, *, num_classes: int, ignore_label: int = VOID, width: float
) -> BoundaryCounts:
    """Counts for one image.

    Boundary IoU is that of the pixels inside a class at most the width from its contour or the frame (Cheng et al.,
    Boundary IoU, CVPR 2021, there for one instance), added up over the images as IoU is. Boundary F is the harmonic
    mean of two shares of an image: of the predicted contour that lies at most the width from the true one, and of the
    true one from the predicted (Csurka et al., What is a good evaluation measure for semantic segmentation?, BMVC 2013;
    Perazzi et al., CVPR 2016); it is averaged over the images in which either map has a contour of the class. Distances
    are chessboard distances. Ours: void is void in the prediction too, so that a class ends at it in both.

    Args:
      label: uint8 `[height, width]`, in 0..num_classes−1 or `ignore_label`.
      prediction: uint8 `[height, width]`, in 0..num_classes−1.
      num_classes: K.
      ignore_label: pixels with this label do not count.
      width: as `pixel_width` takes it.
    """
    void = label == ignore_label
    maps = [_voided(labels, void) for labels in (label, prediction)]
    reach = pixel_width(width, label.shape)
    bands = [_voided(labels, ~near_another(labels, reach, outside=VOID)) for labels in maps]
    sizes = [histogram(band, 256)[:num_classes] for band in bands]
    both = histogram(_voided(bands[0], bands[0] != bands[1]), 256)[:num_classes]
    f = _contour_f(*maps, num_classes=num_classes, reach=reach)
    return BoundaryCounts(both, sizes[0] + sizes[1] - both, np.nan_to_num(f), (~np.isnan(f)).astype(np.int64))


def _voided(labels: np.ndarray, where: np.ndarray) -> np.ndarray:
    """The labels, void where a condition holds."""
    return labels | where * np.uint8(VOID)


def near_another(labels: np.ndarray, reach: int, *, outside: int | None = None) -> np.ndarray:
    """Where another label lies at most `reach` pixels away, by chessboard distance: bool `[height, width]`.

    With `outside` the frame is surrounded by that label, without it by nothing.
    """
    if outside is None:
        padded = np.pad(labels, reach, mode='edge')
    else:
        padded = np.pad(labels, reach, constant_values=outside)
    return _over_window(padded, reach, np.maximum) != _over_window(padded, reach, np.minimum)


def _over_window(padded: np.ndarray, reach: int, combine: Callable) -> np.ndarray:
    """Combines each square of 2·reach+1 pixels, along one axis and then the other, by windows that double."""
    side = 2 * reach + 1
    for _ in range(2):
        window = 1
        while window < side:
            step = min(window, side - window)
            padded = combine(padded[:-step], padded[step:])
            window += step
        padded = padded.T
    return padded


def _contour_f(label: np.ndarray, prediction: np.ndarray, *, num_classes: int, reach: int) -> np.ndarray:
    """F of each class in one image, NaN where neither map has a contour of it: float64 `[classes]`."""
    contours = [_voided(labels, ~near_another(labels, 1)) for labels in (label, prediction)]
    lengths = [histogram(contour, 256)[:num_classes] for contour in contours]
    met = np.zeros((2, num_classes))
    for index in np.flatnonzero(lengths[0] * lengths[1]):
        met[:, index] = _met(contours[0] == index, contours[1] == index, reach)
    shares = [ratios(part, length) for part, length in zip(met, lengths, strict=True)]
    product, total = 2 * shares[0] * shares[1], shares[0] + shares[1]
    f = ratios(np.nan_to_num(product), np.nan_to_num(total))
    return np.where(np.isnan(f) & (lengths[0] + lengths[1] > 0), 0.0, f)


def _met(contour: np.ndarray, other: np.ndarray, reach: int) -> list[int]:
    """How many pixels of each contour lie near the other one."""
    either = contour | other
    rows, columns = (np.flatnonzero(either.any(axis=axis)) for axis in (1, 0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    contour, other = contour[box], other[box]
    near = [_over_window(np.pad(pixels, reach), reach, np.logical_or) for pixels in (other, contour)]
    return [int(np.count_nonzero(pixels & mask)) for pixels, mask in zip((contour, other), near, strict=True)]
