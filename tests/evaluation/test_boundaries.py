"""Boundary IoU and F against their definitions, spelled out pixel by pixel, and against hand-made maps."""

import itertools

import numpy as np
import pytest

from deeplab_load.evaluation.boundaries import (
    BoundaryCounts,
    count_boundaries,
    near_another,
    pixel_width,
    summarise_boundaries,
)


def distance(a, b):
    return max(abs(a[0] - b[0]), abs(a[1] - b[1]))


def pixels(mask):
    return set(zip(*map(np.ndarray.tolist, np.nonzero(mask)), strict=True))


def band(mask, width):
    """Pixels of a mask at most `width` from a pixel that is not of it; beyond the frame none is."""
    outside = pixels(~np.pad(mask, 1)) if mask.size else set()
    outside = {(y - 1, x - 1) for y, x in outside}
    return {p for p in pixels(mask) if min(distance(p, q) for q in outside) <= width}


def contour(mask):
    return {p for p in pixels(mask) if any(distance(p, q) == 1 for q in pixels(~mask))}


def share(ones, others, width):
    return sum(any(distance(p, q) <= width for q in others) for p in ones) / len(ones) if ones else 0.0


def boundary_f(label, prediction, width):
    true, predicted = contour(label), contour(prediction)
    if not true | predicted:
        return None
    precision, recall = share(predicted, true, width), share(true, predicted, width)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def blobs(seed):
    """A label map with void and a prediction that resembles it: uint8 [17, 22] in 0..3."""
    random = np.random.default_rng(seed)
    label = np.repeat(np.repeat(random.integers(0, 4, (5, 6)), 4, 0), 4, 1)[:17, :22].astype(np.uint8)
    prediction = np.roll(label, 1, axis=seed % 2)
    label[random.random(label.shape) < 0.05] = 255
    return label, prediction


@pytest.mark.parametrize(('seed', 'width'), list(itertools.product(range(3), (1, 2, 3))))
def test_the_counts_are_those_of_the_definitions(seed, width):
    label, prediction = blobs(seed)
    counts = count_boundaries(label, prediction, num_classes=5, width=width)
    prediction = np.where(label == 255, 255, prediction)
    for index in range(5):
        bands = band(label == index, width), band(prediction == index, width)
        assert counts.intersection[index] == len(bands[0] & bands[1])
        assert counts.union[index] == len(bands[0] | bands[1])
        f = boundary_f(label == index, prediction == index, width)
        assert counts.images[index] == (f is not None)
        assert counts.f[index] == pytest.approx(f or 0.0)


def test_a_right_prediction_scores_one_whatever_it_says_on_void():
    label, _ = blobs(0)
    prediction = np.where(label == 255, np.uint8(3), label)
    found = summarise_boundaries(count_boundaries(label, prediction, num_classes=4, width=2))
    assert (found.iou, found.f) == (1.0, 1.0)


def test_a_square_that_is_one_pixel_off():
    label, prediction = np.zeros((20, 20), np.uint8), np.zeros((20, 20), np.uint8)
    label[5:15, 5:15] = prediction[5:15, 6:16] = 1
    found = summarise_boundaries(count_boundaries(label, prediction, num_classes=2, width=1))
    # Rings of 36 pixels that share 9 in the top row, 9 in the bottom row.
    assert found.per_class_iou[1] == 18 / (72 - 18)
    assert found.per_class_f[1] == 1.0


def test_nothing_to_measure_is_none():
    empty = np.full((6, 7), 255, np.uint8)
    counts = count_boundaries(empty, np.zeros((6, 7), np.uint8), num_classes=2, width=1)
    assert summarise_boundaries(counts).iou is None
    assert summarise_boundaries(counts + BoundaryCounts.zero(2)).per_class_f == (None, None)
    # A class that fills the image has no contour; its band is the frame.
    full = count_boundaries(np.zeros((6, 7), np.uint8), np.zeros((6, 7), np.uint8), num_classes=2, width=1)
    assert (full.intersection[0], full.images[0]) == (6 * 7 - 4 * 5, 0)


def test_images_add_up():
    several = [count_boundaries(*blobs(seed), num_classes=4, width=1) for seed in range(3)]
    total = several[0] + several[1] + several[2]
    for index, field in enumerate(total.fields):
        np.testing.assert_allclose(field, sum(counts.fields[index] for counts in several))


def test_a_width_below_one_is_a_share_of_the_diagonal():
    assert pixel_width(0.02, (300, 400)) == 10
    assert pixel_width(0.0001, (300, 400)) == 1
    assert pixel_width(7, (300, 400)) == 7


def test_a_wide_window_ends_at_the_frame():
    labels = np.zeros((4, 5), np.uint8)
    labels[0, 0] = 1
    assert near_another(labels, 9).all()
    assert near_another(labels, 2).sum() == 9
    assert not near_another(np.zeros((4, 5), np.uint8), 9).any()
