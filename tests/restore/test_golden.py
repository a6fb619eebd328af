"""Every golden MobileNetV2 variant, restored from its TF1 checkpoint, against the original's recorded outputs."""

import math

import numpy as np
import pytest
import tensorflow as tf

from deeplab_load.models.deeplab import build_segmentor
from deeplab_load.models.inference import fitted_size, label_maps, upsampled_logits
from deeplab_load.models.slim import resize_nearest
from deeplab_load.restore.inspection import ATROUS_RATES, inspect
from deeplab_load.restore.names import tf1_shapes, tf1_variables
from deeplab_load.restore.restoring import restore, save


@pytest.fixture(scope='module')
def model(variant, checkpoint):
    segmentor = build_segmentor(variant.architecture)
    restore(segmentor, checkpoint)
    return segmentor


def test_variables_have_the_originals_names_and_shapes(variant, model):
    expected = {v['name']: tuple(v['shape']) for v in variant.variables if v['model_variable']}
    assert tf1_shapes(model) == expected
    assert len(expected) == variant.recipe['n_model_variables']
    trainable = {v['name'] for v in variant.variables if v['trainable']}
    assert {name for name, variable in tf1_variables(model).items() if variable.trainable} == trainable


def test_parameter_counts(variant, model):
    assert sum(math.prod(shape) for shape in tf1_shapes(model).values()) == variant.recipe['model_parameters']
    trainable = sum(math.prod(variable.shape) for variable in model.trainable_weights)
    assert trainable == variant.recipe['trainable_parameters']


def test_inspection_tells_the_network_from_the_checkpoint(variant, checkpoint):
    inspection = inspect(checkpoint)
    asked = variant.architecture
    told = inspection.architecture(asked.output_stride)
    assert (told.model_variant, told.num_classes, told.depth_multiplier, told.decoder_output_stride) == (
        *(asked.model_variant, asked.num_classes, asked.depth_multiplier, asked.decoder_output_stride),
    )
    assert told.atrous_rates == (ATROUS_RATES[asked.output_stride] if asked.atrous_rates else ())
    assert inspection.optimizer_slots == (('Momentum',) if variant.recipe['has_momentum_slots'] else ())
    assert inspection.global_step


def test_logits_and_label_maps_at_every_size(variant, model):
    images, golden = variant.arrays('inputs.npz'), variant.arrays('outputs.npz')
    for run, image in images.items():
        labels, logits = segment(model, image, variant)
        tolerance = max(4 * variant.noise_floor(run), 1e-4)
        recorded = golden.get(f'{run}/logits_raw', logits)
        np.testing.assert_allclose(logits, recorded, rtol=0, atol=tolerance, err_msg=run)
        assert labels.shape == golden[f'{run}/pred'].shape == image.shape[:2]
        decided = margins(recorded, image, variant) > tolerance
        assert decided.mean() > 0.9
        np.testing.assert_array_equal(labels[decided], golden[f'{run}/pred'][decided], err_msg=run)


def segment(model, image, variant) -> tuple[np.ndarray, np.ndarray]:
    """The label map [height, width] and the logits [1, height, width, classes] at logits stride that led to it."""
    seen = []

    def watched(images, training):
        seen.append(model(images, training=training))
        return seen[0]

    stride = variant.architecture.output_stride
    labels = label_maps(watched, image[None], crop_size=variant.crop_size, output_stride=stride)
    return labels[0].numpy(), seen[0].numpy()


def margins(logits, image, variant) -> np.ndarray:
    """The distance of the two best logits at every pixel of the image, at its own size."""
    size = image.shape[:2]
    height, width = fitted_size(size, variant.crop_size, variant.architecture.output_stride)
    best = tf.math.top_k(upsampled_logits(logits, variant.crop_size), 2).values
    margin = (best[..., :1] - best[..., 1:])[:, :height, :width]
    return resize_nearest(margin, size)[0, ..., 0].numpy()


def test_saving_gives_back_the_same_bits(variant, checkpoint, model, tmp_path):
    save(model, tmp_path / 'again/model.ckpt')
    again = build_segmentor(variant.architecture, seed=1)
    restoration = restore(again, tmp_path / 'again')
    assert restoration.fresh == ()
    assert restoration.skipped == (('global_step', 'global step'),)
    reader = tf.train.load_checkpoint(str(checkpoint))
    for name, variable in tf1_variables(again).items():
        assert variable.numpy().tobytes() == reader.get_tensor(name).tobytes(), name
