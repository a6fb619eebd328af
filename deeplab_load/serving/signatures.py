"""What a served segmentor answers to: its signatures, named as the original's graphs name their tensors."""

import tensorflow as tf

from deeplab_load.data.preprocessing import decode_image
from deeplab_load.models.inference import upsampled_logits
from deeplab_load.models.passing import image_by_image
from deeplab_load.models.slim import Size, resize_bilinear, resize_nearest
from deeplab_load.serving.network import Network
from deeplab_load.serving.upsampling import upsampled_labels
from deeplab_load.serving.windows import PerPixel, Resize, Window, resized, tiled

# What stands in a label map beyond an image that shares its batch with larger ones: the data sets' label of void.
VOID = 255

_IMAGES = tf.TensorSpec([None, None, None, 3], tf.uint8, name='ImageTensor')
# TF Serving's REST interface takes {"b64": ...} for a string, and documents this ending for names of such tensors.
_ENCODED = tf.TensorSpec([None], tf.string, name='ImageTensor_bytes')


class ServedSegmentor(tf.Module):
    """A network's signatures: `serving_default`, `serving_bytes` and `probabilities`.

    Args:
        network: from float32 crops [batch, height, width, 3] in 0..255 to logits at their stride.
        window: the crop it sees.
        tiles: cut images that exceed the crop into tiles, in place of resizing them.
        batched: let the crops of a batch through the network at once, not one after the other.
        classes: a file on the classes, which becomes an asset.
    """

    def __init__(self, network: Network, window: Window, *, tiles: bool, batched: bool, classes: str):
        super().__init__(name='segmentor')
        self.classes = tf.saved_model.Asset(classes)
        self._network, self._window, self._tiles, self._batched = network, window, tiles, batched

    def signatures(self) -> dict[str, tf.types.experimental.PolymorphicFunction]:
        """The signatures by name."""
        return {
            'serving_default': self.segment,
            'serving_bytes': self.segment_encoded,
            'probabilities': self.probabilities,
        }

    @tf.function(input_signature=[_IMAGES])
    def segment(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Label maps int32 [batch, height, width] of images uint8 [batch, height, width, 3] of any size."""
        return {'SemanticPredictions': self._labels(images)}

    @tf.function(input_signature=[_IMAGES])
    def probabilities(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Probabilities float32 [batch, height, width, classes] of images uint8 [batch, height, width, 3]."""
        return {'SemanticProbabilities': self._told(images, self._crop_probabilities, resize_bilinear, tf.float32)}

    @tf.function(input_signature=[_ENCODED])
    def segment_encoded(self, encoded: tf.Tensor) -> dict[str, tf.Tensor]:
        """Label maps of JPEG and PNG files [batch] of any sizes, and the images' sizes.

        Returns:
            `SemanticPredictions`, int32 [batch, largest height, largest width], each map in its upper left corner and
            `VOID` elsewhere, and `ImageSizes`, int32 [batch, (height, width)].

        Raises:
            InvalidArgumentError: one of the files is no image.
        """
        maps, sizes = self._encoded_tiled(encoded) if self._tiles else self._encoded_resized(encoded)
        return {'SemanticPredictions': maps, 'ImageSizes': sizes}

    def _labels(self, images: tf.Tensor) -> tf.Tensor:
        return self._told(images, self._crop_labels, _resize_labels, tf.int32)

    def _told(self, images: tf.Tensor, per_pixel: PerPixel, resize: Resize, dtype: tf.DType) -> tf.Tensor:
        if self._tiles:
            return tiled(images, self._window, per_pixel, dtype)
        return resized(images, self._window, per_pixel, resize)

    def _crop_labels(self, crops: tf.Tensor) -> tf.Tensor:
        return self._computed(lambda c: upsampled_labels(self._network(c), self._window.crop_size), crops)

    def _crop_probabilities(self, crops: tf.Tensor) -> tf.Tensor:
        return self._computed(
            lambda c: tf.nn.softmax(upsampled_logits(self._network(c), self._window.crop_size)), crops
        )

    def _computed(self, per_pixel: PerPixel, crops: tf.Tensor) -> tf.Tensor:
        return per_pixel(crops) if self._batched else image_by_image(per_pixel, crops)

    def _encoded_resized(self, encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """All images as crops of one batch."""

        def enter(file: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            image = decode_image(file)
            crops, inside = self._window.enter(image[tf.newaxis])
            return crops[0], tf.stack(inside), tf.shape(image)[:2]

        crops, inside, sizes = tf.map_fn(enter, encoded, fn_output_signature=(tf.float32, tf.int32, tf.int32))
        crops = tf.ensure_shape(crops, [None, *self._window.crop_size, 3])
        largest = tf.reduce_max(sizes, axis=0)

        def leave(told: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> tf.Tensor:
            labels, inside, size = told
            labels = _resize_labels(labels[tf.newaxis, : inside[0], : inside[1]], tf.unstack(size))[0]
            return _pad_to_largest(labels, largest)

        return tf.map_fn(leave, (self._crop_labels(crops), inside, sizes), fn_output_signature=tf.int32), sizes

    def _encoded_tiled(self, encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """One image after the other, as tiles follow from its own size."""
        sizes = tf.map_fn(lambda file: tf.shape(decode_image(file))[:2], encoded, fn_output_signature=tf.int32)
        largest = tf.reduce_max(sizes, axis=0)

        def segment(file: tf.Tensor) -> tf.Tensor:
            return _pad_to_largest(self._labels(decode_image(file)[tf.newaxis])[0], largest)

        return tf.map_fn(segment, encoded, parallel_iterations=1, fn_output_signature=tf.int32), sizes


def _resize_labels(labels: tf.Tensor, size: Size) -> tf.Tensor:
    return resize_nearest(labels[..., tf.newaxis], size)[..., 0]


def _pad_to_largest(labels: tf.Tensor, largest: tf.Tensor) -> tf.Tensor:
    beyond = largest - tf.shape(labels)
    return tf.pad(labels, [[0, beyond[0]], [0, beyond[1]]], constant_values=VOID)
