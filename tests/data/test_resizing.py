"""Resizing as the original, and windows of resized images equal to cutting them from the whole."""

import json

import numpy as np
import pytest
import tensorflow as tf

from bench.preprocessing import crop_first, naive_order
from deeplab_load.catalog import mean_pixel
from deeplab_load.data.preprocessing import (
    View,
    pad_image,
    pad_label_map,
    random_scale,
    random_view,
    resize_image,
    resize_label_map,
    scale_factors,
    scaled_size,
)
from deeplab_load.data.resizing import bilinear_window, nearest_window
from deeplab_load.data.specs import ResizeRange, ScaleRange

ORIGINAL = ScaleRange(0.5, 2.0, 0.25)
ANY = ScaleRange(0.5, 2.0, 0.0)


@pytest.fixture(scope='module')
def golden(testdata):
    folder = testdata / 'golden/preprocess'
    meta = json.loads((folder / 'meta.json').read_text())
    return meta, np.load(folder / 'inputs.npz'), np.load(folder / 'outputs.npz')


def preprocessed(case, image, label):
    """An evaluation image and its label map, by the options of a golden case; before and after padding."""
    options, crop_size = case['kwargs'], case['crop']
    resize = None
    if 'min_resize_value' in options:
        names = ('min_resize_value', 'max_resize_value', 'resize_factor')
        resize = ResizeRange(*(options.get(name) for name in names))
    resized, label = resize_image(tf.constant(image), resize), resize_label_map(tf.constant(label[..., 0]), resize)
    return (
        resized,
        pad_image(resized, crop_size, mean_pixel(options['model_variant'])),
        pad_label_map(label, crop_size),
    )


def test_every_case_of_the_original_is_met(golden):
    meta, inputs, outputs = golden
    cases = {name: case for name, case in meta.items() if isinstance(case, dict) and 'kwargs' in case}
    assert len(cases) == 10
    for name, case in cases.items():
        resized, image, label = preprocessed(case, inputs[f'{name}/image'], inputs[f'{name}/label'])
        np.testing.assert_allclose(resized, outputs[f'{name}/original_image'], rtol=0, atol=1e-4, err_msg=name)
        np.testing.assert_allclose(image, outputs[f'{name}/processed'], rtol=0, atol=1e-4, err_msg=name)
        np.testing.assert_array_equal(label, outputs[f'{name}/label'][..., 0], err_msg=name)
        if 'min_resize_value' not in case['kwargs']:
            np.testing.assert_array_equal(image, outputs[f'{name}/processed'], err_msg=name)


@pytest.mark.parametrize('scale', [0.5, 0.75, 1.25, 2.0])
def test_scaling_is_the_originals(golden, scale):
    _, inputs, outputs = golden
    image, label = tf.constant(inputs['scale/image']), tf.constant(inputs['scale/label'][..., 0])
    size = scaled_size(tf.shape(label), scale)
    zero = tf.zeros([2], tf.int32)
    scaled, labels = bilinear_window(image, size, zero, size), nearest_window(label, size, zero, size)
    np.testing.assert_allclose(scaled, outputs[f'scale/image_{scale:.2f}'], rtol=0, atol=1e-4)
    np.testing.assert_array_equal(labels, outputs[f'scale/label_{scale:.2f}'][..., 0])


@pytest.mark.parametrize('size', [(33, 33), (5, 7), (65, 65), (9, 13), (1, 1)])
def test_windows_of_the_originals_resized_images(golden, size):
    _, inputs, outputs = golden
    image, name = tf.constant(inputs['resize/x'][0]), f'ac_{size[0]}x{size[1]}'
    window = [(side + 3) // 4 for side in size]  # Small enough to be computed by itself.
    offset = [side // 3 for side in size]
    ours = bilinear_window(image, *map(tf.constant, (size, offset, window)))
    theirs = outputs[f'resize/bilinear_{name}'][0, offset[0] :, offset[1] :][: window[0], : window[1]]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)
    nearest = nearest_window(image[..., 0], *map(tf.constant, (size, offset, window)))
    theirs = outputs[f'resize/nearest_{name}'][0, offset[0] :, offset[1] :, 0][: window[0], : window[1]]
    np.testing.assert_array_equal(nearest, theirs)


def test_the_factors_are_the_originals(golden):
    np.testing.assert_array_equal(scale_factors(ORIGINAL), golden[0]['scale_factor_grid_default'])


@pytest.mark.parametrize('scales', [ORIGINAL, ANY, None], ids=['steps', 'any', 'none'])
@pytest.mark.parametrize('crop_size', [(24, 30), (70, 20)])
def test_cropping_first_gives_the_pixels_of_the_naive_order(crop_size, scales):
    noise = np.random.default_rng(0)
    image = tf.constant(noise.integers(0, 256, (60, 44, 3), np.uint8))
    label_map = tf.constant(noise.integers(0, 21, (60, 44), np.uint8))
    for number in range(12):
        view = random_view(tf.constant([60, 44]), crop_size, tf.constant([3, number]), flip=True, scales=scales)
        for naive, ours in zip(
            *(order(image, label_map, view, crop_size) for order in (naive_order, crop_first)), strict=True
        ):
            np.testing.assert_allclose(naive, ours, rtol=0, atol=1e-4)


def test_every_path_is_taken_and_equal():
    image = tf.constant(np.random.default_rng(1).integers(0, 256, (40, 50, 3), np.uint8))
    for size, window in (((40, 50), (9, 9)), ((90, 121), (20, 31)), ((60, 61), (50, 60)), ((7, 5), (1, 2))):
        view = View(tf.constant([3, 2]), tf.constant(False), tf.constant(size))
        naive, _ = naive_order(image, image[..., 0], view, window)
        ours = bilinear_window(image, view.size, view.offset, tf.constant(window))
        np.testing.assert_allclose(ours, naive, rtol=0, atol=1e-4)


def test_scales_are_drawn_evenly_by_the_seed_alone():
    drawn = [float(random_scale(tf.constant([5, n]), ORIGINAL)) for n in range(140)]
    assert drawn[0] == float(random_scale(tf.constant([5, 0]), ORIGINAL))
    counts = {scale: drawn.count(scale) for scale in scale_factors(ORIGINAL).tolist()}
    assert sum(counts.values()) == 140
    assert all(8 <= count <= 34 for count in counts.values())
    any_scale = [float(random_scale(tf.constant([5, n]), ANY)) for n in range(50)]
    assert len(set(any_scale)) == 50
    assert 0.5 <= min(any_scale) < 0.8
    assert 1.7 < max(any_scale) <= 2.0


def test_without_scales_views_are_what_they_were():
    size, seed = tf.constant([50, 60]), tf.constant([3, 4])
    view = random_view(size, (10, 10), seed, flip=True)
    assert view.size is None
    np.testing.assert_array_equal(view.offset, [9, 50])
    still = random_view(size, (10, 10), seed, flip=True, scales=ScaleRange(1.0, 1.0, 0.25))
    np.testing.assert_array_equal(still.offset, view.offset)
