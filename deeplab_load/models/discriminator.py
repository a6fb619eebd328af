"""The discriminator D: a classifier of the RGB image split by class (the article, section 4 and Fig. 2)."""

import warnings
from collections.abc import Callable

import keras
import tensorflow as tf

from deeplab_load.models import slim
from deeplab_load.models.enlarging import enlarge
from deeplab_load.replicas import Dropout

BATCH_NORM_MOMENTUM = 0.9  # Keras' 0.99 lags behind trainings of a few hundred steps.


Shape = tuple[int, int, int]

# What D sees, and with how many channels a class.
INPUTS = {'image_split': 3, 'label_map': 1}


def build_discriminator(
    num_classes: int,
    *,
    network: str = 'mobilenet',
    sees: str = 'image_split',
    size: int = 224,
    alpha: float = 1.0,
    dropout: float = 0.01,
    seed: int = 0,
    synchronised: bool = False,
) -> keras.Model:
    """Builds D: what it sees `[batch, size, size, channels]` to one logit `[batch, 1]`, log D/(1 − D).

    Args:
      num_classes: K.
      network: 'mobilenet' (the article's: MobileNet-224, α = 1, dropout 0.01), 'vgg16' or 'cnn' (section 6: neither
        better nor worse).
      sees: 'image_split', 3K channels of `class_split`, or 'label_map', the K channels of the map alone (section 4:
        worse).
      size: side of the input in pixels, at least 32.
      alpha: α, the factor on the channels; 1 for 'vgg16'.
      dropout: rate before the last layer.
      seed: seed of the initial weights and of the dropout.
      synchronised: batch norm and dropout of the whole batch where a step runs on several replicas.
    """
    keras.utils.set_random_seed(seed)
    shape = (size, size, INPUTS[sees] * num_classes)
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'This model usually expects 1 or 3 input channels')
        model = NETWORKS[network](shape, alpha, dropout)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = BATCH_NORM_MOMENTUM
    return _synchronised(model) if synchronised else model


def _synchronised(model: keras.Model) -> keras.Model:
    """A copy of a model of Keras layers whose batch norm and dropout are those of the whole batch."""
    copy = keras.models.clone_model(model, clone_function=_synchronised_layer)
    copy.set_weights(model.get_weights())
    return copy


def _synchronised_layer(layer: keras.layers.Layer) -> keras.layers.Layer:
    if isinstance(layer, keras.layers.Dropout):
        return Dropout.from_config(layer.get_config())
    kind = SynchronisedBatchNorm if isinstance(layer, keras.layers.BatchNormalization) else type(layer)
    return kind.from_config(layer.get_config())


@keras.saving.register_keras_serializable(package='deeplab_load')
class SynchronisedBatchNorm(keras.layers.BatchNormalization):
    """Keras' batch normalisation with the statistics of all replicas' slices (Keras' own loses digits)."""

    def _moments(self, inputs, mask):
        return slim.moments_of_all(inputs)[:2]


def mobilenet(shape: Shape, alpha: float, dropout: float) -> keras.Model:
    """MobileNet (Howard et al. 2017) as in keras.applications."""
    return keras.applications.MobileNet(
        input_shape=shape, alpha=alpha, dropout=dropout, weights=None, classes=1, classifier_activation=None,
        name='discriminator',
    )  # fmt: skip


def vgg16(shape: Shape, alpha: float, dropout: float) -> keras.Model:
    """The convolutions of VGG16 (Simonyan & Zisserman 2015) as in keras.applications; it is not made narrower by α.

    Means over the image stand in for its two wide layers (ours): they would have 120 million of 134 million parameters.
    """
    del alpha
    base = keras.applications.VGG16(include_top=False, weights=None, input_shape=shape, pooling='avg')
    return _classifier(base.input, base.output, dropout)


def cnn(shape: Shape, alpha: float, dropout: float) -> keras.Model:
    """A small CNN (ours): five 4 × 4 convolutions of stride 2, 32 to 512 channels, as usual in discriminators.

    Batch norm after each but the first, leaky ReLU (Radford et al. 2016).
    """
    inputs = x = keras.Input(shape)
    for number, channels in enumerate((32, 64, 128, 256, 512)):
        x = keras.layers.Conv2D(round(alpha * channels), 4, 2, padding='same', use_bias=number == 0)(x)
        x = keras.layers.BatchNormalization()(x) if number else x
        x = keras.layers.LeakyReLU(0.2)(x)
    return _classifier(inputs, keras.layers.GlobalAveragePooling2D()(x), dropout)


def _classifier(inputs: keras.KerasTensor, features: keras.KerasTensor, dropout: float) -> keras.Model:
    logit = keras.layers.Dense(1)(keras.layers.Dropout(dropout)(features))
    return keras.Model(inputs, logit, name='discriminator')


NETWORKS: dict[str, Callable[[Shape, float, float], keras.Model]] = {
    'mobilenet': mobilenet,
    'vgg16': vgg16,
    'cnn': cnn,
}


def input_of(discriminator: keras.Model, images: tf.Tensor, maps: tf.Tensor) -> tf.Tensor:
    """What D sees of maps of its size: `class_split` of the images, or the maps alone where it has a channel a class.

    Args:
      discriminator: of `build_discriminator`.
      images: the segmentor's windows `[batch, h, w, 3]`, 0 to 255.
      maps: `[batch, size, size, classes]`, as `hard_maps` and `generated_maps` give them.
    """
    size, channels = discriminator.input_shape[2:]
    if channels == maps.shape[-1]:
        return maps
    return class_split(discriminator_images(images, size), maps)


@tf.function(jit_compile=True)  # Apart, TensorFlow's operations take seven times as long.
def class_split(images: tf.Tensor, maps: tf.Tensor) -> tf.Tensor:
    """Splits images by class: image × map[k] for k = 0..K−1, stacked in channels (class k at 3k..3k+2).

    Args:
      images: `[batch, height, width, 3]` in [−1, 1].
      maps: `[batch, height, width, classes]`, one-hot or soft; zero at void pixels.

    Returns:
      `[batch, height, width, 3·classes]`.
    """
    split = maps[..., :, None] * images[..., None, :]
    height, width, classes = maps.shape[1:]
    return tf.reshape(split, [-1, height, width, 3 * classes])


def discriminator_images(images: tf.Tensor, size: int) -> tf.Tensor:
    """Scales the segmentor's windows `[batch, h, w, 3]`, 0 to 255, to D's `[batch, size, size, 3]` in [−1, 1]."""
    return slim.resize_bilinear(images * (2.0 / 255.0) - 1.0, (size, size))


def hard_labels(label_maps: tf.Tensor, ground_truth: tf.Tensor, size: int) -> tf.Tensor:
    """Label maps as D sees them: nearest-resized, −1 where they or the ground truth are void.

    Args:
      label_maps: uint8 `[batch, height, width]`, real or generated.
      ground_truth: uint8 `[batch, height, width]`, 255 at void pixels and padding.
      size: side of D's input.

    Returns:
      int32 `[batch, size, size]`.
    """
    void = tf.constant(255, tf.uint8)
    labels = _nearest(tf.where(ground_truth == void, void, label_maps), size)
    return tf.where(labels == void, -1, tf.cast(labels, tf.int32))


def _nearest(maps: tf.Tensor, size: int) -> tf.Tensor:
    """`slim.resize_nearest` of maps `[batch, height, width]` to a square.

    The operation is slow on labels; here it only tells which places to take.
    """
    for axis in (1, 2):
        places = tf.range(tf.shape(maps)[axis])[tf.newaxis, :, tf.newaxis, tf.newaxis]
        maps = tf.gather(maps, slim.resize_nearest(places, (size, 1))[0, :, 0, 0], axis=axis)
    return maps


def hard_maps(label_maps: tf.Tensor, ground_truth: tf.Tensor, *, num_classes: int, size: int) -> tf.Tensor:
    """`hard_labels` one-hot, zero at void pixels: float32 `[batch, size, size, classes]`."""
    return tf.one_hot(hard_labels(label_maps, ground_truth, size), num_classes)


def generated_maps(logits: tf.Tensor, ground_truth: tf.Tensor, *, size: int, straight_through: bool) -> tf.Tensor:
    """The segmentor's map as D sees it, with a gradient to the logits.

    Args:
      logits: `[batch, h, w, classes]` at any stride.
      ground_truth: uint8 `[batch, height, width]`, 255 at void pixels and padding.
      size: side of D's input.
      straight_through: hard one-hot values with the gradient of the softmax, instead of the softmax itself.

    Returns:
      float32 `[batch, size, size, classes]`, zero where the ground truth is void.
    """
    maps = tf.nn.softmax(enlarge(logits, (size, size)))
    seen = tf.not_equal(_nearest(ground_truth, size), 255)[..., tf.newaxis]
    return _hard(maps, seen) if straight_through else maps * tf.cast(seen, tf.float32)


def _hard(maps: tf.Tensor, seen: tf.Tensor) -> tf.Tensor:
    """Soft maps made one-hot, with their own gradient; both 0 where nothing is `seen` `[batch, height, width, 1]`."""

    @tf.custom_gradient
    def harden(soft: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        best = tf.argmax(soft, axis=-1, output_type=tf.int32)
        hard = tf.one_hot(tf.where(seen[..., 0], best, -1), soft.shape[-1])
        return hard, lambda upstream: tf.where(seen, upstream, 0.0)

    return harden(maps)
