"""Padding, windows and flips."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from deeplab_load.data.pairs import encode_label_map
from deeplab_load.data.preprocessing import (
    View,
    centre_view,
    decode_image,
    decode_label_map,
    pad_image,
    pad_label_map,
    random_view,
    view_image,
    view_label_map,
)


@pytest.mark.parametrize(('case', 'crop_size'), [('pad_voc', (513, 513)), ('pad_small', (65, 65))])
def test_padding_equals_the_original_bit_for_bit(testdata, case, crop_size):
    inputs = np.load(testdata / 'golden/preprocess/inputs.npz')
    outputs = np.load(testdata / 'golden/preprocess/outputs.npz')
    image = pad_image(tf.constant(inputs[f'{case}/image']), crop_size)
    label = pad_label_map(tf.constant(inputs[f'{case}/label'][..., 0]), crop_size)
    np.testing.assert_array_equal(image, outputs[f'{case}/processed'])
    np.testing.assert_array_equal(label, outputs[f'{case}/label'][..., 0])


def test_padding_fills_bottom_and_right():
    image = pad_image(tf.constant(np.full((2, 3, 3), 9, np.uint8)), (4, 5)).numpy()
    label = pad_label_map(tf.constant(np.full((2, 3), 9, np.uint8)), (4, 5)).numpy()
    inside = np.zeros((4, 5), bool)
    inside[:2, :3] = True
    assert image.dtype == np.float32
    assert label.dtype == np.uint8
    assert (image[inside] == 9).all()
    assert (image[~inside] == 127.5).all()
    assert (label[inside] == 9).all()
    assert (label[~inside] == 255).all()


def test_an_image_larger_than_the_crop_is_not_padded():
    image = tf.zeros([7, 3, 3], tf.uint8)
    assert pad_image(image, (4, 5)).shape == (7, 5, 3)


def test_view_equals_pad_then_crop_then_flip():
    pixels = np.random.default_rng(0).integers(0, 256, (9, 4, 3), np.uint8)
    view = View(tf.constant([3, 0]), tf.constant(True))
    padded = np.pad(pixels.astype(np.float32), ((0, 0), (0, 2), (0, 0)), constant_values=127.5)
    np.testing.assert_array_equal(view_image(tf.constant(pixels), view, (5, 6)), padded[3:8, ::-1])
    labels = pixels[..., 0]
    padded_labels = np.pad(labels, ((0, 0), (0, 2)), constant_values=255)
    np.testing.assert_array_equal(view_label_map(tf.constant(labels), view, (5, 6)), padded_labels[3:8, ::-1])


def test_random_views_reach_every_window_and_both_sides():
    views = [random_view(tf.constant([7, 5]), (5, 5), tf.constant([1, n]), flip=True) for n in range(100)]
    assert {tuple(view.offset.numpy().tolist()) for view in views} == {(0, 0), (1, 0), (2, 0)}
    mirrored = sum(bool(view.mirrored) for view in views)
    assert 30 < mirrored < 70


def test_random_view_depends_on_the_seed_alone_and_may_leave_flips_out():
    size, crop_size = tf.constant([50, 60]), (10, 10)
    first, again = (random_view(size, crop_size, tf.constant([3, 4]), flip=True) for _ in range(2))
    np.testing.assert_array_equal(first.offset, again.offset)
    unflipped = [random_view(size, crop_size, tf.constant([0, n]), flip=False) for n in range(20)]
    assert not any(bool(view.mirrored) for view in unflipped)


def test_centre_view_is_the_middle():
    view = centre_view(tf.constant([9, 3]), (5, 5))
    np.testing.assert_array_equal(view.offset, [2, 0])
    assert not bool(view.mirrored)


def test_label_maps_survive_their_encoding():
    labels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(decode_label_map(tf.constant(encode_label_map(labels))), labels)


def test_label_maps_are_stored_by_run_lengths():
    squares = np.random.default_rng(0).integers(0, 9, (9, 11)).astype(np.uint8).repeat(32, axis=0).repeat(32, axis=1)
    searched = io.BytesIO()
    Image.fromarray(squares).save(searched, format='PNG')
    assert len(encode_label_map(squares)) < len(searched.getvalue())


def test_grey_images_get_three_channels():
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 5), 77, np.uint8)).save(buffer, format='JPEG')
    np.testing.assert_array_equal(decode_image(tf.constant(buffer.getvalue())), np.full((4, 5, 3), 77))
