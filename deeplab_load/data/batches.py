"""Batches for training, evaluation and the discriminator, as tf.data pipelines.

Order and augmentation are pure functions of numbers: of the seed and a batch's number in training, of the seed and the
epoch for the discriminator. Nothing depends on what was drawn before, so that a stopped run goes on bit for bit.
"""

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import tensorflow as tf

from deeplab_load.background import in_background
from deeplab_load.catalog import GREY, Colour
from deeplab_load.data.examples import Examples
from deeplab_load.data.label_maps import LabelMapSet, map_in_graph
from deeplab_load.data.pipelines import BYTES, FLAG, SEED, Pipeline, call
from deeplab_load.data.preprocessing import (
    IGNORE_LABEL,
    View,
    centre_view,
    decode_image,
    decode_label_map,
    random_view,
    resize_image,
    resize_label_map,
    view_image,
    view_label_map,
)
from deeplab_load.data.service import Batch, Service
from deeplab_load.data.specs import ResizeRange, ScaleRange
from deeplab_load.errors import UserError
from deeplab_load.models.inference import brought_size

Size = tuple[int, int]

# Stands for the real label map where a number names a generated set.
REAL = -1

PREFETCHED = 4  # batches


# This worker's number and of how many: each reads its slice of every batch.
Part = tuple[int, int]
ALONE: Part = (0, 1)


@dataclass(frozen=True)
class Counted:
    """Batches of which the number is known."""

    batches: Iterator[Batch]
    number: int

    def __iter__(self) -> Iterator[Batch]:
        """The batches, once."""
        return self.batches

    def __len__(self) -> int:
        """Their number."""
        return self.number


def shares(rows: int, parts: int) -> list[tuple[int, int]]:
    """The first row and the one after the last of each part of so many rows; the first parts have one more."""
    least, more = divmod(rows, parts)
    firsts = [part * least + min(part, more) for part in range(parts + 1)]
    return list(itertools.pairwise(firsts))


def permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    """A permutation of range(count) given by (seed, epoch) alone.

    Sorts raw Philox words: NumPy keeps bit streams fixed across versions, Generator.permutation it may change.
    """
    words = np.random.Philox(np.random.SeedSequence([seed, epoch])).random_raw(count)
    return np.argsort(words, kind='stable')


def stateless_seed(*numbers: int) -> np.ndarray:
    """The int32 [2] seed of TensorFlow's stateless random ops that belongs to these numbers."""
    return np.random.SeedSequence(numbers).generate_state(2).view(np.int32)


def training_batches(
    examples: Examples,
    *,
    crop_size: Size,
    batch_size: int,
    seed: int,
    first_batch: int = 0,
    flip: bool = True,
    scales: ScaleRange | None = None,
    colour: Colour = GREY,
    part: Part = ALONE,
) -> Iterable[Batch]:
    """Endless batches {'image': float32 [N, h, w, 3] in 0-255, 'label': uint8 [N, h, w]}, N always `batch_size`.

    Batch b depends on (seed, b) only: each epoch is a permutation of the examples by (seed, epoch), batches run across
    its end, and scale, window and flip follow from (seed, epoch, place in the epoch). Starting at `first_batch` costs
    nothing. With a `part`, only its rows of each batch are read. Where the examples have a `service`, its workers make
    them.
    """
    first, last = shares(batch_size, part[1])[part[0]]
    rows = last - first
    order = lru_cache(maxsize=2)(lambda epoch: permutation(seed, epoch, len(examples)))

    def place(number: int) -> tuple[int, np.ndarray]:
        batch, row = divmod(number, rows)
        epoch, at = divmod(batch * batch_size + first + row, len(examples))
        return int(order(epoch)[at]), stateless_seed(seed, epoch, at)

    def fetch(number: int) -> tuple[bytes, bytes, np.ndarray]:
        index, view_seed = place(int(number))
        return *examples.encoded(index), view_seed

    def element(encoded: tf.Tensor, encoded_label: tf.Tensor, view_seed: tf.Tensor) -> dict[str, tf.Tensor]:
        image = resize_image(decode_image(encoded), examples.resize)
        label = resize_label_map(decode_label_map(encoded_label), examples.resize)
        view = random_view(tf.shape(image)[:2], crop_size, view_seed, flip=flip, scales=scales)
        image, label = view_image(image, view, crop_size, colour), view_label_map(label, view, crop_size)
        return {'image': image, 'label': label}

    if (service := examples.service) is not None:

        def row(number: int) -> list[int]:
            index, view_seed = place(number)
            return [service.offset(examples.positions[index]), *view_seed]

        tables = (_table(range(n * rows, (n + 1) * rows), row, 3) for n in itertools.count(first_batch))
        return service.batches(tables, lambda r: element(*service.pair(r[0]), tf.cast(r[1:], tf.int32)))
    mistakes = list[UserError]()
    numbers = tf.data.Dataset.counter(first_batch * rows)
    batches = _parallel(numbers, lambda number: element(*call(fetch, number, (BYTES, BYTES, SEED), mistakes)))
    return Pipeline(_ahead(batches.batch(rows, drop_remainder=True)), mistakes)


def seen_examples(count: int, *, seed: int, batch_size: int, batches: int) -> list[int]:
    """The numbers of the examples, of `count`, that the first `batches` of `training_batches` hold, ascending."""
    return sorted(permutation(seed, 0, count)[: batches * batch_size].tolist())


def evaluation_batches(
    examples: Examples, *, crop_size: Size, batch_size: int, colour: Colour = GREY, labels: bool = True
) -> Iterator[Batch]:
    """All examples once, in order, padded with the colour at bottom and right to the crop; the last may be smaller.

    Yields {'image': float32 [N, h, w, 3] in 0-255, 'label': uint8 [N, h, w] with void (255) outside the image,
    'size': int32 [N, 2] height and width before padding, 'image_id': string [N]}, without `labels` no 'label'. Made by
    threads of Python's, which end before it does.

    Raises:
        UserError: an image does not fit into the crop.
    """
    check_fit(examples, crop_size)
    read, resize = examples.decoded if examples.pixels else examples.encoded, examples.resize

    def batch(first: int) -> Batch:
        numbers = range(first, min(first + batch_size, len(examples)))
        images, label_maps = zip(*map(read, numbers), strict=True)
        with tf.device('CPU:0'):
            images = [_array(image, decode_image, resize_image, resize) for image in images]
            made = {
                'image': tf.constant(_padded(images, crop_size, colour)),
                'size': tf.constant([image.shape[:2] for image in images]),
                'image_id': tf.constant([examples.ids[number] for number in numbers]),
            }
            if labels:
                label_maps = [_array(label_map, decode_label_map, resize_label_map, resize) for label_map in label_maps]
                made['label'] = tf.constant(_padded_labels(label_maps, crop_size))
            return made

    return in_background(batch, range(0, len(examples), batch_size), threads=min(PREFETCHED, _processors()))


def _array(stored: bytes | np.ndarray, decode: Callable, resize: Callable, size: ResizeRange | None) -> np.ndarray:
    """An example's image or label map, encoded or not, at the size that the network sees."""
    pixels = decode(stored) if isinstance(stored, bytes) else stored
    return np.asarray(resize(pixels, size))


def _padded_labels(label_maps: Sequence[np.ndarray], crop_size: Size) -> np.ndarray:
    padded = np.full((len(label_maps), *crop_size), IGNORE_LABEL, np.uint8)
    for label_map, place in zip(label_maps, padded, strict=True):
        place[: label_map.shape[0], : label_map.shape[1]] = label_map
    return padded


def _padded(images: Sequence[np.ndarray], crop_size: Size, colour: Colour) -> np.ndarray:
    """`preprocessing.pad_image` of several, with less work, which is taken from the network beside it.

    Whole rows are copied. Where no bit of a byte changes by it, the colour is not taken off and added again.
    """
    row, values = np.tile(np.array(colour, np.float32), crop_size[1]), np.arange(256, dtype=np.float32)
    exact = all(np.array_equal(values - c + c, values) for c in row[:3])
    padded = np.tile(row, (len(images), crop_size[0], 1))
    for image, place in zip(images, padded, strict=True):
        height, width = image.shape[:2]
        pixels, colours = image.reshape(height, -1), row[: 3 * width]
        place[:height, : 3 * width] = pixels if exact and image.dtype == np.uint8 else pixels - colours + colours
    return padded.reshape(-1, *crop_size, 3)


def discriminator_batches(
    examples: Examples,
    sets: Sequence[LabelMapSet],
    *,
    crop_size: Size,
    batch_size: int,
    seed: int,
    epoch: int,
    paired: bool,
    augment: bool,
    map_split: str = 'train',
    colour: Colour = GREY,
    first_batch: int = 0,
    covered: Sequence[Sequence[int]] | None = None,
    part: Part = ALONE,
) -> Iterable[Batch]:
    """One epoch of real and generated label maps of the same images, shuffled by (seed, epoch).

    Each (image, set) couple occurs once. If `paired`, a couple's real and generated map are neighbours in a batch under
    the same window and flip; else every image's real map occurs once, weighs |B| times a generated one, and all maps
    are shuffled freely. Either way the real maps weigh as much as the maps of all sets together; the mean weight is 1.

    `map_split` is the split of the sets that holds the maps of `examples`. Without `augment` the window is the middle
    one and nothing is flipped. The last batch may be smaller. Starting at `first_batch` costs nothing. `covered` gives
    for each set the numbers of the examples whose maps take part; all by default. With a `part`, only its rows of each
    batch are read, of which the last may have none. Where the examples have a `service`, its workers make
    them.

    Yields {'image': float32 [N, h, w, 3] in 0-255, 'label_map': uint8 [N, h, w] real or generated, 'ground_truth':
    uint8 [N, h, w], 'real': float32 [N] 1 or 0, 'weight': float32 [N]}.

    Raises:
        UserError: an odd batch size with paired batches.
    """
    if paired and batch_size % 2:
        raise UserError(f'Paired discriminator batches hold couples: the batch size must be even, not {batch_size}.')
    rows = _rows(examples, sets, covered, map_split=map_split, with_real=not paired)
    order = permutation(seed, epoch, len(rows))
    generated = int(np.count_nonzero(rows[:, 1] != REAL))
    real_weight, set_weight = (1.0, 1.0) if paired else (len(rows) / (2 * n) for n in (len(examples), generated))

    def element(
        encoded: tf.Tensor, truth: tf.Tensor, other: tf.Tensor, other_is_real: tf.Tensor, view_seed: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        image = resize_image(decode_image(encoded), examples.resize)
        view = _view(tf.shape(image)[:2], crop_size, view_seed, augment=augment)
        truth, other = resize_label_map(decode_label_map(truth), examples.resize), decode_label_map(other)
        # A generated map has the size of the resized image; the real one, again as `other`, has not.
        other = tf.cond(other_is_real, lambda: truth, lambda: other)
        truth, other = (view_label_map(label_map, view, crop_size) for label_map in (truth, other))
        image = view_image(image, view, crop_size, colour)
        if paired:
            return _element(image, truth, [truth, other], [1.0, 0.0], [real_weight, set_weight])
        weight = tf.where(other_is_real, real_weight, set_weight)
        return _element(image, truth, [other], [tf.cast(other_is_real, tf.float32)], [weight])

    def row(place: int) -> tuple[int, int, int, np.ndarray]:
        example, number, map_row = rows[order[place]].tolist()
        return example, number, map_row, stateless_seed(seed, epoch, order[place])

    def fetch(place: int) -> tuple[bytes, bytes, bytes, bool, np.ndarray]:
        example, number, map_row, view_seed = row(place)
        image, truth = examples.encoded(example)
        other = truth if number == REAL else sets[number].read(map_split, map_row)
        return image, truth, other, number == REAL, view_seed

    rows_per_batch = batch_size // 2 if paired else batch_size
    sizes = [min(rows_per_batch, len(rows) - start) for start in range(0, len(rows), rows_per_batch)]
    places = _places(sizes, part)[first_batch:]
    if examples.service is not None:
        return Counted(
            _couples_at_service(examples.service, examples, sets, map_split, row, element, places), len(places)
        )
    specs, mistakes = (BYTES, BYTES, BYTES, FLAG, SEED), list[UserError]()
    batches = _merged_batches(lambda number: element(*call(fetch, number, specs, mistakes)), places)
    return Pipeline(_ahead(batches), mistakes)


def _couples_at_service(
    service: Service,
    examples: Examples,
    sets: Sequence[LabelMapSet],
    map_split: str,
    row: Callable[[int], tuple[int, int, int, np.ndarray]],
    element: Callable,
    places: Sequence[range],
) -> Iterator[Batch]:
    """The batches of these places, made by workers; `row` tells of a place an example, a set, its map, and a seed."""
    shards = [list(map(str, one.shards(map_split))) for one in sets]
    firsts = list(itertools.accumulate(map(len, shards), initial=0))

    def located(place: int) -> list[int]:
        example, number, map_row, view_seed = row(place)
        shard, start = (REAL, 0) if number == REAL else sets[number].place(map_split, map_row)
        offset = service.offset(examples.positions[example])
        return [offset, shard + firsts[max(number, 0)], start, *view_seed]

    def read(row: tf.Tensor) -> Batch:
        encoded, truth = service.pair(row[0])
        real, files = row[1] == REAL, tf.constant(list(itertools.chain(*shards)))
        other = tf.cond(real, lambda: truth, lambda: map_in_graph(files[row[1]], row[2]))
        return element(encoded, truth, other, real, tf.cast(row[3:], tf.int32))

    return map(_merge_rows, service.batches((_table(p, located, 5) for p in places), read))


def _places(sizes: Sequence[int], part: Part) -> list[range]:
    """The places in an epoch of a part of each batch; `sizes` are the elements of all batches."""
    starts = itertools.accumulate(sizes, initial=0)
    slices = (shares(size, part[1])[part[0]] for size in sizes)
    return [range(start + a, start + b) for (a, b), start in zip(slices, starts, strict=False)]


def _merged_batches(element: Callable, places: Sequence[range]) -> tf.data.Dataset:
    """Batches of the elements of these places, whose rows are merged; the last, or all, may have none."""
    numbers = tf.data.Dataset.from_tensor_slices(np.fromiter(itertools.chain(*places), np.int64))
    batches = _parallel(numbers, element).batch(max((len(p) for p in places), default=0) or 1).map(_merge_rows)
    if empty := sum(not p for p in places):
        nothing = {name: tf.zeros([0, *spec.shape[1:]], spec.dtype) for name, spec in batches.element_spec.items()}
        batches = batches.concatenate(tf.data.Dataset.from_tensors(nothing).repeat(empty))
    return batches


def _table(numbers: Iterable[int], row: Callable[[int], list[int]], columns: int) -> np.ndarray:
    """The rows of what workers read for the numbers of a batch, int64 `[numbers, columns]`."""
    return np.array([row(number) for number in numbers], np.int64).reshape(-1, columns)


def _rows(
    examples: Examples,
    sets: Sequence[LabelMapSet],
    covered: Sequence[Sequence[int]] | None,
    *,
    map_split: str,
    with_real: bool,
) -> np.ndarray:
    """The rows of an epoch in order, int32 `[rows, 3]`: the numbers of an example, of a set or REAL, and of its map.

    Raises UserError if a set lacks the map of an example that it covers.
    """
    # Without a row a place is -1; the first column stands for the real map.
    maps = np.full((len(examples), 1 + len(sets)), -1, np.int32)
    if with_real:
        maps[:, 0] = 0
    for number, label_maps in enumerate(sets):
        chosen = range(len(examples)) if covered is None else covered[number]
        maps[chosen, 1 + number] = label_maps.rows(map_split, [examples.ids[index] for index in chosen])
    places = np.argwhere(maps >= 0)
    return np.column_stack([places[:, 0], places[:, 1] - 1, maps[maps >= 0]]).astype(np.int32)


def _view(image_size: tf.Tensor, crop_size: Size, seed: tf.Tensor, *, augment: bool) -> View:
    return random_view(image_size, crop_size, seed, flip=True) if augment else centre_view(image_size, crop_size)


def _element(image: tf.Tensor, truth: tf.Tensor, maps: list, real: list, weights: list) -> dict[str, tf.Tensor]:
    """The rows that one image gives to a batch, stacked; one row for each of `maps`."""
    return {
        'image': tf.stack([image] * len(maps)),
        'label_map': tf.stack(maps),
        'ground_truth': tf.stack([truth] * len(maps)),
        'real': tf.stack(real),
        'weight': tf.stack(weights),
    }


def _merge_rows(batch: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """[elements, rows of an element, ...] -> [elements * rows, ...]."""
    return {name: tf.reshape(values, [-1, *values.shape[2:]]) for name, values in batch.items()}


def _parallel(numbers: tf.data.Dataset, function: Callable) -> tf.data.Dataset:
    return numbers.map(function, num_parallel_calls=_processors(), deterministic=True)


def _processors() -> int:
    return len(os.sched_getaffinity(0))


def _ahead(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Makes batches beside whoever takes them.

    TF's autotuner is off: on two cores it made the network that takes the batches slower by up to a half.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return batches.prefetch(PREFETCHED).with_options(options)


def check_fit(examples: Examples, crop_size: Size) -> None:
    """Raises UserError for an image that is larger than the window of evaluation, after its resizing."""
    sizes = {size: _resized(size, examples.resize) for size in set(examples.sizes)}
    for image_id, size in zip(examples.ids, examples.sizes, strict=True):
        height, width = sizes[size]
        if height > crop_size[0] or width > crop_size[1]:
            raise UserError(
                f'Image {image_id!r} of {examples.spec.name} is {height}x{width} pixels, more than '
                f'--eval_crop_size={crop_size[0]},{crop_size[1]}: give a crop that holds every image, or bring all '
                'into it with --min_resize_value and --max_resize_value.'
            )


def _resized(size: Size, resize: ResizeRange | None) -> Size:
    height, width = brought_size(size, resize)
    return int(height), int(width)
