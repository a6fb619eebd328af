"""TFDS builder of Cityscapes' fine annotations."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from deeplab_load.data.builder import SegmentationBuilder
from deeplab_load.data.cityscapes.label_ids import train_ids
from deeplab_load.data.pairs import Pair, decode_index_png
from deeplab_load.data.sources import Contents, find_files, only_root
from deeplab_load.data.specs import CITYSCAPES
from deeplab_load.errors import UserError

IMAGES, LABELS = 'leftImg8bit', 'gtFine'


class Cityscapes(SegmentationBuilder):
    """Cityscapes: street scenes of 1024x2048 pixels in 19 training classes; the labels of test are not public.

    Cordts et al., The Cityscapes dataset for semantic urban scene understanding, CVPR 2016.
    """

    name = CITYSCAPES.name
    spec = CITYSCAPES
    hints: ClassVar[Mapping[str, str]] = dict.fromkeys(
        CITYSCAPES.splits, f'put its images into {IMAGES}/ (https://www.cityscapes-dataset.com, after a login)'
    )

    @classmethod
    def open_folder(cls, folder: Path) -> Contents:
        """Every leftImg8bit/<split>/<city>/*.png with its labelIds; splits without images are not offered."""
        root = only_root(folder, [folder], IMAGES, cls.spec)
        only_root(folder, [folder], LABELS, cls.spec)
        found = {split: _find_pairs(root, split) for split in cls.spec.splits}
        pairs = {split: listed for split, listed in found.items() if listed}
        if not pairs:
            raise UserError(f'{root / IMAGES} holds no images: complete the folder that --manual_dir names.')
        return Contents(cls.spec, pairs, decode_labels=_decode_label_ids)


def _decode_label_ids(data: bytes, path: Path) -> np.ndarray:
    return train_ids(decode_index_png(data, path), path)


def _find_pairs(root: Path, split: str) -> list[Pair]:
    return [_pair(root, split, image) for image in find_files(root / IMAGES / split, f'*/*_{IMAGES}.png')]


def _pair(root: Path, split: str, image: Path) -> Pair:
    image_id = image.name.removesuffix(f'_{IMAGES}.png')
    if split == 'test':
        return Pair(image_id, image)
    return Pair(image_id, image, root / LABELS / split / image.parent.name / f'{image_id}_{LABELS}_labelIds.png')
