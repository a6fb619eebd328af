"""What a SavedModel answers: label maps and probabilities at the images' own size, from pixels and from files."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from deeplab_load.catalog import GREY
from deeplab_load.models.inference import label_maps, upsampled_logits
from deeplab_load.models.slim import resize_nearest
from deeplab_load.serving.windows import Window, resized

from .conftest import CROP, smooth_noise

SIZES = [CROP, (60, 70), (97, 40), (301, 173), (90, 400), (1, 1)]


WINDOW = Window(CROP, 16, GREY)


def plain_label_maps(segmentor, images):
    return label_maps(segmentor, tf.constant(images), crop_size=CROP, output_stride=16).numpy()


def decided(segmentor, images):
    """Where the best class leads by more than float32's rounding in this random network, which amplifies it."""

    def lead(crops):
        best = tf.math.top_k(upsampled_logits(segmentor(crops), CROP), 2).values
        return best[..., :1] - best[..., 1:]

    return resized(tf.constant(images), WINDOW, lead, resize_nearest).numpy()[..., 0] > 1e-3


def encoded(image, kind):
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **({'quality': 95} if kind == 'JPEG' else {}))
    return file.getvalue()


@pytest.mark.parametrize('size', SIZES)
def test_label_maps_are_the_packages_at_any_size(segmentor, signatures, size):
    images = np.stack([smooth_noise(*size, seed) for seed in (10, 11)])
    maps = signatures['serving_default'](ImageTensor=images)['SemanticPredictions']
    assert maps.dtype == tf.int32
    clear = decided(segmentor, images)
    assert clear.mean() > 0.98
    np.testing.assert_array_equal(maps.numpy()[clear], plain_label_maps(segmentor, images)[clear])


def test_label_maps_show_something(signatures):
    maps = signatures['serving_default'](ImageTensor=smooth_noise(*CROP, 10)[np.newaxis])['SemanticPredictions']
    assert np.unique(maps).size >= 5


def test_names_and_types_are_the_originals(signatures):
    inputs = {name: s.structured_input_signature[1] for name, s in signatures.items()}
    assert {name: [(k, v.dtype) for k, v in spec.items()] for name, spec in inputs.items()} == {
        'serving_default': [('ImageTensor', tf.uint8)],
        'serving_bytes': [('ImageTensor_bytes', tf.string)],
        'probabilities': [('ImageTensor', tf.uint8)],
    }
    outputs = {name: sorted(s.structured_outputs) for name, s in signatures.items()}
    assert outputs == {
        'serving_default': ['SemanticPredictions'],
        'serving_bytes': ['ImageSizes', 'SemanticPredictions'],
        'probabilities': ['SemanticProbabilities'],
    }


def test_probabilities_are_the_softmax_of_upsampled_logits(segmentor, signatures):
    image = smooth_noise(*CROP, 10)[np.newaxis]
    probabilities = signatures['probabilities'](ImageTensor=image)['SemanticProbabilities']
    expected = tf.nn.softmax(upsampled_logits(segmentor(image.astype(np.float32)), CROP))
    np.testing.assert_allclose(probabilities, expected, atol=1e-4)


@pytest.mark.parametrize('size', [(301, 173), (20, 30)])
def test_probabilities_have_the_images_size_and_sum_to_one(signatures, size):
    probabilities = signatures['probabilities'](ImageTensor=smooth_noise(*size, 3)[np.newaxis])
    values = probabilities['SemanticProbabilities'].numpy()
    assert values.shape == (1, *size, 7)
    np.testing.assert_allclose(values.sum(-1), 1, rtol=1e-5)


def test_files_of_mixed_sizes_in_one_batch_are_segmented_as_their_pixels(signatures):
    images = [smooth_noise(*size, 20 + index) for index, size in enumerate(SIZES)]
    answer = signatures['serving_bytes'](ImageTensor_bytes=tf.constant([encoded(i, 'PNG') for i in images]))
    assert answer['ImageSizes'].numpy().tolist() == [list(size) for size in SIZES]
    maps = answer['SemanticPredictions'].numpy()
    assert maps.shape == (len(SIZES), 301, 400)
    for image, label_map in zip(images, maps, strict=True):
        height, width = image.shape[:2]
        alone = signatures['serving_default'](ImageTensor=image[np.newaxis])['SemanticPredictions'][0]
        assert np.mean(label_map[:height, :width] == alone) > 0.9999
        assert (label_map[height:] == 255).all()
        assert (label_map[:, width:] == 255).all()


def test_jpegs_are_decoded_as_tf1_did(signatures):
    file = encoded(smooth_noise(80, 90, 5), 'JPEG')
    pixels = tf.io.decode_jpeg(file, dct_method='INTEGER_ACCURATE').numpy()
    answer = signatures['serving_bytes'](ImageTensor_bytes=tf.constant([file]))['SemanticPredictions']
    expected = signatures['serving_default'](ImageTensor=pixels[np.newaxis])['SemanticPredictions']
    np.testing.assert_array_equal(answer, expected)


MODES = {
    'grey JPEG': ('L', 'JPEG'), 'CMYK JPEG': ('CMYK', 'JPEG'), 'grey PNG': ('L', 'PNG'), '16-bit PNG': ('I;16', 'PNG'),
    'palette PNG': ('P', 'PNG'), 'PNG with alpha': ('RGBA', 'PNG'),
}  # fmt: skip


def in_mode(image, mode, kind):
    """The image, uint8 [height, width, 3], as a file of a mode, and the colours that the file holds."""
    picture, file = Image.fromarray(image), io.BytesIO()
    if mode == 'I;16':
        grey = np.asarray(picture.convert('L'))
        Image.fromarray(grey.astype(np.uint16) * 257).save(file, kind)
        return file.getvalue(), np.repeat(grey[..., np.newaxis], 3, axis=2)
    picture.convert(mode).save(file, kind)
    return file.getvalue(), np.asarray(Image.open(file).convert('RGB'))


def test_files_of_other_modes_are_segmented_as_their_colours(signatures):
    files, colours = zip(*(in_mode(smooth_noise(80, 90, 5), *mode) for mode in MODES.values()), strict=True)
    answer = signatures['serving_bytes'](ImageTensor_bytes=tf.constant(files))['SemanticPredictions']
    expected = signatures['serving_default'](ImageTensor=np.stack(colours))['SemanticPredictions']
    same = np.mean(answer == expected, axis=(1, 2))
    assert all(same > 0.999), dict(zip(MODES, same, strict=True))


def test_orientation_in_exif_is_not_looked_at(signatures):
    file, turned, exif = io.BytesIO(), io.BytesIO(), Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.fromarray(smooth_noise(40, 90, 5)).save(file, 'JPEG')
    Image.fromarray(smooth_noise(40, 90, 5)).save(turned, 'JPEG', exif=exif)
    answer = signatures['serving_bytes'](ImageTensor_bytes=tf.constant([file.getvalue(), turned.getvalue()]))
    assert answer['ImageSizes'].numpy().tolist() == [[40, 90], [40, 90]]
    upright, as_stored = answer['SemanticPredictions']
    assert np.mean(upright == as_stored) > 0.9999


def test_garbage_is_an_error_and_the_next_request_is_answered(signatures):
    good = encoded(smooth_noise(30, 40, 5), 'JPEG')
    for bad in (b'garbage', b'', good[: len(good) // 2], encoded(smooth_noise(30, 40, 5), 'BMP')):
        with pytest.raises(tf.errors.InvalidArgumentError):
            signatures['serving_bytes'](ImageTensor_bytes=tf.constant([good, bad]))
    assert signatures['serving_bytes'](ImageTensor_bytes=tf.constant([good]))['ImageSizes'].numpy().tolist() == [
        [30, 40]
    ]
