"""Segmentors that are not DeepLab's, as a user would give them to --segmentor=tests.foreign_segmentors:NAME."""

import keras
import numpy as np


def plain(num_classes, crop_size):
    """A few layers, logits at stride 8; padded with its own colour."""
    model = keras.Sequential(
        [
            keras.Input((*(crop_size or (None, None)), 3)),
            keras.layers.Rescaling(1 / 128, offset=-1),
            keras.layers.Conv2D(8, 8, strides=8, padding='same', activation='relu'),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),
            keras.layers.Conv2D(num_classes, 1),
        ]
    )
    model.mean_pixel = (10, 20.5, 30)
    return model


def normalised(num_classes, crop_size):
    """A layer that computes with values made of its variables, one of which is a whole number."""
    norm = keras.layers.Normalization()
    norm.adapt(np.random.default_rng().uniform(0, 255, (1, 4, 4, 3)))  # Other ones every time.
    backbone = keras.Sequential([keras.Input((None, None, 3)), norm])
    return keras.Sequential([keras.Input((None, None, 3)), backbone, keras.layers.Conv2D(num_classes, 1)])


class Subclassed(keras.Model):
    """A model that is no graph of layers and has no input shape of its own."""

    def __init__(self, num_classes):
        super().__init__()
        self.first, self.last = keras.layers.Conv2D(4, 3, strides=2), keras.layers.Dense(num_classes)

    def call(self, images):
        return self.last(self.first(images / 255.0))


def subclassed(num_classes, crop_size):
    return Subclassed(num_classes)


def keras_cv_deeplab(num_classes, crop_size):
    """DeepLabV3Plus of keras-cv with a small ResNet, and a head that ends in logits; sides in multiples of 32."""
    from keras_cv.layers import SpatialPyramidPooling
    from keras_cv.models import DeepLabV3Plus, ResNetBackbone

    backbone = ResNetBackbone(
        stackwise_filters=[64, 16, 16, 16],
        stackwise_blocks=[1, 1, 1, 1],
        stackwise_strides=[1, 2, 2, 2],
        block_type='basic_block',
        include_rescaling=True,
        input_shape=(*(crop_size or (None, None)), 3),
    )
    head = [
        keras.layers.Conv2D(16, 1, use_bias=False),
        keras.layers.BatchNormalization(),
        keras.layers.ReLU(),
        keras.layers.UpSampling2D(4, interpolation='bilinear'),
        keras.layers.Conv2D(num_classes, 1),
    ]
    return DeepLabV3Plus(
        backbone=backbone,
        num_classes=num_classes,
        projection_filters=8,
        spatial_pyramid_pooling=SpatialPyramidPooling(dilation_rates=[2, 4], num_channels=16),
        segmentation_head=keras.Sequential(head),
    )


def probabilities(num_classes, crop_size):
    return keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(num_classes, 1, activation='softmax')])


def fixed_size(num_classes, crop_size):
    image = keras.Input((64, 64, 3))
    return keras.Model(image, keras.layers.Conv2D(num_classes, 1)(image))


def two_classes(num_classes, crop_size):
    return keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(2, 1)])


def no_model(num_classes, crop_size):
    return keras.layers.Conv2D(num_classes, 1)


not_callable = 3
