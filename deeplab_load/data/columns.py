"""What is remembered of the examples of a split beside their records."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from deeplab_load.data.pairs import CheckedPair, RawPair


@dataclass(frozen=True)
class Facts:
    """Of one example: its id, (height, width), digests as in `Examples`, and its pixels of each label that occurs."""

    image_id: str
    size: tuple[int, int]
    digest: str
    image_digest: str
    pixels: Mapping[int, int]
    labelled: bool


def facts_of(raw: RawPair, checked: CheckedPair) -> Facts:
    """The facts of a checked pair."""
    return Facts(
        image_id=raw.pair.image_id,
        size=checked.size,
        digest=hashlib.sha256(raw.image + checked.label_map).hexdigest()[:32],
        image_digest=hashlib.sha256(raw.image).hexdigest()[:32],
        pixels={int(label): int(checked.pixels[label]) for label in np.flatnonzero(checked.pixels)},
        labelled=raw.labels is not None,
    )


class Columns:
    """The facts of a split's examples, added in their order."""

    def __init__(self) -> None:
        self._columns: dict[str, list] = {'ids': [], 'sizes': [], 'digests': [], 'image_digests': []}
        self._pixels, self._images = np.zeros(256, np.int64), np.zeros(256, np.int64)
        self._labelled = True

    def add(self, facts: Facts) -> None:
        """Adds the facts of the next example."""
        for column, value in zip(
            self._columns.values(), (facts.image_id, facts.size, facts.digest, facts.image_digest), strict=True
        ):
            column.append(value)
        for label, pixels in facts.pixels.items():
            self._pixels[label] += pixels
            self._images[label] += 1
        self._labelled = self._labelled and facts.labelled

    def metadata(self) -> dict[str, Any]:
        """The columns, and how many pixels and images of all have each label."""
        counts = {'pixels': self._pixels.tolist(), 'images': self._images.tolist()}
        return {**self._columns, **counts, 'labelled': self._labelled}
