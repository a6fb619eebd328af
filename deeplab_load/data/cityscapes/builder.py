"""TFDS builder of Cityscapes' fine annotations."""

from pathlib import Path

import numpy as np

from deeplab_load.data.builder import SegmentationBuilder
from deeplab_load.data.pairs import Pair, read_index_png
from deeplab_load.data.sources import only_root
from deeplab_load.data.specs import CITYSCAPES
from deeplab_load.errors import UserError

IMAGES, LABELS = 'leftImg8bit', 'gtFine'

# The labelIds of the 19 training classes, in the order of their train ids.
TRAINING_LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
# -1, a licence plate, is stored as 255.
KNOWN_LABEL_IDS = (*range(34), 255)


def train_ids(label_ids: np.ndarray, path: Path) -> np.ndarray:
    """Maps uint8 labelIds to the 19 train ids, all other known ids to void (255).

    Raises UserError naming `path` for an id that Cityscapes does not have.
    """
    strange = sorted(set(np.unique(label_ids).tolist()) - set(KNOWN_LABEL_IDS))
    if strange:
        raise UserError(f'{path} holds the labelIds {strange}, but Cityscapes has 0 to 33 (and 255 for -1).')
    table = np.full(256, CITYSCAPES.ignore_label, np.uint8)
    table[list(TRAINING_LABEL_IDS)] = np.arange(len(TRAINING_LABEL_IDS))
    return table[label_ids]


class Cityscapes(SegmentationBuilder):
    """Cityscapes: street scenes of 1024x2048 pixels in 19 training classes.

    Cordts et al., The Cityscapes dataset for semantic urban scene understanding, CVPR 2016.
    """

    name = CITYSCAPES.name
    spec = CITYSCAPES

    @classmethod
    def find_root(cls, folder: Path) -> Path:
        """The folder that holds leftImg8bit/ and gtFine/."""
        root = only_root(folder, [folder], IMAGES, cls.spec)
        return only_root(folder, [root], LABELS, cls.spec)

    @classmethod
    def list_pairs(cls, root: Path) -> dict[str, list[Pair]]:
        """Every leftImg8bit/<split>/<city>/*.png with its labelIds; splits without images are not offered."""
        found = {split: _find_pairs(root, split) for split in cls.spec.splits}
        pairs = {split: listed for split, listed in found.items() if listed}
        if not pairs:
            raise UserError(f'{root / IMAGES} holds no images: complete the folder that --manual_dir names.')
        return pairs

    @classmethod
    def read_labels(cls, path: Path) -> np.ndarray:
        """The labelIds of a gtFine file as train ids."""
        return train_ids(read_index_png(path), path)


def _find_pairs(root: Path, split: str) -> list[Pair]:
    images = sorted((root / IMAGES / split).glob(f'*/*_{IMAGES}.png'))
    return [_pair(root / LABELS / split, image) for image in images]


def _pair(labels: Path, image: Path) -> Pair:
    image_id = image.name.removesuffix(f'_{IMAGES}.png')
    return Pair(image_id, image, labels / image.parent.name / f'{image_id}_{LABELS}_labelIds.png')
