import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from deeplab_load.catalog import Architecture, mean_pixel
from deeplab_load.errors import UserError
from deeplab_load.models.deeplab import build_segmentor
from deeplab_load.models.inference import (
    Inference,
    at_scale,
    class_scores,
    crop_labels,
    entering_size,
    fitted_size,
    label_maps,
    pad_to_crop,
    upsampled_logits,
)
from deeplab_load.models.slim import resize_bilinear, scale_dimension

CLASSES = 4


def model_that_sees_the_red_channel(images: tf.Tensor, training: bool) -> tf.Tensor:
    """Logits at stride 1 whose argmax is the red value of the pixel."""
    assert images.shape[1:] == (65, 65, 3)
    assert not training
    return -tf.abs(images[..., :1] - tf.range(CLASSES, dtype=tf.float32))


def segment(images: tf.Tensor) -> tf.Tensor:
    return label_maps(model_that_sees_the_red_channel, images, crop_size=(65, 65), output_stride=16)


def red_images(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(2).integers(0, CLASSES, (2, height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize('size', [(65, 65), (40, 65), (1, 7)])
def test_an_image_that_fits_keeps_every_pixel(size):
    images = red_images(*size)
    labels = segment(images)
    assert labels.dtype == tf.int32
    np.testing.assert_array_equal(labels, images[..., 0])


def test_a_larger_image_gets_labels_at_its_own_size():
    images = np.zeros((1, 80, 130, 3), np.uint8)
    images[:, :, 65:] = 3
    labels = segment(images).numpy()
    assert labels.shape == (1, 80, 130)
    assert (labels[..., :60] == 0).all()
    assert (labels[..., 70:] == 3).all()


def test_unknown_sizes_in_a_graph_give_the_same_labels():
    graph = tf.function(segment, input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8)])
    for size in ((65, 65), (33, 20), (80, 130), (200, 66)):
        images = red_images(*size)
        np.testing.assert_array_equal(graph(images), segment(images))


def test_padding_is_the_mean_pixel_at_the_bottom_and_right():
    padded = pad_to_crop(tf.ones([1, 2, 3, 3]), (4, 4)).numpy()
    assert (padded[:, :2, :3] == 1).all()
    assert (padded[:, 2:] == 127.5).all()
    assert (padded[:, :, 3:] == 127.5).all()


def test_upsampled_logits_align_corners():
    logits = np.array([0.0, 4.0], np.float32).reshape(1, 1, 2, 1)
    np.testing.assert_allclose(upsampled_logits(logits, (1, 5)).numpy().ravel(), [0, 1, 2, 3, 4])


@pytest.mark.parametrize(
    ('size', 'crop', 'expected'),
    [
        ((600, 800), (513, 513), (385, 513)),
        ((800, 600), (513, 513), (513, 385)),
        ((513, 513), (513, 513), (513, 513)),
        ((100, 514), (513, 513), (113, 513)),
        ((512, 512), (500, 500), (497, 497)),
        ((2048, 4096), (1025, 2049), (1025, 2049)),
        ((1300, 1300), (1025, 2049), (1025, 1025)),
        ((1024, 2048), (1025, 2049), (1024, 2048)),
    ],
)
def test_size_at_which_an_image_enters_the_crop(size, crop, expected):
    assert tuple(int(side) for side in fitted_size(size, crop, 16)) == expected


def test_a_fitted_image_never_exceeds_the_crop():
    random = np.random.default_rng(4)
    for _ in range(200):
        size, crop = random.integers(1, 1500, 2), random.integers(33, 700, 2)
        fitted = np.array([int(side) for side in fitted_size(tuple(size), tuple(int(c) for c in crop), 16)])
        assert (fitted <= crop).all(), (size, crop, fitted)
        assert (fitted >= 1).all()


def test_resizing_to_range_and_padding_are_the_originals(testdata):
    folder = testdata / 'golden/preprocess'
    cases = {
        name: case
        for name, case in json.loads((folder / 'meta.json').read_text()).items()
        if isinstance(case, dict) and 'kwargs' in case
    }
    assert len(cases) >= 10
    with np.load(folder / 'inputs.npz') as inputs, np.load(folder / 'outputs.npz') as outputs:
        for name, case in cases.items():
            flags, image = dict(case['kwargs']), inputs[f'{name}/image']
            colour = mean_pixel(flags.pop('model_variant'))
            size = entering_size(image.shape[:2], tuple(case['crop']), 16, Inference(**flags))
            assert [int(side) for side in size] == case['original_image_shape'][:2], name
            padded = pad_to_crop(resize_bilinear(image[None].astype(np.float32), size), tuple(case['crop']), colour)
            np.testing.assert_allclose(padded[0], outputs[f'{name}/processed'], atol=1e-4, err_msg=name)


def seen_by(inference: Inference, crops: tf.Tensor, logits_stride: int = 16) -> tuple[list, tf.Tensor]:
    """The images that a model sees, and the scores made of its logits, the four corners of what it sees."""
    seen = []

    def corners(images: tf.Tensor, training: bool) -> tf.Tensor:
        seen.append(images.numpy())
        return images[:, :: images.shape[1] - 1, :: images.shape[2] - 1]

    return seen, class_scores(corners, crops, logits_stride, inference)


def test_scales_and_flips_are_averaged_as_probabilities():
    crops = tf.random.stateless_uniform([1, 33, 65, 3], [1, 2], maxval=3)
    seen, scores = seen_by(Inference(inference_scales=(0.5, 1.25), add_flipped_images=True), crops)
    assert [images.shape[1:3] for images in seen] == [(17, 33), (17, 33), (41, 81), (41, 81)]
    np.testing.assert_array_equal(seen[0], resize_bilinear(crops, (17, 33)))
    np.testing.assert_array_equal(seen[3], resize_bilinear(crops[:, :, ::-1], (41, 81)))
    # Corners stay corners through every resize, and mirrored twice they are themselves.
    np.testing.assert_allclose(scores[:, ::32, ::64], tf.nn.softmax(crops[:, ::32, ::64]), rtol=1e-5)
    np.testing.assert_allclose(tf.reduce_sum(scores, axis=3), 1, rtol=1e-5)


def test_logits_of_small_scales_pass_through_the_size_of_scale_one():
    crops = tf.random.stateless_uniform([1, 33, 33, 3], [3, 4])
    _, scores = seen_by(Inference(inference_scales=(0.5,)), crops)
    # At stride 16 the crop's logits are 3x3: those of the scaled image, 2x2, come by way of them.
    expected = tf.nn.softmax(resize_bilinear(resize_bilinear(crops[:, ::32, ::32], (3, 3)), (33, 33)))
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


@pytest.mark.parametrize(('method', 'merge'), [('max', np.max), ('avg', np.mean)])
def test_an_image_pyramid_merges_logits(method, merge):
    def mean_and_size(images: tf.Tensor, training: bool) -> tf.Tensor:
        return tf.stack([tf.reduce_mean(images, axis=3), tf.fill(images.shape[:3], float(images.shape[1]))], axis=3)

    crops = tf.fill([1, 33, 33, 3], 2.0)
    scores = class_scores(mean_and_size, crops, 1, Inference(image_pyramid=(0.5, 1.0), merge_method=method))
    np.testing.assert_allclose(scores[0, ..., 0], 2, rtol=1e-6)
    np.testing.assert_allclose(scores[0, ..., 1], merge([17, 33]), rtol=1e-6)


def test_the_best_class_can_be_taken_before_upsampling():
    def model(images: tf.Tensor, training: bool) -> tf.Tensor:
        return tf.constant([[[[3.0, 0.0, 2.0], [0.0, 3.0, 2.0]]]])

    crops = tf.zeros([1, 1, 9, 3])
    after = crop_labels(model, crops, 16).numpy().ravel()
    before = crop_labels(model, crops, 16, Inference(prediction_with_upsampled_logits=False)).numpy().ravel()
    np.testing.assert_array_equal(after, [0, 0, 0, 2, 2, 2, 1, 1, 1])
    np.testing.assert_array_equal(before, [0, 0, 0, 0, 1, 1, 1, 1, 1])


def test_a_pooling_window_is_scaled_with_the_image():
    lite = Architecture('mobilenet_v3_small_seg', 3, 32, image_pooling_crop_size=(65, 97), image_pooling_stride=(1, 2))
    model = build_segmentor(lite)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 65, 97, 3)).astype(np.float32)
    for scale, window in ((0.5, (2, 2)), (1.5, (4, 5))):
        scaled = at_scale(model, scale)
        pooling = scaled.get_layer('image_pooling.mean')
        assert (pooling.pool_size, pooling.strides) == (window, (1, 2))
        assert scaled.get_layer('aspp0') is model.get_layer('aspp0')
        crop_size = tuple(scale_dimension(side, scale) for side in (65, 97))
        asked = dataclasses.replace(lite, image_pooling_crop_size=crop_size)
        expected = build_segmentor(asked)
        image = resize_bilinear(pixels, crop_size)
        np.testing.assert_allclose(scaled(image), expected(image), rtol=0, atol=1e-5)
    plain = build_segmentor(Architecture('mobilenet_v2', 3, depth_multiplier=0.1))
    assert at_scale(plain, 0.5) is plain


@pytest.mark.parametrize(
    'wrong',
    [
        {'inference_scales': ()},
        {'image_pyramid': (0.0, 1.0)},
        {'merge_method': 'sum'},
        {'max_resize_value': 513},
        {'resize_factor': 16},
    ],
)
def test_inference_that_the_original_has_not_is_refused_by_its_flag(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        Inference(**wrong)
