"""What the test servers of PASCAL VOC and Cityscapes take: a PNG for every image of a split."""

import os
import pathlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from deeplab_load.data.cityscapes.label_ids import label_ids
from deeplab_load.data.examples import Examples
from deeplab_load.data.specs import CITYSCAPES, PASCAL_VOC
from deeplab_load.errors import UserError
from deeplab_load.evaluation.evaluation import Prediction
from deeplab_load.files import PART, replacing, writing
from deeplab_load.reporting.folders import writable_folder
from deeplab_load.reporting.pictures import index_picture, palette


@dataclass(frozen=True)
class Layout:
    """Where a server expects its files (folder and end of the name; `{split}` is the split's) and what is in them."""

    folder: str
    suffix: str
    mode: str
    picture: Callable[[np.ndarray], Image.Image]


# PASCAL VOC: the development kit's name for segmentation trained on any data. Cityscapes: every file whose name begins
# with city, sequence and frame (evalPixelLevelSemanticLabeling.py).
LAYOUTS = {
    PASCAL_VOC.name: Layout(
        folder='results/VOC2012/Segmentation/comp6_{split}_cls',
        suffix='.png',
        mode='P',
        picture=lambda label_map: index_picture(label_map, palette(PASCAL_VOC.colours)),
    ),
    CITYSCAPES.name: Layout(
        folder='',
        suffix='_pred_labelIds.png',
        mode='L',
        picture=lambda label_map: Image.fromarray(label_ids(label_map)),
    ),
}


def submission_folder(root: str | os.PathLike, examples: Examples) -> pathlib.Path:
    """Makes the folder that the files go to.

    Raises:
        UserError: the data set has no server, the folder cannot be made, or it holds files of other images.
    """
    name = examples.spec.name
    if name not in LAYOUTS:
        raise UserError(f'--submission_dir is for {" and ".join(LAYOUTS)}, which have test servers; {name} has none.')
    folder = writable_folder(root, '--submission_dir') / LAYOUTS[name].folder.format(split=examples.split)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for left_over in folder.glob(f'{PART}*'):
        left_over.unlink()
    if foreign := sorted({path.name for path in folder.iterdir()} - {file.name for file in _files(folder, examples)}):
        raise UserError(f'{folder} holds {foreign[0]}, which is of no image of {examples.split}: give a new folder.')
    return folder


def _files(folder: pathlib.Path, examples: Examples) -> list[pathlib.Path]:
    suffix = LAYOUTS[examples.spec.name].suffix
    return [folder / f'{image_id}{suffix}' for image_id in examples.ids]


def submitted(predictions: Iterable[Prediction], folder: pathlib.Path, examples: Examples) -> Iterator[Prediction]:
    """Passes label maps on and writes each as the server takes it; checks at the end that none is missing.

    Raises:
        UserError: a label map holds a class that the data set has not, or the submission is not complete.
    """
    layout, classes = LAYOUTS[examples.spec.name], examples.spec.num_classes
    for prediction in predictions:
        if prediction.label_map.max() >= classes:
            raise UserError(f'The label map of {prediction.image_id} holds a class beyond the {classes} there are.')
        picture = layout.picture(prediction.label_map)
        file = folder / f'{prediction.image_id}{layout.suffix}'
        with replacing(file) as part:
            picture.save(part, format='PNG')
        yield prediction
    check_complete(folder, examples)


def check_complete(folder: pathlib.Path, examples: Examples) -> None:
    """Raises UserError unless there is a file for every image, of its size and of the server's kind."""
    mode = LAYOUTS[examples.spec.name].mode
    for file, (height, width) in zip(_files(folder, examples), examples.sizes, strict=True):
        if not file.exists():
            raise UserError(f'The submission in {folder} is not complete: {file.name} is missing; make it again.')
        with Image.open(file) as picture:
            if picture.size != (width, height) or picture.mode != mode:
                raise UserError(f'{file} is not {width}x{height} pixels of labels: make the submission again.')
