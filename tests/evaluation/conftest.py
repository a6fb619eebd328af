"""One small segmentor with seven classes in every format, and the shapes that it looks at."""

import types
import warnings

import keras
import pytest

from deeplab_load.catalog import Architecture
from deeplab_load.data.preparation import prepare
from deeplab_load.data.specs import SHAPES
from deeplab_load.models.deeplab import build_segmentor
from deeplab_load.restore.restoring import save
from deeplab_load.serving.export import export


@pytest.fixture(scope='session')
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data')
    prepare('shapes', data_dir=folder, progress=False)
    return str(folder)


@pytest.fixture(scope='session')
def formats(tmp_path_factory):
    """The segmentor, and the paths of it as `checkpoint`, `keras` and `saved_model`."""
    folder = tmp_path_factory.mktemp('formats') / 'of [a] möde\\l\n'
    folder.mkdir()
    segmentor = build_segmentor(Architecture('mobilenet_v2', num_classes=7, depth_multiplier=0.1), seed=3)
    sharpen(segmentor)
    save(segmentor, folder / 'model.ckpt')
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', '__array__ implementation', DeprecationWarning)  # Keras' own.
        segmentor.save(folder / 'model.keras')
    saved = export(segmentor, folder / 'export', crop_size=(97, 129), output_stride=16, spec=SHAPES)
    return types.SimpleNamespace(
        segmentor=segmentor,
        checkpoint=str(folder / 'model.ckpt'),
        keras=str(folder / 'model.keras'),
        saved_model=str(saved),
    )


def sharpen(segmentor: keras.Model) -> None:
    """Makes fresh logits differ from pixel to pixel, so that label maps have several classes."""
    for variable in segmentor.get_layer('logits.semantic').variables:
        variable.assign(100 * variable)
