"""Tiles: every pixel told of once, by the tile in which it lies deepest."""

import numpy as np
import pytest
import tensorflow as tf

from deeplab_load.catalog import GREY
from deeplab_load.models.inference import label_maps
from deeplab_load.models.slim import resize_bilinear
from deeplab_load.serving.windows import Window, resized, tiled

from .conftest import CROP, smooth_noise
from .test_signatures import encoded

WINDOW = Window((16, 20), 16, GREY)


def depth_in_the_tile(crops):
    """For each pixel the red value, and how far it is from the nearest side of the crop."""
    height, width = crops.shape[1:3]
    rows = tf.minimum(tf.range(height), height - 1 - tf.range(height))
    columns = tf.minimum(tf.range(width), width - 1 - tf.range(width))
    depth = tf.broadcast_to(tf.minimum(rows[:, None], columns), tf.shape(crops)[:3])
    return tf.stack([tf.cast(crops[..., 0], tf.int32), depth], axis=-1)


@pytest.mark.parametrize('size', [(16, 20), (5, 7), (17, 20), (40, 9), (61, 75)])
@pytest.mark.parametrize('in_graph', [True, False])
def test_every_pixel_comes_back_at_its_place(size, in_graph):
    function = tf.function(
        lambda images: tiled(images, WINDOW, depth_in_the_tile, tf.int32),
        input_signature=[tf.TensorSpec([None, None, None, 3] if in_graph else [2, *size, 3], tf.uint8)],
    )
    images = np.random.default_rng(0).integers(0, 256, (2, *size, 3)).astype(np.uint8)
    answer = function(images).numpy()
    np.testing.assert_array_equal(answer[..., 0], images[..., 0])


def test_inside_an_image_every_pixel_is_told_of_by_a_tile_that_sees_around_it():
    images = np.zeros((1, 61, 75, 3), np.uint8)
    depth = tiled(tf.constant(images), WINDOW, depth_in_the_tile, tf.int32).numpy()[0, ..., 1]
    assert depth[2:-2, 2:-2].min() >= 2  # an eighth of a crop's side: half of the overlap
    assert depth[0].max() == 0


def test_a_large_image_is_seen_at_its_own_scale(segmentor, tiling_signatures):
    image = np.tile(smooth_noise(*CROP, 1), (2, 2, 1))
    answer = tiling_signatures['serving_default'](ImageTensor=image[np.newaxis])['SemanticPredictions'].numpy()
    corner = label_maps(segmentor, image[np.newaxis, : CROP[0], : CROP[1]], crop_size=CROP, output_stride=16).numpy()
    assert answer.shape == (1, 194, 258)
    assert np.mean(answer[0, :70, :90] == corner[0, :70, :90]) > 0.999


@pytest.mark.parametrize('size', [(16, 20), (5, 7), (16, 3)])
def test_an_image_that_fits_enters_as_it_does_without_tiles(size):
    images = tf.constant(np.random.default_rng(1).integers(0, 256, (2, *size, 3)), tf.uint8)
    entered = []

    def seen(crops):
        entered.append(crops.numpy())
        return crops

    answers = tiled(images, WINDOW, seen, tf.float32), resized(images, WINDOW, seen, resize_bilinear)
    np.testing.assert_array_equal(*entered)
    np.testing.assert_array_equal(*answers)


def test_an_image_that_fits_is_one_tile(signatures, tiling_signatures):
    """Two graphs of one network: they owe each other its numbers but for rounding."""
    images = smooth_noise(60, 129, 2)[np.newaxis]
    told = [
        s['probabilities'](ImageTensor=images)['SemanticProbabilities'].numpy() for s in (tiling_signatures, signatures)
    ]
    np.testing.assert_allclose(*told, rtol=0, atol=1e-6)
    tiles, whole = (
        s['serving_default'](ImageTensor=images)['SemanticPredictions'].numpy() for s in (tiling_signatures, signatures)
    )
    second, first = np.sort(told[1], axis=-1)[..., -2:].transpose(3, 0, 1, 2)
    decided = first - second > 2e-6  # Each may have moved by what is allowed above.
    assert decided.mean() > 0.999
    np.testing.assert_array_equal(tiles[decided], whole[decided])


def test_tiled_files_and_probabilities_agree_with_tiled_pixels(tiling_signatures):
    images = [smooth_noise(150, 200, 3), smooth_noise(40, 300, 4)]
    answer = tiling_signatures['serving_bytes'](ImageTensor_bytes=tf.constant([encoded(i, 'PNG') for i in images]))
    assert answer['ImageSizes'].numpy().tolist() == [[150, 200], [40, 300]]
    for image, label_map in zip(images, answer['SemanticPredictions'].numpy(), strict=True):
        told = [tiling_signatures[name](ImageTensor=image[np.newaxis]) for name in ('serving_default', 'probabilities')]
        labels = told[0]['SemanticPredictions'][0]
        np.testing.assert_array_equal(label_map[: image.shape[0], : image.shape[1]], labels)
        assert np.mean(np.argmax(told[1]['SemanticProbabilities'][0], -1) == labels) > 0.9999
        assert (label_map[image.shape[0] :] == 255).all()
