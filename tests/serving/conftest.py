"""A small segmentor whose activations are alive, and what is exported of it."""

import numpy as np
import pytest
import tensorflow as tf

from deeplab_load.catalog import Architecture
from deeplab_load.data.specs import SHAPES
from deeplab_load.models.deeplab import build_segmentor
from deeplab_load.serving.export import ExportOptions, export

CROP = (97, 129)
SMALL = Architecture('mobilenet_v2', 7, 16, depth_multiplier=0.1, atrous_rates=(2, 4), decoder_output_stride=4)


def smooth_noise(height, width, seed):
    """A uint8 [height, width, 3] image with edges and areas."""
    coarse = tf.random.stateless_uniform([1, 7, 7, 3], [seed, 0], 0, 255)
    return tf.cast(tf.clip_by_value(tf.image.resize(coarse, (height, width), 'bicubic'), 0, 255), tf.uint8)[0].numpy()


def calibrated_segmentor(architecture, seed=0):
    """Random weights; the statistics of batch normalisation are those of some images."""
    segmentor = build_segmentor(architecture, fine_tune_batch_norm=True, batch_norm_decay=0.0, seed=seed)
    images = np.stack([smooth_noise(*CROP, seed) for seed in range(4)]).astype(np.float32)
    tf.function(segmentor)(images, training=True)
    return segmentor


@pytest.fixture(scope='package')
def segmentor():
    return calibrated_segmentor(SMALL)


@pytest.fixture(scope='package')
def saved_model(segmentor, tmp_path_factory):
    """The folder of a version, which computes image after image."""
    folder, options = tmp_path_factory.mktemp('export'), ExportOptions(batched=False)
    return export(segmentor, folder, crop_size=CROP, output_stride=16, spec=SHAPES, options=options)


@pytest.fixture(scope='package')
def tiling_model(segmentor, tmp_path_factory):
    """The folder of a version beside others, and beside what a killed export left; it computes a batch at once."""
    options = ExportOptions(tiles=True, batched=True)
    folder = tmp_path_factory.mktemp('tiling')
    for name in ('2', '10', '.part-11', 'notes'):
        (folder / name).mkdir()
    return export(segmentor, folder, crop_size=CROP, output_stride=16, spec=SHAPES, options=options)


@pytest.fixture(scope='package')
def signatures(saved_model):
    return tf.saved_model.load(str(saved_model)).signatures


@pytest.fixture(scope='package')
def tiling_signatures(tiling_model):
    return tf.saved_model.load(str(tiling_model)).signatures
