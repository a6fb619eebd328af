"""Assessments: sums over images, the worst of them, and what is refused."""

import subprocess
import sys

import numpy as np
import pytest

from deeplab_load.background import AHEAD, in_background
from deeplab_load.data.specs import SHAPES
from deeplab_load.errors import UserError
from deeplab_load.evaluation.assessment import assess
from deeplab_load.evaluation.evaluation import Prediction
from deeplab_load.metrics import confusion_matrix, summarise


def prediction(number, wrong):
    """Ten rows of one class, the first `wrong` of them taken for another."""
    label = np.full((10, 10), number % 7, np.uint8)
    label_map = label.copy()
    label_map[:wrong] = (number + 1) % 7
    return Prediction(f'image {number:02d}', label, label_map)


def test_the_sum_is_that_of_all_images_and_the_worst_come_first():
    wrong = [0, 9, 3, 10, 1, 3, 0, 2, 5, 4, 8, 6]
    images = [prediction(number, rows) for number, rows in enumerate(wrong)]
    found = assess(iter(images), SHAPES, worst=4, boundary_width=2)
    whole = confusion_matrix(
        np.concatenate([i.label for i in images]), np.concatenate([i.label_map for i in images]), num_classes=7
    )
    np.testing.assert_array_equal(found.confusion, whole)
    assert (found.images, found.metrics) == (12, summarise(whole))
    assert [score.prediction.image_id for score in found.worst] == ['image 03', 'image 01', 'image 10', 'image 11']
    assert found.worst[0].miou == 0
    assert found.worst[1].miou == pytest.approx((1 / 10 + 0) / 2)
    assert found.boundaries.iou < 1


def test_ties_are_told_apart_by_name_and_images_of_void_have_no_score():
    void = Prediction('void', np.full((4, 4), 255, np.uint8), np.zeros((4, 4), np.uint8))
    images = [void, prediction(5, 2), prediction(3, 2), prediction(4, 2)]
    found = assess(images, SHAPES, worst=2)
    assert [score.prediction.image_id for score in found.worst] == ['image 03', 'image 04']
    assert (found.images, found.boundaries) == (4, None)


def test_no_more_than_a_few_images_are_made_ahead():
    source = iter(range(1000))
    lazily = in_background(lambda item: item, source)
    assert next(lazily) == 0
    assert next(source) == AHEAD + 1


def test_work_that_is_left_does_not_keep_a_process_from_its_end():
    program = """
import sys, time
from deeplab_load.background import in_background
kept = in_background(lambda item: time.sleep(0.1) or item, range(10**6), threads=2)
sys.exit(3 + next(kept))
"""
    assert subprocess.run([sys.executable, '-c', program], timeout=60).returncode == 3


@pytest.mark.parametrize(
    ('label', 'label_map', 'words'),
    [
        (np.full((2, 2), 7, np.uint8), np.zeros((2, 2), np.uint8), 'x of shapes cannot be counted: a label is 7'),
        (np.zeros((2, 2), np.uint8), np.full((2, 2), 7, np.uint8), 'x of shapes cannot be counted: a prediction is 7'),
        (np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8), r'predicted for x is \(2, 3\)'),
    ],
)
def test_what_cannot_be_counted_is_an_error_that_names_the_image(label, label_map, words):
    with pytest.raises(UserError, match=words):
        assess([Prediction('x', label, label_map)], SHAPES, boundary_width=0.01)
