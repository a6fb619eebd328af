"""Cityscapes' labelIds, which its files hold and its server takes, and the 19 train ids: the way there and back."""

from pathlib import Path

import numpy as np

from deeplab_load.data.specs import CITYSCAPES
from deeplab_load.errors import UserError

# The labelIds of the 19 training classes, in the order of their train ids.
TRAINING_LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
# -1, a licence plate, is stored as 255.
KNOWN_LABEL_IDS = (*range(34), 255)
UNLABELED = 0


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


def label_ids(train_ids: np.ndarray) -> np.ndarray:
    """Maps uint8 train ids to labelIds, void (255) to 0, `unlabeled`.

    Raises ValueError for a train id that there is not.
    """
    if strange := sorted(set(np.unique(train_ids).tolist()) - {*range(len(TRAINING_LABEL_IDS)), 255}):
        raise ValueError(f'Cityscapes has no train ids {strange}')
    table = np.full(256, UNLABELED, np.uint8)
    table[: len(TRAINING_LABEL_IDS)] = TRAINING_LABEL_IDS
    return table[train_ids]
