"""TFDS builder of PASCAL VOC 2012's segmentation task."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from deeplab_load.data.builder import SegmentationBuilder
from deeplab_load.data.pairs import Pair, decode_index_png, read_lines
from deeplab_load.data.pascal_voc import semantic_boundaries
from deeplab_load.data.sources import Contents, check_ids, find_files, only_root
from deeplab_load.data.specs import PASCAL_VOC
from deeplab_load.errors import UserError

LISTS, MASKS, AUGMENTED = 'ImageSets/Segmentation', 'SegmentationClass', 'SegmentationClassAug'
LIST_NAMES = {
    'train': ('train.txt',),
    'train_aug': ('train_aug.txt', 'trainaug.txt'),
    'val': ('val.txt',),
    'trainval': ('trainval.txt',),
    'test': ('test.txt',),
}


class PascalVoc(SegmentationBuilder):
    """PASCAL VOC 2012: 20 classes and background; object borders and hard objects are void.

    train_aug has the masks of the Semantic Boundaries Dataset (Hariharan et al., ICCV 2011) for the images that are
    not in val, 10,582 of them: from the folder SegmentationClassAug, or from the owners' MATLAB files.

    Everingham et al., The PASCAL visual object classes challenge 2012.
    """

    name = PASCAL_VOC.name
    spec = PASCAL_VOC
    hints: ClassVar[Mapping[str, str]] = {
        'train_aug': 'put the masks of the Semantic Boundaries Dataset, the folder '
        f'{AUGMENTED} or benchmark_RELEASE of its owners, into VOC2012/',
        'test': 'unpack VOC2012test.tar into the same VOCdevkit folder',
    }

    @classmethod
    def open_folder(cls, folder: Path) -> Contents:
        """The pairs of each list in ImageSets/Segmentation/; lists that are absent are not offered.

        VOC2012/ may be named itself, by the VOCdevkit folder, or by its parent. SegmentationClassAug/ or
        benchmark_RELEASE/ may lie in it or beside it; without a list of its own, train_aug is all that they hold, and
        train, but val.
        """
        candidates = [folder, folder / 'VOC2012', *folder.glob('*/VOC2012')]
        root = only_root(folder, candidates, LISTS, cls.spec)
        pairs = {split: _find_pairs(root, split) for split in cls.spec.splits}
        pairs = {split: listed for split, listed in pairs.items() if listed}
        if not pairs:
            expected = ', '.join(name for names in LIST_NAMES.values() for name in names)
            raise UserError(f'{root / LISTS} holds none of {expected}: complete the folder that --vocdevkit names.')
        return Contents(cls.spec, pairs, decode_labels=_decode_labels)


def _decode_labels(data: bytes, path: Path) -> np.ndarray:
    return (semantic_boundaries.decode_mask if path.suffix == '.mat' else decode_index_png)(data, path)


def _find_pairs(root: Path, split: str) -> list[Pair]:
    """The pairs of a split in the order of its list; none if the folder does not offer it."""
    masks = _augmented_masks(root) if split == 'train_aug' else {}
    path = _find_list(root, split)
    ids = _read_ids(path) if path else sorted(set(masks).difference(_listed(root, 'val')))
    if path:
        check_ids(ids, path)
    return [
        Pair(i, root / 'JPEGImages' / f'{i}.jpg', None if split == 'test' else masks.get(i, root / MASKS / f'{i}.png'))
        for i in ids
    ]


def _find_list(root: Path, split: str) -> Path | None:
    paths = [root / LISTS / name for name in LIST_NAMES[split]]
    return next((path for path in paths if path.is_file()), None)


def _listed(root: Path, split: str) -> list[str]:
    path = _find_list(root, split)
    return _read_ids(path) if path else []


def _read_ids(path: Path) -> list[str]:
    # The lists that come with the augmented masks name files (/JPEGImages/x.jpg /SegmentationClassAug/x.png), not ids.
    words = [line.split()[0] for line in read_lines(path)]
    return [Path(word).stem if '/' in word else word for word in words]


def _augmented_masks(root: Path) -> dict[str, Path]:
    """The mask of every image of train_aug and more, by id; the task's own masks come before the owners' files."""
    places = (root, *root.parents[:2])
    folder = next((place / AUGMENTED for place in places if (place / AUGMENTED).is_dir()), None)
    if folder:
        return {path.stem: path for path in find_files(folder, '*.png')}
    matlab = semantic_boundaries.find_masks(places)
    if not matlab:
        return {}
    own = {i: root / MASKS / f'{i}.png' for i in _listed(root, 'train')}
    return {path.stem: path for path in find_files(matlab, '*.mat')} | own
