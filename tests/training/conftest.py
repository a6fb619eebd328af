"""The built-in data set, a few images of it, and a small segmentor."""

import pytest

from deeplab_load.catalog import Architecture
from deeplab_load.data.preparation import prepare
from deeplab_load.models.deeplab import build_segmentor


@pytest.fixture(scope='session')
def shapes(tmp_path_factory):
    return prepare('shapes', data_dir=tmp_path_factory.mktemp('data'))


@pytest.fixture(scope='session')
def few(shapes):
    """Twelve training images and six of the validation split."""
    train, val = shapes.examples('train'), shapes.examples('val')
    return train.subset(train.ids[:12]), val.subset(val.ids[:6])


@pytest.fixture
def small_segmentor():
    architecture = Architecture('mobilenet_v2', num_classes=7, depth_multiplier=0.1)
    return build_segmentor(architecture, fine_tune_batch_norm=True, batch_norm_decay=0.9, seed=1)
