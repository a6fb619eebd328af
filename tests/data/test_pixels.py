"""Examples that are decoded once: the same batches, from a cache that is checked and made again."""

import dataclasses

import numpy as np
import pytest

from deeplab_load.catalog import GREY
from deeplab_load.data.batches import evaluation_batches
from deeplab_load.data.examples import decoded_once
from deeplab_load.data.pixels import MANIFEST, PIXELS, is_whole
from deeplab_load.data.specs import ResizeRange


class Counting(list):
    """Records that note how often they are read."""

    reads = 0

    def __getitem__(self, number):
        self.reads += 1
        return super().__getitem__(number)


@pytest.fixture
def examples(voc_train):
    records = Counting(voc_train.records[number] for number in range(len(voc_train)))
    return dataclasses.replace(voc_train, records=records)


def batches(examples, **options):
    options = {'crop_size': (33, 33), 'batch_size': 2, **options}
    return [{k: v.numpy() for k, v in batch.items()} for batch in evaluation_batches(examples, **options)]


def assert_same(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        for name, values in other.items():
            np.testing.assert_array_equal(one[name], values)
            assert one[name].dtype == values.dtype


@pytest.mark.parametrize('resize', [None, ResizeRange(20, 32, None)])
@pytest.mark.parametrize('colour', [GREY, (123.15, 115.9, 103.06)])
def test_batches_have_the_same_bits_and_nothing_is_decoded_again(examples, tmp_path, resize, colour):
    examples = dataclasses.replace(examples, resize=resize)
    expected = batches(examples, colour=colour)
    once = decoded_once(examples, tmp_path / 'cache')
    examples.records.reads = 0
    assert_same(batches(once, colour=colour), expected)
    last = examples.ids[-1:]
    encoded = dataclasses.replace(once.subset(last), pixels=None)
    assert_same(batches(once.subset(last), colour=colour), batches(encoded, colour=colour))
    assert examples.records.reads == 1


def test_what_is_there_and_whole_is_taken(examples, tmp_path):
    decoded_once(examples, tmp_path / 'cache')
    examples.records.reads = 0
    decoded_once(examples, tmp_path / 'cache')
    assert examples.records.reads == 0


def flip(folder):
    data = bytearray((folder / PIXELS).read_bytes())
    data[7] ^= 1
    (folder / PIXELS).write_bytes(bytes(data))


DAMAGE = {
    'flipped': flip,
    'cut': lambda folder: (folder / PIXELS).write_bytes((folder / PIXELS).read_bytes()[:-1]),
    'empty': lambda folder: (folder / PIXELS).write_bytes(b''),
    'missing': lambda folder: (folder / PIXELS).unlink(),
    'no manifest': lambda folder: (folder / MANIFEST).unlink(),
    'cut manifest': lambda folder: (folder / MANIFEST).write_text('{'),
}


@pytest.mark.parametrize('damage', DAMAGE)
def test_what_is_damaged_is_made_again(examples, tmp_path, damage):
    folder = tmp_path / 'cache'
    decoded_once(examples, folder)
    before = (folder / PIXELS).read_bytes()
    DAMAGE[damage](folder)
    assert not is_whole(folder, examples.fingerprint)
    decoded_once(examples, folder)
    assert (folder / PIXELS).read_bytes() == before


def test_the_pixels_of_other_examples_are_not_taken(examples, tmp_path):
    folder = tmp_path / 'cache'
    decoded_once(examples.at([1]), folder)
    assert_same(batches(decoded_once(examples.at([0]), folder)), batches(examples.at([0])))


def test_what_is_stopped_leaves_nothing(examples, tmp_path):
    def stop():
        raise RuntimeError

    with pytest.raises(RuntimeError):
        decoded_once(examples, tmp_path / 'run' / 'cache', check=stop)
    assert list((tmp_path / 'run').iterdir()) == []
