"""Prepared examples, read at random by number."""

import dataclasses
import hashlib
import pathlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from deeplab_load.data.builder import SegmentationBuilder
from deeplab_load.data.pixels import PIXELS, Pixels, is_whole, write_pixels
from deeplab_load.data.preprocessing import decode_image, decode_label_map
from deeplab_load.data.service import Service, is_copied, write_copy
from deeplab_load.data.specs import DatasetSpec, ResizeRange
from deeplab_load.errors import UserError
from deeplab_load.reporting.progress import progress


@dataclass(frozen=True)
class Examples:
    """An ordered set of examples of one data set, read one by one from its records.

    `ids` are image ids, `sizes` (height, width) in pixels, `digests` hex digests of the encoded bytes, `image_digests`
    those of the images' alone and `positions` the numbers of the records, one each per example. Where `labelled` is
    False every label map is void throughout. Batches resize images and label maps by `resize`; `sizes` are before that.
    `pixels` holds the decoded examples by their records' numbers, where they have been decoded. Of examples with
    `service`, workers make the batches of training.
    """

    spec: DatasetSpec
    split: str
    ids: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...] = dataclasses.field(repr=False)
    digests: tuple[str, ...] = dataclasses.field(repr=False)
    image_digests: tuple[str, ...] = dataclasses.field(repr=False)
    positions: Sequence[int] = dataclasses.field(repr=False)
    records: Sequence[Any] = dataclasses.field(repr=False, compare=False)
    labelled: bool = True
    resize: ResizeRange | None = None
    pixels: Pixels | None = dataclasses.field(default=None, repr=False)
    service: Service | None = dataclasses.field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def fingerprint(self) -> str:
        """Hex digest of the examples' ids and bytes in their order, and of how they are resized."""
        lines = ''.join(f'{image_id} {digest}\n' for image_id, digest in zip(self.ids, self.digests, strict=True))
        resize = f'{self.resize}\n' if self.resize else ''
        return hashlib.sha256((lines + resize).encode()).hexdigest()

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of an example's image in pixels."""
        return self.sizes[index]

    def encoded(self, index: int) -> tuple[bytes, bytes]:
        """An example's image as its owners encoded it, and its label map as a grey 8-bit PNG.

        Raises UserError if the record is damaged, by its checksum, or not the one that was prepared.
        """
        try:
            record = self.records[self.positions[index]]
        except RuntimeError as error:
            raise UserError(
                f'The record of {self.ids[index]!r} in {self.split} of {self.spec.name} is damaged: delete the '
                'prepared data and try again.'
            ) from error
        if record['image_id'].decode() != self.ids[index]:
            raise UserError(
                f'The records of {self.spec.name} are out of order: delete the prepared data and try again.'
            )
        return record['image'], record['label']

    def decoded(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """An example's image, uint8 [height, width, 3], and its label map, uint8 [height, width], from `pixels`."""
        assert self.pixels is not None
        return self.pixels.pair(self.positions[index])

    def subset(self, ids: Iterable[str]) -> 'Examples':
        """The examples with these ids, in the order of this set; raises ValueError for an id it does not have."""
        wanted = set(ids)
        if unknown := sorted(wanted.difference(self.ids)):
            raise ValueError(f'split {self.split!r} of {self.spec.name} has no examples {unknown}')
        return self.at([index for index, image_id in enumerate(self.ids) if image_id in wanted])

    def at(self, numbers: Sequence[int]) -> 'Examples':
        """The examples of these numbers."""
        return dataclasses.replace(
            self,
            ids=tuple(self.ids[n] for n in numbers),
            sizes=tuple(self.sizes[n] for n in numbers),
            digests=tuple(self.digests[n] for n in numbers),
            image_digests=tuple(self.image_digests[n] for n in numbers),
            positions=tuple(self.positions[n] for n in numbers),
        )


def open_examples(builder: SegmentationBuilder, spec: DatasetSpec, split: str) -> Examples:
    """The examples of a prepared split in the order of its list."""
    columns = builder.info.metadata['splits'][split]
    skip = tfds.decode.SkipDecoding()
    sizes: dict[tuple[int, int], tuple[int, int]] = {}
    return Examples(
        spec=spec,
        split=split,
        # An image's id stands in label-map sets too; few sizes are the same tuple over and over.
        ids=tuple(map(sys.intern, columns['ids'])),
        sizes=tuple(sizes.setdefault((height, width), (height, width)) for height, width in columns['sizes']),
        digests=tuple(columns['digests']),
        image_digests=tuple(columns['image_digests']),
        positions=range(len(columns['ids'])),
        records=builder.as_data_source(split, decoders={'image': skip, 'label': skip}),
        labelled=columns['labelled'],
    )


def decoded_once(examples: Examples, folder: pathlib.Path, *, check: Callable[[], None] = lambda: None) -> Examples:
    """The examples with their pixels, from `folder`, where they are stored first unless they are there and whole.

    `check` is called after every image and may raise, to stop. Raises UserError if the disk is full.
    """

    def pairs() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for index in progress(range(len(examples)), 'decoding', unit='image'):
            image, label = examples.encoded(index)
            yield decode_image(image).numpy(), decode_label_map(label).numpy()
            check()

    if not is_whole(folder, examples.fingerprint):
        write_pixels(folder, pairs(), examples.fingerprint)
    return dataclasses.replace(examples, pixels=Pixels(folder / PIXELS, examples.positions, examples.sizes))


def copy_for_workers(examples: Examples, folder: pathlib.Path, *, check: Callable[[], None] = lambda: None) -> None:
    """Writes what workers of tf.data service read of the examples, unless it is there and whole.

    `check` is called after every image and may raise, to stop. Raises UserError if the disk is full.
    """

    def pairs() -> Iterator[tuple[bytes, bytes]]:
        for index in progress(range(len(examples)), 'copying records', unit='image'):
            yield examples.encoded(index)
            check()

    if not is_copied(folder, examples.fingerprint):
        write_copy(folder, pairs(), examples.fingerprint)


def at_workers(
    examples: Examples, address: str, folder: pathlib.Path, *, check: Callable[[], None] = lambda: None
) -> Examples:
    """The examples whose batches of training workers behind `grpc://host:port` make of what `copy_for_workers` wrote.

    `check` is called while no batch comes and may raise, to stop. Raises UserError if the copy is not there.
    """
    if not is_copied(folder, examples.fingerprint):
        raise UserError(f'{folder} does not hold the training images: all workers must find the run directory there.')
    return dataclasses.replace(examples, service=Service(address, folder, examples.positions, check=check))


def holdout(examples: Examples, *, fraction: float = 0.3, seed: int = 0) -> Examples:
    """A fixed, seeded subset of `fraction` of the examples (at least one), the same on every machine."""
    order = sorted(examples.ids, key=lambda image_id: hashlib.sha256(f'{seed}:{image_id}'.encode()).hexdigest())
    return examples.subset(order[: max(1, round(fraction * len(order)))])
