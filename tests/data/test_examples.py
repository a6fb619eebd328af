"""Examples, their subsets and the hold-out."""

import dataclasses

import pytest

from deeplab_load.data.examples import Examples, holdout
from deeplab_load.data.specs import SHAPES
from deeplab_load.errors import UserError


def make_examples(count: int) -> Examples:
    ids = tuple(f'img_{number:03d}' for number in range(count))
    digests = tuple(f'digest {number}' for number in range(count))
    records = [{'image_id': i.encode(), 'image': b'image ' + i.encode(), 'label': b'label'} for i in ids]
    return Examples(SHAPES, 'val', ids, ((3, 4),) * count, digests, digests, tuple(range(count)), records)


def test_subset_keeps_the_order_and_reads_its_own_records():
    subset = make_examples(5).subset(['img_004', 'img_001'])
    assert subset.ids == ('img_001', 'img_004')
    assert subset.encoded(1) == (b'image img_004', b'label')
    assert subset.subset(['img_004']).encoded(0) == (b'image img_004', b'label')


def test_subset_of_unknown_ids_is_refused():
    with pytest.raises(ValueError, match=r"no examples \['img_9'\]"):
        make_examples(2).subset(['img_001', 'img_9'])


def test_holdout_is_fixed_and_seeded():
    examples = make_examples(10)
    assert holdout(examples, fraction=0.3, seed=0).ids == ('img_001', 'img_002', 'img_007')
    assert holdout(examples, fraction=0.3, seed=1).ids != holdout(examples, fraction=0.3, seed=0).ids
    assert len(holdout(make_examples(1449), fraction=0.3)) == 435
    assert len(holdout(make_examples(2), fraction=0.01)) == 1


def test_holdout_does_not_depend_on_the_order():
    examples = make_examples(10)
    reversed_ids = dataclasses.replace(examples, ids=examples.ids[::-1])
    assert set(holdout(reversed_ids).ids) == set(holdout(examples).ids)


def test_fingerprint_is_of_ids_and_bytes_in_order():
    examples = make_examples(3)
    assert examples.fingerprint == make_examples(3).fingerprint
    changed = dataclasses.replace(examples, digests=('digest 0', 'digest 1', 'other'))
    fingerprints = {e.fingerprint for e in (examples, changed, examples.subset(['img_000']), make_examples(4))}
    assert len(fingerprints) == 4


def test_records_out_of_order_are_noticed():
    examples = dataclasses.replace(make_examples(3), positions=(1, 0, 2))
    with pytest.raises(UserError, match='out of order'):
        examples.encoded(0)


def test_examples_of_prepared_data_tell_their_sizes(voc):
    examples = voc.examples('val')
    assert [examples.size(index) for index in range(len(examples))] == [(16, 25), (28, 22)]
