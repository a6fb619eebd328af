"""Confusion and means against hand-computed numbers and the original's."""

import json

import numpy as np
import pytest

from deeplab_load.data.specs import CITYSCAPES, PASCAL_VOC
from deeplab_load.metrics import confusion_matrix, histogram, summarise


def test_confusion_counts_and_leaves_void_out():
    labels = np.array([[0, 0, 1], [2, 255, 255]], np.uint8)
    predictions = np.array([[0, 1, 1], [0, 1, 2]], np.uint8)
    counts = confusion_matrix(labels, predictions, num_classes=3)
    np.testing.assert_array_equal(counts, [[1, 1, 0], [0, 1, 0], [1, 0, 0]])


@pytest.mark.parametrize(
    ('label', 'prediction', 'words'),
    [
        (3, 0, 'a label is 3, not below the 3 classes'),
        (254, 0, 'a label is 254, not below the 3 classes'),
        (-1, 0, 'a label is -1, not in 0 to 255'),
        (0, 3, 'a prediction is 3, not below the 3 classes'),
        (255, 3, 'a prediction is 3, not below the 3 classes'),
        (0, 256, 'a prediction is 256, not in 0 to 255'),
    ],
)
def test_out_of_range_is_an_error(label, prediction, words):
    with pytest.raises(ValueError, match=words):
        confusion_matrix(np.array([1, label]), np.array([1, prediction]), num_classes=3)


def test_the_ignore_label_may_be_a_class():
    labels, predictions = np.array([0, 1, 2], np.uint8), np.array([1, 0, 2], np.uint8)
    counts = confusion_matrix(labels, predictions, num_classes=3, ignore_label=0)
    np.testing.assert_array_equal(counts, [[0, 0, 0], [1, 0, 0], [0, 0, 1]])


def test_a_histogram_by_runs_is_a_histogram():
    random = np.random.default_rng(0)
    for values in (random.integers(0, 9, (50, 40)), np.repeat(random.integers(0, 9, 30), 20), np.zeros(0, np.int64)):
        np.testing.assert_array_equal(histogram(values.astype(np.uint16), 9), np.bincount(values.ravel(), minlength=9))


def test_256_classes_can_be_counted():
    labels = np.arange(256, dtype=np.uint8)
    counts = confusion_matrix(labels, labels, num_classes=256, ignore_label=255)
    np.testing.assert_array_equal(np.diag(counts), [1] * 255 + [0])


def test_a_class_that_is_only_predicted_counts_as_zero_and_an_absent_one_not_at_all():
    metrics = summarise(np.array([[6, 2, 0, 0], [0, 4, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]))
    assert metrics.per_class == (6 / 8, 4 / 6, None, None)
    assert metrics.miou == pytest.approx((6 / 8 + 4 / 6) / 2)
    metrics = summarise(np.array([[6, 0, 2], [0, 4, 0], [0, 0, 0]]))
    assert metrics.per_class == (6 / 8, 1.0, 0.0)
    assert metrics.miou == pytest.approx((6 / 8 + 1 + 0) / 3)
    assert metrics.miou_present == pytest.approx((6 / 8 + 1) / 2)
    assert metrics.pixel_accuracy == pytest.approx(10 / 12)


def test_precision_recall_and_frequency_weighted_iou_by_hand():
    metrics = summarise(np.array([[6, 2, 0], [1, 3, 0], [0, 0, 0]]))
    assert metrics.precision == (6 / 7, 3 / 5, None)
    assert metrics.recall == (6 / 8, 3 / 4, None)
    assert metrics.frequency_weighted_iou == pytest.approx((8 * 6 / 9 + 4 * 3 / 6) / 12)
    only_predicted = summarise(np.array([[6, 2], [0, 0]]))
    assert (only_predicted.precision[1], only_predicted.recall[1]) == (0.0, None)
    assert only_predicted.frequency_weighted_iou == 6 / 8


def test_nothing_counted_is_zero():
    metrics = summarise(np.zeros((2, 2)))
    assert (metrics.miou, metrics.miou_present, metrics.pixel_accuracy) == (0.0, 0.0, 0.0)


def test_mean_iou_accumulates_as_the_original(testdata):
    expected = json.loads((testdata / 'golden' / 'misc' / 'meta.json').read_text())['mean_iou']
    with np.load(testdata / 'golden' / 'misc' / 'data.npz') as data:
        stored = dict(data)
    total = np.zeros((21, 21), np.int64)
    for value, labels, predictions in zip(expected, stored['iou_labels'], stored['iou_preds'], strict=True):
        total += confusion_matrix(labels, predictions, num_classes=21)
        assert summarise(total).miou == pytest.approx(value, abs=1e-6)
    np.testing.assert_array_equal(total, stored['confusion_rows_label_cols_pred'])


@pytest.mark.parametrize(('spec', 'name'), [(PASCAL_VOC, 'colormap_pascal'), (CITYSCAPES, 'colormap_cityscapes')])
def test_the_colours_are_the_originals(testdata, spec, name):
    with np.load(testdata / 'golden' / 'misc' / 'data.npz') as data:
        np.testing.assert_array_equal(spec.colours, data[name][: spec.num_classes])
