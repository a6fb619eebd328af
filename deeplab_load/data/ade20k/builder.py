"""TFDS builder of ADE20K's scene parsing benchmark (ADEChallengeData2016)."""

from pathlib import Path

import numpy as np

from deeplab_load.data.builder import SegmentationBuilder
from deeplab_load.data.pairs import Pair, decode_index_png
from deeplab_load.data.sources import Contents, find_files, only_root
from deeplab_load.data.specs import ADE20K
from deeplab_load.errors import UserError

FOLDERS = {'train': 'training', 'val': 'validation'}
NAMELESS = 0


def decode_annotations(data: bytes, path: Path) -> np.ndarray:
    """The labels of an annotation, with 0, what has no name, as void."""
    labels = decode_index_png(data, path)
    return np.where(labels == NAMELESS, np.uint8(ADE20K.ignore_label), labels)


class Ade20k(SegmentationBuilder):
    """ADE20K: scenes in 150 classes; class 0 keeps its place, as in the original's networks, but never occurs.

    Zhou et al., Scene parsing through ADE20K dataset, CVPR 2017.
    """

    name = ADE20K.name
    spec = ADE20K

    @classmethod
    def decode_record(cls, data: bytes, path: Path) -> np.ndarray:
        """As in the annotations themselves."""
        return decode_annotations(data, path)

    @classmethod
    def open_folder(cls, folder: Path) -> Contents:
        """Every images/<split>/*.jpg with annotations/<split>/*.png; ADEChallengeData2016/ or its parent is named."""
        root = only_root(folder, [folder, folder / 'ADEChallengeData2016'], 'annotations', cls.spec)
        pairs = {split: _find_pairs(root, name) for split, name in FOLDERS.items()}
        pairs = {split: listed for split, listed in pairs.items() if listed}
        if not pairs:
            raise UserError(f'{root / "images"} holds no images: complete the ADEChallengeData2016 folder.')
        return Contents(cls.spec, pairs, decode_labels=decode_annotations)


def _find_pairs(root: Path, name: str) -> list[Pair]:
    labels = root / 'annotations' / name
    return [Pair(p.stem, p, labels / f'{p.stem}.png') for p in find_files(root / 'images' / name, '*.jpg')]
