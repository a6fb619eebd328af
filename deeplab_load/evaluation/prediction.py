"""Pictures of what models make of photographs."""

import pathlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from deeplab_load.data.photographs import read_photograph
from deeplab_load.errors import UserError
from deeplab_load.evaluation.trained import TrainedModel
from deeplab_load.files import replacing
from deeplab_load.reporting.pictures import index_picture, legend, overlay, side_by_side
from deeplab_load.reporting.progress import progress, say
from deeplab_load.shortages import memory_for


@dataclass(frozen=True)
class Painter:
    """A model under its title, with the names of its classes and its colours, uint8 `[256, 3]`."""

    title: str
    model: TrainedModel
    names: tuple[str, ...]
    colours: np.ndarray


@memory_for('prediction', '--eval_crop_size or --eval_scales')
def paint_all(photographs: Sequence[pathlib.Path], painters: Sequence[Painter], folder: pathlib.Path) -> int:
    """Writes the pictures of every photograph and a legend; returns how many photographs could not be read.

    One that cannot is told in a sentence, and the others are done.

    Raises:
        UserError: a picture cannot be written, or memory runs out.
    """
    _save(legend(painters[0].names, painters[0].colours), folder / 'legend.png')
    failures = 0
    for path in progress(photographs, 'prediction', unit='image'):
        try:
            image = read_photograph(path)
        except UserError as error:
            failures += 1
            say(f'deeplab_load: {error}')
            continue
        for name, picture in paint(image, painters).items():
            _save(picture, folder / f'{path.stem}_{name}.png')
    return failures


def paint(image: np.ndarray, painters: Sequence[Painter]) -> dict[str, Image.Image]:
    """The pictures of one image, uint8 `[height, width, 3]`, by the end of their names.

    'labels' (a PNG of indices with a palette), 'colours' and 'overlay' are the first painter's; with several there is
    'side_by_side', the image and all overlays.
    """
    maps = [painter.model.label_map(image) for painter in painters]
    overlays = [overlay(image, label_map, p.colours) for label_map, p in zip(maps, painters, strict=True)]
    labels = index_picture(maps[0], painters[0].colours)
    pictures = {'labels': labels, 'colours': labels.convert('RGB'), 'overlay': overlays[0]}
    if len(painters) > 1:
        titled = zip([painter.title for painter in painters], overlays, strict=True)
        pictures['side_by_side'] = side_by_side([('image', Image.fromarray(image)), *titled])
    return pictures


def _save(picture: Image.Image, file: pathlib.Path) -> None:
    with replacing(file) as part:
        picture.save(part, format='PNG')
