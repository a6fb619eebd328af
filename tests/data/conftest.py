"""Small data sets in their owners' layouts, drawn by the tests, and one prepared data set for the batches."""

import pathlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from deeplab_load.data.examples import Examples
from deeplab_load.data.preparation import Prepared, prepare
from deeplab_load.data.specs import pascal_colours

SIZES = ((20, 30), (24, 18), (30, 30), (16, 25), (28, 22))


def drawn_pixels(number: int, height: int, width: int) -> np.ndarray:
    ramp = np.linspace(0, 200, width, dtype=np.uint8)
    image = np.repeat(np.tile(ramp, (height, 1))[..., None], 3, axis=2)
    image[..., 1] = 40 * number
    image[..., 2] = np.linspace(0, 200, height, dtype=np.uint8)[:, None]
    return image


def draw_labels(number: int, height: int, width: int) -> np.ndarray:
    labels = np.full((height, width), number % 3, np.uint8)
    labels[: height // 2, : width // 2] = 3 + number % 4
    labels[height // 2] = 255
    return labels


def save_palette_mask(path: pathlib.Path, labels: np.ndarray) -> None:
    mask = Image.frombytes('P', labels.shape[::-1], labels.tobytes())
    mask.putpalette([channel for colour in pascal_colours(256) for channel in colour])
    mask.save(path)


@pytest.fixture
def drawn_labels() -> Callable[..., np.ndarray]:
    return draw_labels


@pytest.fixture
def make_voc(tmp_path: pathlib.Path) -> Callable[..., pathlib.Path]:
    """Makes a VOCdevkit folder with three training and two validation pairs, and gives its path."""

    def make(name: str = 'VOCdevkit') -> pathlib.Path:
        root = tmp_path / name / 'VOC2012'
        for folder in ('JPEGImages', 'SegmentationClass', 'ImageSets/Segmentation'):
            (root / folder).mkdir(parents=True)
        for number, (height, width) in enumerate(SIZES):
            Image.fromarray(drawn_pixels(number, height, width)).save(root / f'JPEGImages/img_{number}.jpg')
            save_palette_mask(root / f'SegmentationClass/img_{number}.png', draw_labels(number, height, width))
        (root / 'ImageSets/Segmentation/train.txt').write_text('img_2\nimg_0\nimg_1\n')
        (root / 'ImageSets/Segmentation/val.txt').write_text('img_3\nimg_4\n')
        return root.parent

    return make


@pytest.fixture
def make_folder(tmp_path: pathlib.Path) -> Callable[..., pathlib.Path]:
    """Makes a user's own data set of three classes and ten grey or palette masks, and gives its folder."""

    def make(name: str = 'mine', classes: str = 'ground\nthing\nsky\n') -> pathlib.Path:
        root = tmp_path / name
        for part in ('images', 'masks'):
            (root / part).mkdir(parents=True)
        for number in range(10):
            height, width = 33 + number, 49 - number
            labels = np.zeros((height, width), np.uint8)
            labels[: height // 2], labels[5:20, 5:20], labels[0] = 2, 1, 255
            pixels = 80 * np.minimum(labels, 2)[..., None] + drawn_pixels(number % 5, height, width) // 4
            Image.fromarray(pixels).save(root / f'images/im {number}.{"png" if number % 2 else "jpg"}')
            save_palette_mask(root / f'masks/im {number}.png', labels)
        (root / 'classes.txt').write_text(classes)
        return root

    return make


@pytest.fixture
def voc(make_voc: Callable[..., pathlib.Path], tmp_path: pathlib.Path) -> Prepared:
    return prepare('pascal_voc', data_dir=tmp_path / 'data', manual_dir=make_voc(), progress=False)


@pytest.fixture
def voc_train(voc: Prepared) -> Examples:
    return voc.examples('train')
