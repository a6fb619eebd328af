"""Batches of resized and of randomly scaled images."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from deeplab_load.catalog import GREY, IMAGENET_MEAN
from deeplab_load.data.batches import discriminator_batches, evaluation_batches, training_batches
from deeplab_load.data.label_maps import Origin, Shard, read_set, write_set
from deeplab_load.data.preprocessing import decode_image, decode_label_map, pad_image, resize_image, resize_label_map
from deeplab_load.data.specs import ResizeRange, ScaleRange
from deeplab_load.errors import UserError

from .test_batches import take

SCALES = ScaleRange(0.5, 2.0, 0.25)
RANGE = ResizeRange(41, 49, 4)


@pytest.fixture
def resized(voc_train):
    return dataclasses.replace(voc_train, resize=RANGE)


def batches(examples, first=0, count=4, **options):
    options = {'crop_size': (17, 33), 'batch_size': 2, 'seed': 3, 'scales': SCALES, **options}
    return take(training_batches(examples, first_batch=first, **options), count)


def test_a_scaled_batch_is_a_function_of_its_number(voc_train):
    once, later = batches(voc_train, count=6), batches(voc_train, first=4, count=2)
    for one, other in zip(once[4:], later, strict=True):
        np.testing.assert_array_equal(one['image'], other['image'])
        np.testing.assert_array_equal(one['label'], other['label'])
    plain = batches(voc_train, scales=None)
    assert any((one['image'] != other['image']).any() for one, other in zip(once, plain, strict=False))
    assert once[0]['image'].shape == (2, 17, 33, 3)
    assert {255} < set(np.unique(once[0]['label'])) <= {0, 1, 2, 3, 4, 5, 6, 255}


def test_images_and_labels_are_scaled_alike(voc_train):
    for batch in batches(voc_train, scales=ScaleRange(2.0, 2.0, 0.25), crop_size=(65, 65)):
        for image, label in zip(batch['image'], batch['label'], strict=True):
            inside = (image != 127.5).any(axis=-1)
            assert (label[~inside] == 255).all()
            assert inside.sum() > 4 * 18 * 24 * 0.9


def test_evaluation_sees_images_and_labels_at_the_resized_size(resized):
    (batch,) = take(evaluation_batches(resized, crop_size=(49, 49), batch_size=3), 1)
    assert batch['size'].tolist() == [[41, 41], [33, 49], [49, 37]]
    encoded, label = resized.encoded(1)
    image = resize_image(decode_image(encoded), RANGE)
    np.testing.assert_allclose(batch['image'][1, :33, :49], image, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(batch['label'][1, :33, :49], resize_label_map(decode_label_map(label), RANGE))
    with pytest.raises(UserError, match=r"'img_0' of pascal_voc is 33x49 pixels, more than --eval_crop_size=49,48"):
        evaluation_batches(resized, crop_size=(49, 48), batch_size=3)
    assert resized.fingerprint != dataclasses.replace(resized, resize=None).fingerprint


@pytest.mark.parametrize('colour', [GREY, IMAGENET_MEAN])
@pytest.mark.parametrize('resize', [None, RANGE])
def test_evaluation_pads_as_the_original_to_the_last_bit(resized, resize, colour):
    examples = dataclasses.replace(resized, resize=resize)
    (batch,) = take(evaluation_batches(examples, crop_size=(49, 49), batch_size=3, colour=colour), 1)
    for number, image in enumerate(batch['image']):
        expected = resize_image(decode_image(examples.encoded(number)[0]), resize)
        np.testing.assert_array_equal(image, pad_image(expected, (49, 49), colour))


@pytest.mark.parametrize('paired', [True, False])
def test_the_discriminator_sees_real_and_generated_maps_at_the_resized_size(resized, tmp_path, paired):
    evaluated = take(evaluation_batches(resized, crop_size=(49, 49), batch_size=1), 9)
    sizes = {batch['image_id'][0].decode(): batch['size'][0] for batch in evaluated}
    maps = [(image_id, np.full(size, 7, np.uint8)) for image_id, size in sizes.items()]
    write_set(tmp_path, 's', [Shard('train', 0, 1, lambda: maps)], Origin('m', 'd'))
    options = {'crop_size': (49, 49), 'batch_size': 6, 'seed': 0, 'epoch': 0, 'paired': paired, 'augment': False}
    (batch,) = take(discriminator_batches(resized, [read_set(tmp_path, 's')], **options), 1)
    assert sorted(batch['real']) == [0, 0, 0, 1, 1, 1]
    for real, label_map, truth in zip(batch['real'], batch['label_map'], batch['ground_truth'], strict=True):
        if real:
            np.testing.assert_array_equal(label_map, truth)
        else:
            assert set(np.unique(label_map[truth != 255])) == {7}


def test_resizing_is_part_of_the_data(voc):
    assert dataclasses.replace(voc, resize=RANGE).examples('train').resize == RANGE
    assert tf.shape(resize_image(tf.zeros([30, 40, 3], tf.uint8), RANGE)).numpy().tolist() == [37, 49, 3]
