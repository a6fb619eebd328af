"""Evaluation of a segmentor on a data set, and its label maps."""

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from deeplab_load.background import in_background
from deeplab_load.data.batches import evaluation_batches
from deeplab_load.data.examples import Examples
from deeplab_load.data.service import Batch
from deeplab_load.metrics import confusion_matrix
from deeplab_load.models.folding import folded_in_graph
from deeplab_load.models.foreign import padding_colour
from deeplab_load.models.inference import PLAIN, Inference, Model, crop_labels, upsampled_logits
from deeplab_load.models.passing import image_by_image, is_faster_singly
from deeplab_load.reporting.progress import progress
from deeplab_load.restore.segmentors import any_size, strides
from deeplab_load.shortages import memory_for
from deeplab_load.training.distribution import ONE_DEVICE, Distribution

WORK = 'evaluation', '--eval_batch_size or --eval_crop_size'  # And what to lower where memory does not suffice.


class Prediction(NamedTuple):
    """A model's label map of an example beside the true one, both uint8 `[height, width]` at the image's size."""

    image_id: str
    label: np.ndarray
    label_map: np.ndarray


class Evaluator:
    """Runs one segmentor over examples, whole images padded to the evaluation crop.

    `check` is called between batches and may raise, to stop. Of several workers each counts whole batches, and a device
    the rows of a slice. Source: TF1 `eval.py`: the logits are upsampled to the crop, padding has the ignore label; with
    several scales or flips probabilities are averaged.
    """

    def __init__(
        self,
        segmentor: keras.Model,
        *,
        crop_size: tuple[int, int],
        batch_size: int,
        inference: Inference = PLAIN,
        check: Callable[[], None] = lambda: None,
        distribution: Distribution = ONE_DEVICE,
    ):
        self.crop_size, self.batch_size, self.check = crop_size, batch_size, check
        self.num_classes, self._distribution = segmentor.output_shape[-1], distribution
        self.colour = padding_colour(segmentor)
        signature = tf.TensorSpec([None, *crop_size, 3], tf.float32)
        self._mapper = distribution.mapped(label_mapper(segmentor, crop_size, inference), signature)

    def confusion(self, examples: Examples, title: str = 'evaluation', *, interruptible: bool = True) -> np.ndarray:
        """Counts the pixels of each (label, prediction), by all workers in step: int64 `[classes, classes]`."""
        count = functools.partial(
            confusion_matrix, num_classes=self.num_classes, ignore_label=examples.spec.ignore_label
        )
        batches = self._batches(self._own(examples), title, interruptible)
        mapped = ((batch['label'].numpy(), self._predict(batch['image'])) for batch in batches)
        counts = in_background(lambda pair: count(*pair), mapped)
        return self._distribution.sum(sum(counts, np.zeros((self.num_classes, self.num_classes), np.int64)))

    def _own(self, examples: Examples) -> Examples:
        """The examples of the batches that this worker counts: of N workers, every N-th batch."""
        worker, workers = self._distribution.part
        if workers == 1:
            return examples
        own = [name for i, name in enumerate(examples.ids) if i // self.batch_size % workers == worker]
        return examples.subset(own)

    def predictions(self, examples: Examples, title: str = 'evaluation') -> Iterator[Prediction]:
        """Yields the label map of each example, in order."""
        for batch in self._batches(examples, title, True):
            for (name, label_map), label in zip(self._named_maps(batch), batch['label'].numpy(), strict=True):
                height, width = label_map.shape
                yield Prediction(name, label[:height, :width], label_map)

    def label_maps(self, examples: Examples, title: str = 'label maps') -> Iterator[tuple[str, np.ndarray]]:
        """Yields (image id, uint8 `[height, width]` map at the image's size) in the order of the examples."""
        for batch in self._batches(examples, title, True, labels=False):
            yield from self._named_maps(batch)

    def _named_maps(self, batch: Batch) -> Iterator[tuple[str, np.ndarray]]:
        maps = self._predict(batch['image'])
        for name, (height, width), label_map in zip(
            batch['image_id'].numpy(), batch['size'].numpy(), maps, strict=True
        ):
            yield name.decode(), label_map[:height, :width]

    @memory_for(*WORK)
    def _predict(self, images: tf.Tensor) -> np.ndarray:
        return self._mapper(images).numpy()

    def _batches(self, examples: Examples, title: str, interruptible: bool, *, labels: bool = True) -> Iterator[Batch]:
        batches = evaluation_batches(
            examples, crop_size=self.crop_size, batch_size=self.batch_size, colour=self.colour, labels=labels
        )
        with memory_for(*WORK):
            for batch in progress(batches, title, total=-(-len(examples) // self.batch_size), unit='batch'):
                if interruptible:
                    self.check()
                yield batch


def label_mapper(
    segmentor: keras.Model, crop_size: tuple[int, int], inference: Inference = PLAIN
) -> Callable[[tf.Tensor], tf.Tensor]:
    """A function from windows of the crop, `[batch, h, w, 3]` in 0 to 255, to their maps, uint8 `[batch, h, w]`."""
    # Not for speed alone: oneDNN without AVX-512 takes 25 times as long for a convolution with batch norm behind it.
    mapper: Callable[[tf.Tensor], tf.Tensor] = functools.partial(predictions, folded_in_graph(segmentor))
    if inference.averages:
        (_, logits_stride), network = strides(segmentor), any_size(segmentor)
        mapper = functools.partial(_averaged, network, logits_stride, inference)
    return functools.partial(image_by_image, mapper) if is_faster_singly(crop_size) else mapper


def _averaged(network: Model, logits_stride: int, inference: Inference, images: tf.Tensor) -> tf.Tensor:
    return tf.cast(crop_labels(network, images, logits_stride, inference), tf.uint8)


def predictions(segmentor: keras.Model, images: tf.Tensor) -> tf.Tensor:
    """Label maps uint8 `[batch, h, w]` of windows `[batch, h, w, 3]` in 0 to 255."""
    logits = upsampled_logits(segmentor(images, training=False), images.shape[1:3])
    return tf.cast(tf.argmax(logits, axis=-1, output_type=tf.int32), tf.uint8)
