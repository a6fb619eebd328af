"""TFDS builder of PASCAL VOC 2012's segmentation task."""

from pathlib import Path

import numpy as np

from deeplab_load.data.builder import SegmentationBuilder
from deeplab_load.data.pairs import Pair, read_bytes, read_index_png
from deeplab_load.data.sources import only_root
from deeplab_load.data.specs import PASCAL_VOC
from deeplab_load.errors import UserError

LISTS = 'ImageSets/Segmentation'
LIST_NAMES = {
    'train': ('train.txt',),
    'train_aug': ('train_aug.txt', 'trainaug.txt'),
    'val': ('val.txt',),
    'trainval': ('trainval.txt',),
}


class PascalVoc(SegmentationBuilder):
    """PASCAL VOC 2012: 20 classes and background; object borders and hard objects are void.

    Everingham et al., The PASCAL visual object classes challenge 2012.
    """

    name = PASCAL_VOC.name
    spec = PASCAL_VOC

    @classmethod
    def find_root(cls, folder: Path) -> Path:
        """VOC2012/ in the VOCdevkit folder, which may be named itself, by its parent or by VOC2012/."""
        candidates = [folder, folder / 'VOC2012', *folder.glob('*/VOC2012')]
        return only_root(folder, candidates, LISTS, cls.spec)

    @classmethod
    def list_pairs(cls, root: Path) -> dict[str, list[Pair]]:
        """The pairs of each list in ImageSets/Segmentation/; lists that are absent are not offered."""
        found = {split: _find_list(root, split) for split in cls.spec.splits}
        pairs = {split: _read_list(root, split, path) for split, path in found.items() if path}
        if not pairs:
            expected = ', '.join(name for names in LIST_NAMES.values() for name in names)
            raise UserError(f'{root / LISTS} holds none of {expected}: complete the folder that --vocdevkit names.')
        return pairs

    @classmethod
    def read_labels(cls, path: Path) -> np.ndarray:
        """Palette or grey PNG, its indices taken as they are."""
        return read_index_png(path)


def _find_list(root: Path, split: str) -> Path | None:
    paths = [root / LISTS / name for name in LIST_NAMES[split]]
    return next((path for path in paths if path.is_file()), None)


def _read_list(root: Path, split: str, path: Path) -> list[Pair]:
    # The lists that come with the augmented masks name files (/JPEGImages/x.jpg /SegmentationClassAug/x.png), not ids.
    lines = read_bytes(path).decode('utf-8', errors='replace').splitlines()
    ids = [Path(line.split()[0]).stem if '/' in line else line.split()[0] for line in lines if line.strip()]
    if not ids:
        raise UserError(f'{path} lists no images: complete it, or remove it so that {split!r} is not offered.')
    if len(set(ids)) < len(ids):
        twice = next(image_id for image_id in ids if ids.count(image_id) > 1)
        raise UserError(f'{path} lists {twice!r} more than once: take the second entry off the list.')
    masks = _masks_folder(root, split)
    return [Pair(i, root / 'JPEGImages' / f'{i}.jpg', masks / f'{i}.png') for i in ids]


def _masks_folder(root: Path, split: str) -> Path:
    augmented = root / 'SegmentationClassAug'
    return augmented if split == 'train_aug' and augmented.is_dir() else root / 'SegmentationClass'
