"""TFDS builder of PASCAL VOC 2012's segmentation task."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from deeplab_load.data.builder import SegmentationBuilder
from deeplab_load.data.pairs import Pair, read_lines
from deeplab_load.data.sources import Contents, check_ids, only_root
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
    not in val, 10,582 of them, from the folder SegmentationClassAug.

    Everingham et al., The PASCAL visual object classes challenge 2012.
    """

    name = PASCAL_VOC.name
    spec = PASCAL_VOC
    hints: ClassVar[Mapping[str, str]] = {
        'train_aug': f'put the masks of the Semantic Boundaries Dataset, the folder {AUGMENTED}, into VOC2012/',
        'test': 'unpack VOC2012test.tar into the same VOCdevkit folder',
    }

    @classmethod
    def open_folder(cls, folder: Path) -> Contents:
        """The pairs of each list in ImageSets/Segmentation/; lists that are absent are not offered.

        VOC2012/ may be named itself, by the VOCdevkit folder, or by its parent. SegmentationClassAug/ may lie in it or
        beside it; without a list of its own, train_aug is all that it holds but val.
        """
        candidates = [folder, folder / 'VOC2012', *folder.glob('*/VOC2012')]
        root = only_root(folder, candidates, LISTS, cls.spec)
        pairs = {split: _find_pairs(root, split) for split in cls.spec.splits}
        pairs = {split: listed for split, listed in pairs.items() if listed}
        if not pairs:
            expected = ', '.join(name for names in LIST_NAMES.values() for name in names)
            raise UserError(f'{root / LISTS} holds none of {expected}: complete the folder that --vocdevkit names.')
        return Contents(cls.spec, pairs)


def _find_pairs(root: Path, split: str) -> list[Pair]:
    """The pairs of a split in the order of its list; none if the folder does not offer it."""
    path = _find_list(root, split)
    if path:
        ids = _read_ids(path)
        check_ids(ids, path)
    elif split == 'train_aug':
        ids = _augmented_ids(root)
    else:
        return []
    masks = _masks_folder(root, split)
    return [Pair(i, root / 'JPEGImages' / f'{i}.jpg', masks / f'{i}.png' if masks else None) for i in ids]


def _find_list(root: Path, split: str) -> Path | None:
    paths = [root / LISTS / name for name in LIST_NAMES[split]]
    return next((path for path in paths if path.is_file()), None)


def _read_ids(path: Path) -> list[str]:
    # The lists that come with the augmented masks name files (/JPEGImages/x.jpg /SegmentationClassAug/x.png), not ids.
    words = [line.split()[0] for line in read_lines(path)]
    return [Path(word).stem if '/' in word else word for word in words]


def _augmented_ids(root: Path) -> list[str]:
    folder, validation = _augmented_folder(root), _find_list(root, 'val')
    if not folder or not validation:
        return []
    return sorted({path.stem for path in folder.glob('*.png')}.difference(_read_ids(validation)))


def _augmented_folder(root: Path) -> Path | None:
    return next((place / AUGMENTED for place in (root, *root.parents[:2]) if (place / AUGMENTED).is_dir()), None)


def _masks_folder(root: Path, split: str) -> Path | None:
    if split == 'test':
        return None
    return (split == 'train_aug' and _augmented_folder(root)) or root / MASKS
