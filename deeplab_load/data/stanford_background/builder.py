"""TFDS builder of the Stanford Background data set."""

import hashlib
from pathlib import Path

import numpy as np

from deeplab_load.data.builder import SegmentationBuilder
from deeplab_load.data.pairs import Pair
from deeplab_load.data.sources import Contents, find_files, only_root
from deeplab_load.data.specs import STANFORD_BACKGROUND
from deeplab_load.errors import UserError

SPLIT_SEED = 0
# Shares of 400, 172 and 143 of the 715 images (lookahead.md's protocol).
TRAIN_SHARE, VALIDATION_SHARE, ALL_IMAGES = 400, 172, 715


def split_ids(ids: list[str]) -> dict[str, list[str]]:
    """Deals ids out to train, val and test in the proportion 400:172:143, the same on every machine."""
    order = sorted(ids, key=lambda image_id: hashlib.sha256(f'{SPLIT_SEED}:{image_id}'.encode()).hexdigest())
    train = len(ids) * TRAIN_SHARE // ALL_IMAGES
    validation = train + len(ids) * VALIDATION_SHARE // ALL_IMAGES
    return {'train': order[:train], 'val': order[train:validation], 'test': order[validation:]}


class StanfordBackground(SegmentationBuilder):
    """Stanford Background: 715 outdoor scenes of about 320x240 pixels in 8 classes; negative labels are void.

    Gould et al., Decomposing a scene into geometric and semantically consistent regions, ICCV 2009.
    """

    name = STANFORD_BACKGROUND.name
    spec = STANFORD_BACKGROUND

    @classmethod
    def open_folder(cls, folder: Path) -> Contents:
        """Every images/*.jpg with labels/*.regions.txt, dealt out to the three splits."""
        root = only_root(folder, [folder, folder / 'iccv09Data'], 'labels', cls.spec)
        splits = split_ids(sorted(path.stem for path in find_files(root / 'images', '*.jpg')))
        if not all(splits.values()):
            raise UserError(f'{root / "images"} holds too few images for three splits: complete the iccv09Data folder.')
        pairs = {
            split: [Pair(i, root / 'images' / f'{i}.jpg', root / 'labels' / f'{i}.regions.txt') for i in ids]
            for split, ids in splits.items()
        }
        return Contents(cls.spec, pairs, decode_labels=decode_regions)


def decode_regions(data: bytes, path: Path) -> np.ndarray:
    """The matrix of class numbers in a text file, one row of pixels a line; negative ones are void."""
    rows = [line.split() for line in data.splitlines() if line.strip()]
    try:
        labels = np.array(rows, dtype=np.int32)
    except (ValueError, OverflowError) as error:
        raise UserError(f'{path} is not a matrix of integers: replace it by a whole one.') from error
    void = STANFORD_BACKGROUND.ignore_label
    if labels.ndim != 2 or not labels.size or labels.max() >= void:
        raise UserError(f'{path} is not a matrix of class numbers: replace it by a whole one.')
    return np.where(labels < 0, void, labels).astype(np.uint8)
