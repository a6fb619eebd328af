"""Confusion and means against hand-computed numbers and the original's."""

import json

import numpy as np
import pytest
import tensorflow as tf

from deeplab_load.metrics import confusion_matrix, summarise


def test_confusion_counts_and_leaves_void_out():
    labels = tf.constant([[0, 0, 1], [2, 255, 255]], tf.uint8)
    predictions = tf.constant([[0, 1, 1], [0, 1, 2]], tf.uint8)
    counts = confusion_matrix(labels, predictions, num_classes=3)
    np.testing.assert_array_equal(counts, [[1, 1, 0], [0, 1, 0], [1, 0, 0]])


@pytest.mark.parametrize(('label', 'prediction', 'what'), [(3, 0, 'label'), (0, 3, 'prediction'), (254, 0, 'label')])
def test_out_of_range_is_an_error(label, prediction, what):
    with pytest.raises(tf.errors.InvalidArgumentError, match=f'a {what} is not below the 3 classes'):
        confusion_matrix(tf.constant([label]), tf.constant([prediction]), num_classes=3)


def test_a_class_that_is_only_predicted_counts_as_zero_and_an_absent_one_not_at_all():
    metrics = summarise(np.array([[6, 2, 0, 0], [0, 4, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]))
    assert metrics.per_class == (6 / 8, 4 / 6, None, None)
    assert metrics.miou == pytest.approx((6 / 8 + 4 / 6) / 2)
    metrics = summarise(np.array([[6, 0, 2], [0, 4, 0], [0, 0, 0]]))
    assert metrics.per_class == (6 / 8, 1.0, 0.0)
    assert metrics.miou == pytest.approx((6 / 8 + 1 + 0) / 3)
    assert metrics.miou_present == pytest.approx((6 / 8 + 1) / 2)
    assert metrics.pixel_accuracy == pytest.approx(10 / 12)


def test_nothing_counted_is_zero():
    metrics = summarise(np.zeros((2, 2)))
    assert (metrics.miou, metrics.miou_present, metrics.pixel_accuracy) == (0.0, 0.0, 0.0)


def test_mean_iou_accumulates_as_the_original(testdata):
    expected = json.loads((testdata / 'golden' / 'misc' / 'meta.json').read_text())['mean_iou']
    with np.load(testdata / 'golden' / 'misc' / 'data.npz') as data:
        stored = dict(data)
    total = np.zeros((21, 21), np.int64)
    for value, labels, predictions in zip(expected, stored['iou_labels'], stored['iou_preds'], strict=True):
        total += confusion_matrix(tf.constant(labels), tf.constant(predictions), num_classes=21).numpy()
        assert summarise(total).miou == pytest.approx(value, abs=1e-6)
    np.testing.assert_array_equal(total, stored['confusion_rows_label_cols_pred'])
