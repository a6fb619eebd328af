"""How far label maps of another format agree with the SavedModel's, and whether that is enough."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from deeplab_load.data.examples import Examples
from deeplab_load.data.preprocessing import decode_image, decode_label_map
from deeplab_load.metrics import confusion_matrix, summarise
from deeplab_load.models.slim import resize_nearest
from deeplab_load.reporting.tables import table
from deeplab_load.serving.network import CropFunction
from deeplab_load.serving.windows import Window

LEAST_PIXELS = 0.999


@dataclass(frozen=True)
class Picture:
    """An image to compare on, float32 [1, height, width, 3] as the network sees it, and its labels in the same window.

    The labels, uint8 with 255 at void, have the size [height, width] that the image takes up in the window.
    """

    crop: np.ndarray
    labels: np.ndarray


def pictures_of(examples: Examples, window: Window, count: int) -> list[Picture]:
    """The first `count` examples, those that exceed the window resized into it as the SavedModel does."""
    pictures = []
    for index in range(min(count, len(examples))):
        file, label_file = examples.encoded(index)
        crops, inside = window.enter(decode_image(tf.constant(file))[tf.newaxis])
        labels = resize_nearest(decode_label_map(tf.constant(label_file))[tf.newaxis, ..., tf.newaxis], inside)
        pictures.append(Picture(crops.numpy(), labels.numpy()[0, ..., 0]))
    return pictures


@dataclass(frozen=True)
class Agreement:
    """What a comparison with the SavedModel says: fractions in [0, 1].

    Attributes:
        file: of the model.
        size: of the file in bytes.
        pixels: that have the SavedModel's label.
        miou: of the model's label maps, over the classes that occur.
        miou_drop: from the SavedModel's.
        most_drop: that it may have; None where nothing is rounded but float32's last digits, and the labels must agree.
    """

    file: str
    size: int
    pixels: float
    miou: float
    miou_drop: float
    most_drop: float | None

    @property
    def holds(self) -> bool:
        """Whether the model may be exported."""
        return self.pixels >= LEAST_PIXELS if self.most_drop is None else self.miou_drop <= self.most_drop

    def record(self) -> dict[str, object]:
        """As JSON."""
        return {**dataclasses.asdict(self), 'exported': self.holds}


class Judge:
    """Compares label maps of pictures with those that the SavedModel makes."""

    def __init__(self, saved_model: CropFunction, pictures: Sequence[Picture], num_classes: int):
        self._pictures, self._num_classes = pictures, num_classes
        self._maps = self._segmented(saved_model)
        self._miou = self._miou_of(self._maps)

    def compare(self, file: str, size: int, segment: CropFunction, most_drop: float | None) -> Agreement:
        """What the model in a file, of a size in bytes, makes of the pictures."""
        maps = self._segmented(segment)
        same = sum(int(np.sum(a == b)) for a, b in zip(maps, self._maps, strict=True))
        miou = self._miou_of(maps)
        pixels = same / sum(label_map.size for label_map in maps)
        return Agreement(file, size, pixels, miou, self._miou - miou, most_drop)

    def _segmented(self, segment: CropFunction) -> list[np.ndarray]:
        sizes = [picture.labels.shape for picture in self._pictures]
        maps = [np.asarray(segment(picture.crop)) for picture in self._pictures]
        return [label_map[0, :height, :width] for label_map, (height, width) in zip(maps, sizes, strict=True)]

    def _miou_of(self, maps: Sequence[np.ndarray]) -> float:
        confusion = np.zeros((self._num_classes, self._num_classes), np.int64)
        for picture, label_map in zip(self._pictures, maps, strict=True):
            confusion += confusion_matrix(picture.labels, label_map, num_classes=self._num_classes)
        return summarise(confusion).miou_present


def agreement_table(records: Sequence[dict]) -> str:
    """The records of `Agreement`s as a table for the terminal."""
    rows = [
        (
            record['file'],
            f'{record["size"] / 1e6:.1f}',
            f'{100 * record["pixels"]:.3f}',
            f'{100 * record["miou_drop"]:+.2f}',
            'yes' if record['exported'] else 'no',
        )
        for record in records
    ]
    return table(['format', 'MB', 'same pixels, %', 'loss of mIoU, points', 'exported'], rows)
