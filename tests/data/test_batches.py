"""Batches as functions of their number."""

import collections
import dataclasses
import functools
import itertools

import numpy as np
import pytest

from deeplab_load.catalog import IMAGENET_MEAN
from deeplab_load.data.batches import (
    discriminator_batches,
    evaluation_batches,
    permutation,
    seen_examples,
    stateless_seed,
    training_batches,
)
from deeplab_load.data.label_maps import Origin, Shard, read_set, write_set
from deeplab_load.errors import UserError

CROP = (17, 33)


def take(batches, count):
    return [{name: value.numpy() for name, value in batch.items()} for batch in itertools.islice(batches, count)]


def assert_same(first, second):
    assert len(first) == len(second) > 0
    for one, other in zip(first, second, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


def numbers_in(batch):
    """The images' numbers, which the green channel holds in steps of 40 where it is not padding."""
    green = [image[(image != 127.5).any(axis=-1)][:, 1] for image in batch['image']]
    return np.array([round(float(np.median(values)) / 40) for values in green])


@pytest.fixture
def sets(voc_train, tmp_path):
    """Two label-map sets of the training examples; set s maps image i to label 10 * s + i everywhere."""
    for number in (0, 1):
        maps = [
            (image_id, np.full(voc_train.size(index), 10 * number + int(image_id[-1]), np.uint8))
            for index, image_id in enumerate(voc_train.ids)
        ]
        shards = [Shard('train', i, 2, functools.partial(iter, part)) for i, part in enumerate((maps[:2], maps[2:]))]
        write_set(tmp_path, f's{number}', shards, Origin('m', 'd'))
    return [read_set(tmp_path, f's{number}') for number in (0, 1)]


def test_permutations_are_pinned_and_differ_by_epoch():
    assert permutation(0, 0, 8).tolist() == [0, 3, 7, 5, 1, 2, 6, 4]
    assert sorted(permutation(3, 1, 100)) == list(range(100))
    assert permutation(3, 1, 100).tolist() != permutation(3, 2, 100).tolist()


def test_stateless_seeds_are_pinned():
    assert stateless_seed(1, 2, 3).tolist() == [-472777600, -1268808641]
    assert stateless_seed(1, 2, 3).dtype == np.int32


def test_training_batches_have_the_crops_shape(voc_train):
    (batch,) = take(training_batches(voc_train, crop_size=CROP, batch_size=2, seed=0), 1)
    assert (batch['image'].shape, batch['image'].dtype) == ((2, 17, 33, 3), np.float32)
    assert (batch['label'].shape, batch['label'].dtype) == ((2, 17, 33), np.uint8)
    assert batch['image'].min() >= 0
    assert batch['image'].max() <= 255


def test_static_shapes_are_known(voc_train):
    spec = training_batches(voc_train, crop_size=CROP, batch_size=2, seed=0).batches.element_spec
    assert spec['image'].shape == (2, 17, 33, 3)
    assert spec['label'].shape == (2, 17, 33)


def test_starting_later_gives_the_same_batches_bit_for_bit(voc_train):
    whole = take(training_batches(voc_train, crop_size=CROP, batch_size=2, seed=5), 9)
    for first in (1, 4, 7):
        rest = training_batches(voc_train, crop_size=CROP, batch_size=2, seed=5, first_batch=first)
        assert_same(take(rest, 9 - first), whole[first:])


def test_epochs_are_permutations_and_batches_run_across_their_ends(voc_train):
    batches = take(training_batches(voc_train, crop_size=(40, 40), batch_size=2, seed=0), 30)
    numbers = np.concatenate([numbers_in(batch) for batch in batches]).reshape(20, 3)
    assert (np.sort(numbers, axis=1) == [0, 1, 2]).all()
    assert len({tuple(epoch) for epoch in numbers.tolist()}) > 3


def test_the_seen_examples_are_those_of_the_first_batches(voc_train):
    seen = [seen_examples(3, seed=5, batch_size=1, batches=batches) for batches in range(5)]
    assert [len(numbers) for numbers in seen] == [0, 1, 2, 3, 3]
    batches = take(training_batches(voc_train, crop_size=(40, 40), batch_size=1, seed=5), 3)
    for count in (1, 2, 3):
        drawn = {f'img_{numbers_in(batch)[0]}' for batch in batches[:count]}
        assert {voc_train.ids[number] for number in seen[count]} == drawn


def test_windows_and_flips_change_from_epoch_to_epoch(voc_train):
    only = voc_train.subset(['img_2'])
    batches = take(training_batches(only, crop_size=CROP, batch_size=1, seed=0), 12)
    assert len({batch['image'].tobytes() for batch in batches}) > 6
    unflipped = take(training_batches(only, crop_size=(40, 40), batch_size=1, seed=0, flip=False), 12)
    assert len({batch['image'].tobytes() for batch in unflipped}) == 1


def test_image_and_label_move_together(voc_train):
    """The image's red channel rises from left to right; the upper left of its labels is of another class."""
    only = voc_train.subset(['img_2'])
    for batch in take(training_batches(only, crop_size=(33, 33), batch_size=1, seed=0), 8):
        red, label = batch['image'][0, :10, :, 0], batch['label'][0, :10]
        mirrored = red[5, 5] > red[5, 25]
        columns = slice(20, 31) if mirrored else slice(2, 13)
        assert set(np.unique(label[:, columns])) == {5}


def test_evaluation_batches_hold_every_image_once_in_order(voc_train, drawn_labels):
    batches = take(evaluation_batches(voc_train, crop_size=(33, 33), batch_size=2), 9)
    assert [len(batch['image']) for batch in batches] == [2, 1]
    image_ids = [image_id.decode() for batch in batches for image_id in batch['image_id']]
    assert tuple(image_ids) == voc_train.ids
    assert [tuple(size) for batch in batches for size in batch['size'].tolist()] == list(voc_train.sizes)
    label = batches[0]['label'][1]
    np.testing.assert_array_equal(label[:20, :30], drawn_labels(0, 20, 30))
    assert (label[20:] == 255).all()
    assert (label[:, 30:] == 255).all()
    assert (batches[0]['image'][1, 20:] == 127.5).all()


def test_evaluation_batches_without_labels_are_the_same_otherwise(voc_train):
    options = {'crop_size': (33, 33), 'batch_size': 2}
    for whole, bare in zip(
        evaluation_batches(voc_train, **options), evaluation_batches(voc_train, **options, labels=False), strict=True
    ):
        assert set(bare) == {'image', 'size', 'image_id'}
        for name, values in bare.items():
            np.testing.assert_array_equal(values, whole[name])


def test_every_pipeline_pads_with_the_colour_of_the_segmentor(voc_train, sets):
    options = {'crop_size': (40, 40), 'batch_size': 2, 'colour': IMAGENET_MEAN}
    pipelines = (
        training_batches(voc_train, seed=0, **options),
        evaluation_batches(voc_train, **options),
        discriminator_batches(voc_train, sets, seed=0, epoch=0, paired=True, augment=False, **options),
    )
    for (batch,) in (take(pipeline, 1) for pipeline in pipelines):
        np.testing.assert_allclose(batch['image'][:, -1], np.broadcast_to(IMAGENET_MEAN, (2, 40, 3)), rtol=1e-6)


class Damaged(list):
    def __getitem__(self, number):
        raise RuntimeError('CRC')


def test_evaluation_tells_a_damaged_record_in_its_sentence(voc_train):
    damaged = dataclasses.replace(voc_train, records=Damaged())
    with pytest.raises(UserError, match=r'^The record of .* is damaged'):
        next(evaluation_batches(damaged, crop_size=(33, 33), batch_size=1))


def test_training_tells_a_damaged_record_in_its_sentence(voc_train, sets):
    damaged, options = (
        dataclasses.replace(voc_train, records=Damaged()),
        {'crop_size': CROP, 'batch_size': 2, 'seed': 0},
    )
    of_d = discriminator_batches(damaged, sets, **options, epoch=0, paired=True, augment=True)
    for batches in (training_batches(damaged, **options), of_d):
        with pytest.raises(UserError, match=r'^The record of .* is damaged'):
            next(iter(batches))


def test_training_tells_a_damaged_map_in_its_sentence(voc_train, sets):
    shard = sets[1].shards('train')[1]
    shard.write_bytes(bytes(shard.stat().st_size))
    with pytest.raises(UserError, match=r'train\.tfrecord-00001-of-00002 is stale: it has changed since'):
        discriminator(voc_train, sets)


def test_evaluation_refuses_an_image_larger_than_the_crop(voc_train):
    with pytest.raises(
        UserError, match=r"Image 'img_2' of pascal_voc is 30x30 pixels, more than --eval_crop_size=29,33"
    ):
        evaluation_batches(voc_train, crop_size=(29, 33), batch_size=1)


def discriminator(examples, sets, **changes):
    options = {'crop_size': (40, 40), 'batch_size': 4, 'seed': 0, 'epoch': 0, 'paired': True, 'augment': True}
    return take(discriminator_batches(examples, sets, **{**options, **changes}), 100)


def rows_of(batches):
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def generated_labels(rows):
    """The one label that each generated map has besides padding."""
    maps = rows['label_map'][rows['real'] == 0]
    return np.array([labels[labels != 255].max() for labels in maps])


@pytest.mark.parametrize('augment', [True, False])
def test_pairs_stand_together_under_one_view(voc_train, sets, augment):
    batches = discriminator(voc_train, sets, augment=augment, crop_size=CROP)
    assert [len(batch['real']) for batch in batches] == [4, 4, 4]
    rows = rows_of(batches)
    assert rows['real'].tolist() == [1, 0] * 6
    for name in ('image', 'ground_truth'):
        np.testing.assert_array_equal(rows[name][::2], rows[name][1::2])
    np.testing.assert_array_equal(rows['label_map'][::2], rows['ground_truth'][::2])
    assert (rows['weight'] == 1).all()


def test_every_couple_of_image_and_set_occurs_once_an_epoch(voc_train, sets):
    for paired in (True, False):
        labels = generated_labels(rows_of(discriminator(voc_train, sets, paired=paired)))
        assert sorted(labels.tolist()) == [0, 1, 2, 10, 11, 12]


def test_generated_maps_belong_to_their_images_and_share_the_window(voc_train, sets):
    rows = rows_of(discriminator(voc_train, sets, paired=False))
    fake = rows['real'] == 0
    np.testing.assert_array_equal(generated_labels(rows) % 10, numbers_in({'image': rows['image'][fake]}))
    outside = (rows['image'][fake] == 127.5).all(axis=-1)
    np.testing.assert_array_equal(rows['label_map'][fake] == 255, outside)


@pytest.mark.parametrize('paired', [True, False])
def test_real_maps_weigh_as_much_as_all_generated_ones(voc_train, sets, paired):
    rows = rows_of(discriminator(voc_train, sets, paired=paired))
    weights = {kind: rows['weight'][rows['real'] == kind].sum() for kind in (0, 1)}
    assert weights[0] == weights[1] == len(rows['weight']) / 2


@pytest.mark.parametrize('paired', [True, False])
def test_a_set_takes_part_with_the_images_that_it_covers(voc_train, sets, paired):
    rows = rows_of(discriminator(voc_train, sets, paired=paired, covered=[[0, 1, 2], [2]]))
    assert sorted(generated_labels(rows).tolist()) == [0, 1, 2, 11]  # Number 2 is img_1.
    real = rows['real'] == 1
    assert real.sum() == (4 if paired else 3)
    assert rows['weight'][real].sum() == pytest.approx(rows['weight'][~real].sum())
    assert rows['weight'].mean() == pytest.approx(1)
    assert set(rows['weight'][~real].tolist()) == {1.0 if paired else 0.875}


def test_freely_shuffled_epoch_holds_each_real_map_once_and_keeps_the_last_batch(voc_train, sets):
    batches = discriminator(voc_train, sets, paired=False)
    assert [len(batch['real']) for batch in batches] == [4, 4, 1]
    rows = rows_of(batches)
    real = rows['real'] == 1
    assert collections.Counter(numbers_in({'image': rows['image'][real]}).tolist()) == {0: 1, 1: 1, 2: 1}
    np.testing.assert_array_equal(rows['label_map'][real], rows['ground_truth'][real])


def test_discriminator_epochs_are_functions_of_seed_and_epoch(voc_train, sets):
    assert_same(discriminator(voc_train, sets, epoch=2), discriminator(voc_train, sets, epoch=2))
    orders = {tuple(generated_labels(rows_of(discriminator(voc_train, sets, epoch=e))).tolist()) for e in range(4)}
    assert len(orders) > 1


def test_discriminator_batches_without_augmentation_flip_nothing(voc_train, sets):
    first, second = (
        rows_of(discriminator(voc_train, sets[:1], augment=False, epoch=epoch))['image'] for epoch in (0, 1)
    )
    assert {image.tobytes() for image in first} == {image.tobytes() for image in second}
    assert len({image.tobytes() for image in first}) == 3


def test_odd_paired_batches_are_refused(voc_train, sets):
    with pytest.raises(UserError, match='must be even, not 3'):
        discriminator(voc_train, sets, batch_size=3)


def test_a_set_without_a_map_of_an_image_is_refused(voc, voc_train, sets):
    with pytest.raises(UserError, match="'s0' has no map of image 'img_3' in 'train'"):
        discriminator(voc.examples('val'), sets)
