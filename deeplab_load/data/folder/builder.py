"""TFDS builder of a user's own data: a folder of images, masks and classes.txt."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from deeplab_load.data.builder import SegmentationBuilder
from deeplab_load.data.folder.classes import FILE, ClassTable, read_classes
from deeplab_load.data.pairs import Pair, read_lines
from deeplab_load.data.sources import Contents, check_ids, check_name
from deeplab_load.data.specs import FOLDER, DatasetSpec
from deeplab_load.errors import UserError

IMAGES, MASKS = 'images', 'masks'
SUFFIXES = ('.jpg', '.jpeg', '.png')
SPLITS = ('train', 'val', 'test')
SPLIT_SEED, VALIDATION_SHARE = 0, 0.2


def folder_spec(classes: ClassTable | None = None) -> DatasetSpec:
    """The row of a user's own data with these classes."""
    return DatasetSpec(
        name=FOLDER,
        classes=classes.classes if classes else (),
        colours=classes.class_colours if classes else (),
        splits=SPLITS,
        train_split='train',
        validation_split='val',
        evaluation_split='val',
        train_crop_size=(513, 513),
        eval_crop_size=(513, 513),
        source=f'a folder with {IMAGES}/, {MASKS}/ and {FILE}',
    )


class Folder(SegmentationBuilder):
    """A user's own images and masks.

    FOLDER/classes.txt says what the labels or colours of the masks mean; FOLDER/images/NAME.jpg (or .png) has its mask
    in FOLDER/masks/NAME.png. FOLDER/train.txt, val.txt and test.txt list names, one a line; without train.txt a fifth
    of all is val, by a fixed seed. The images of test.txt need no masks, if none has one.
    """

    name = FOLDER
    spec = folder_spec()
    hints: ClassVar[Mapping[str, str]] = {split: f'list its images in {split}.txt' for split in SPLITS}

    @classmethod
    def open_folder(cls, folder: Path) -> Contents:
        """The pairs of the split lists, or of the seeded split."""
        folder = _find_root(folder)
        table = read_classes(folder / FILE)
        images = _find_images(folder / IMAGES)
        lists = {split: folder / f'{split}.txt' for split in SPLITS if (folder / f'{split}.txt').is_file()}
        ids = {split: _read_ids(path, images) for split, path in lists.items()} or _split_ids(sorted(images), folder)
        if not {'train', 'val'} <= set(ids):
            absent = next(split for split in SPLITS if split not in ids)
            raise UserError(f'{folder} has {", ".join(f"{s}.txt" for s in ids)} but no {absent}.txt: add it.')
        pairs = {split: _pairs(folder, listed, images, split) for split, listed in ids.items()}
        lines = hashlib.sha256('\n'.join(read_lines(folder / FILE)).encode()).hexdigest()
        return Contents(folder_spec(table), pairs, decode_labels=table.decode, labels_text=lines)


def _find_root(folder: Path) -> Path:
    """The folder that holds classes.txt, images/ and masks/: the one named, or the only such one in it."""
    inside = [path for path in folder.iterdir() if (path / FILE).is_file()] if folder.is_dir() else []
    root = inside[0] if len(inside) == 1 and not (folder / FILE).exists() else folder
    for name in (FILE, IMAGES, MASKS):
        if not (root / name).exists():
            raise UserError(f'{root} has no {name}: name {folder_spec().source} with --manual_dir.')
    return root


def _find_images(folder: Path) -> dict[str, Path]:
    """The images by their names without suffix."""
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in SUFFIXES:
            continue
        check_name(path)
        if path.stem in found:
            raise UserError(
                f'{folder} has both {found[path.stem].name} and {path.name}: give one of them another name.'
            )
        found[path.stem] = path
    if not found:
        raise UserError(f'{folder} holds no images ({", ".join(SUFFIXES)}): put them there.')
    return found


def _read_ids(path: Path, images: Mapping[str, Path]) -> list[str]:
    """The names in a list, with or without suffix."""
    lines = read_lines(path)
    ids = [line if line in images or Path(line).suffix.lower() not in SUFFIXES else Path(line).stem for line in lines]
    check_ids(ids, path)
    for image_id in ids:
        if image_id not in images:
            raise UserError(
                f'{path} lists {image_id!r}, but {path.parent / IMAGES} has no {image_id}.jpg or .png: '
                'add the image or take the entry off the list.'
            )
    return ids


def _split_ids(ids: list[str], folder: Path) -> dict[str, list[str]]:
    """A seeded split, the same on every machine."""
    order = sorted(ids, key=lambda image_id: hashlib.sha256(f'{SPLIT_SEED}:{image_id}'.encode()).hexdigest())
    validation = max(1, round(VALIDATION_SHARE * len(order)))
    if len(order) <= validation:
        raise UserError(
            f'{folder / IMAGES} holds too few images for two splits: add some, or give train.txt and val.txt.'
        )
    return {'train': order[validation:], 'val': order[:validation]}


def _pairs(folder: Path, ids: list[str], images: Mapping[str, Path], split: str) -> list[Pair]:
    masks = {i: folder / MASKS / f'{i}.png' for i in ids}
    unlabelled = split == 'test' and not any(path.exists() for path in masks.values())
    return [Pair(i, images[i], None if unlabelled else masks[i]) for i in ids]
