"""The published MobileNetV2 (depth multiplier 0.5, Pascal VOC) from its checkpoint against its frozen graph."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from deeplab_load.models.deeplab import build_segmentor
from deeplab_load.models.inference import label_maps
from deeplab_load.restore.inspection import inspect
from deeplab_load.restore.restoring import restore

CROP = (513, 513)


@pytest.fixture(scope='module')
def photos(testdata) -> dict[str, np.ndarray]:
    """The photographs, the larger ones made to fit the crop, which is all that the frozen graph takes."""
    images = {}
    for path in sorted((testdata / 'data/photos').glob('*.jpg')):
        with Image.open(path) as image:
            image.thumbnail(CROP)
            images[path.stem] = np.asarray(image.convert('RGB'))
    assert images
    return images


@pytest.fixture(scope='module')
def prefix(testdata):
    return testdata / 'data/zoo/deeplabv3_mnv2_dm05_pascal_trainaug'


def segmented(prefix, photos, output_stride: int) -> dict[str, np.ndarray]:
    model = build_segmentor(inspect(prefix).architecture(output_stride))
    restore(model, prefix)
    return {
        name: label_maps(model, image[None], crop_size=CROP, output_stride=output_stride)[0].numpy()
        for name, image in photos.items()
    }


def frozen_graph(path):
    graph_def = tf.compat.v1.GraphDef.FromString(path.read_bytes())
    imported = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph_def, name=''), [])
    return imported.prune('ImageTensor:0', 'SemanticPredictions:0')


def test_label_maps_are_the_frozen_graphs_at_output_stride_8(testdata, prefix, photos):
    frozen = frozen_graph(testdata / 'data/zoo/deeplabv3_mnv2_dm05_pascal_trainaug_frozen_513.pb')
    ours = segmented(prefix, photos, output_stride=8)
    for name, image in photos.items():
        theirs = frozen(tf.constant(image[None]))[0].numpy()
        assert ours[name].shape == theirs.shape
        # A few pixels lie where two classes are equally likely to float32 precision.
        assert (ours[name] != theirs).sum() <= 5, name


def test_output_stride_16_segments_much_the_same(prefix, photos):
    coarse, fine = (segmented(prefix, photos, output_stride=stride) for stride in (16, 8))
    for name in photos:
        assert (coarse[name] == fine[name]).mean() > 0.9, name
        assert set(np.unique(fine[name])) - {0}, f'{name}: nothing but background'
