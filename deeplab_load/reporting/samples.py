"""A few images of a run with the label maps of its models, small, for its report.

`<run_dir>/report/samples/<part>/<image id>/` holds `image.jpg`, `truth.png` and one `<model>.png` a model, all at most
480 pixels wide and high. The part `evaluation` has the maps of `g0` and `best`; the part `holdout` has those of the
label-map sets through the cycles, `g0`, `end-<cycle>` and `peak-<cycle>`, which leave the buffer with time.
"""

import hashlib
import io
import pathlib
import re
import urllib.parse
from collections.abc import Callable, Iterable

import numpy as np
import tensorflow as tf
from PIL import Image

from deeplab_load import files
from deeplab_load.data import label_maps
from deeplab_load.data.examples import Examples
from deeplab_load.data.preprocessing import decode_image
from deeplab_load.data.specs import DatasetSpec
from deeplab_load.reporting.pictures import index_picture, palette

# (image id, uint8 [height, width] label map)
Maps = Iterable[tuple[str, np.ndarray]]
Segment = Callable[[Examples], Maps]

SAMPLES = pathlib.Path('report', 'samples')
IMAGES = 6
LONGEST_SIDE = 480
LONGEST_NAME = 200


def choose(examples: Examples) -> Examples:
    """The same few examples of a split for every run and seed, whatever its results are."""
    order = sorted(examples.ids, key=lambda image_id: hashlib.sha256(f'sample:{image_id}'.encode()).hexdigest())
    return examples.subset(order[:IMAGES])


def write_evaluated(run_dir: pathlib.Path, model: str, examples: Examples, segment: Segment) -> None:
    """Writes a model's label maps of a few images of the reported split; `segment` makes them."""
    chosen, folder = choose(examples), run_dir / SAMPLES / 'evaluation'
    write_images(folder, chosen)
    write_maps(folder, model, segment(chosen), examples.spec)


def keep_sets(run_dir: pathlib.Path, holdout: Examples) -> None:
    """Writes the label maps of a few hold-out images, of each set in the buffer whose maps are not there yet."""
    chosen, folder = choose(holdout), run_dir / SAMPLES / 'holdout'
    write_images(folder, chosen)
    for name in label_maps.list_sets(run_dir / 'buffer'):
        if not all((_home(folder, image_id) / f'{name}.png').exists() for image_id in chosen.ids):
            stored = label_maps.read_set(run_dir / 'buffer', name)
            write_maps(folder, name, ((i, _decode(stored.png('holdout', i))) for i in chosen.ids), holdout.spec)


def write_images(folder: pathlib.Path, examples: Examples) -> None:
    """Writes each example's image and its true label map, where they are not there yet."""
    for index, image_id in enumerate(examples.ids):
        if not (_home(folder, image_id) / 'truth.png').exists():
            encoded, labels = examples.encoded(index)
            image = Image.fromarray(decode_image(tf.constant(encoded)).numpy())
            _save(_shrunk(image, Image.Resampling.BOX), _home(folder, image_id) / 'image.jpg')
            write_maps(folder, 'truth', [(image_id, _decode(labels))], examples.spec)


def write_maps(folder: pathlib.Path, model: str, maps: Maps, spec: DatasetSpec) -> None:
    """Writes a model's label maps in the colours of the data set."""
    for image_id, label_map in maps:
        picture = index_picture(label_map, palette(spec.colours))
        _save(_shrunk(picture, Image.Resampling.NEAREST), _home(folder, image_id) / f'{model}.png')


def _decode(png: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(png)))


def _home(folder: pathlib.Path, image_id: str) -> pathlib.Path:
    """The folder of an image, whose name a file system takes however long the image's is."""
    name = urllib.parse.quote(image_id, safe='')
    if len(name) > LONGEST_NAME:
        digest = hashlib.sha256(image_id.encode()).hexdigest()
        name = f'{re.sub("%.?$", "", name[:LONGEST_NAME])}~{digest[:16]}'
    return folder / name


def _shrunk(image: Image.Image, resampling: Image.Resampling) -> Image.Image:
    ratio = min(1, LONGEST_SIDE / max(image.size))
    return image.resize((max(1, round(ratio * image.width)), max(1, round(ratio * image.height))), resampling)


def _save(image: Image.Image, file: pathlib.Path) -> None:
    with files.replacing(file) as part:
        image.save(part)
