"""Label maps straight from the logits against those through full-size logits."""

import numpy as np
import pytest
import tensorflow as tf

from deeplab_load.models.slim import resize_bilinear
from deeplab_load.serving.upsampling import upsampled_labels


def whole(logits, size):
    return tf.argmax(resize_bilinear(logits, size), axis=3, output_type=tf.int32).numpy()


def smooth_logits(batch, height, width, classes):
    noise = tf.random.stateless_normal([batch, 4, 4, classes], [1, 2])
    return resize_bilinear(noise, (height, width))


@pytest.mark.parametrize(
    ('small', 'large'), [((9, 7), (65, 49)), ((2, 2), (17, 17)), ((5, 9), (17, 33)), ((33, 33), (513, 513))]
)
@pytest.mark.parametrize('logits_of', [smooth_logits, lambda *shape: tf.random.stateless_normal(shape, [3, 4])])
def test_equal_to_the_best_of_full_size_logits(small, large, logits_of):
    logits = logits_of(2, *small, 5)
    labels = upsampled_labels(logits, large).numpy()
    assert labels.dtype == np.int32
    assert labels.shape == (2, *large)
    assert np.mean(labels != whole(logits, large)) <= 1e-5


@pytest.mark.parametrize(
    ('small', 'large'), [((5, 5), (18, 17)), ((3, 3), (17, 33)), ((1, 4), (1, 13)), ((5, 5), (5, 5))]
)
def test_sizes_that_are_no_whole_stride_apart(small, large):
    logits = smooth_logits(1, *small, 4)
    np.testing.assert_array_equal(upsampled_labels(logits, large), whole(logits, large))


def test_ties_take_the_first_class_everywhere():
    logits = np.zeros((1, 3, 3, 4), np.float32)
    np.testing.assert_array_equal(upsampled_labels(tf.constant(logits), (9, 9)), np.zeros((1, 9, 9)))


@pytest.mark.parametrize(('size', 'resizes'), [((33, 33), False), ((34, 33), True)])
def test_full_size_logits_are_made_for_odd_sizes_only(size, resizes):
    logits = tf.TensorSpec([1, 5, 5, 7], tf.float32)
    graph = tf.function(lambda x: upsampled_labels(x, size)).get_concrete_function(logits).graph
    assert ('ResizeBilinear' in {op.type for op in graph.get_operations()}) == resizes
