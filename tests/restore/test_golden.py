"""Every golden variant, restored from its TF1 checkpoint, against the original's recorded outputs."""

import dataclasses
import math

import numpy as np
import pytest
import tensorflow as tf

from deeplab_load.models import inference
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
    assert told.atrous_rates == (ATROUS_RATES[asked.output_stride] if asked.atrous_rates else ())
    # Rates leave no trace in a checkpoint.
    assert dataclasses.replace(told, atrous_rates=asked.atrous_rates, multi_grid=asked.multi_grid) == asked
    later = asked.model_variant.startswith(('mobilenet_v3', 'mobilenet_edgetpu'))
    assert inspection.architecture() == inspection.architecture(32 if later else 16)
    assert inspection.optimizer_slots == (('Momentum',) if variant.recipe['has_momentum_slots'] else ())
    assert inspection.global_step


def test_logits_and_label_maps_at_every_size(variant, model, monkeypatch):
    scored = record_scores(monkeypatch)
    golden = variant.arrays('outputs.npz')
    for run, image in variant.arrays('inputs.npz').items():
        labels, logits = segment(model, image, variant)
        recorded = golden.get(f'{run}/logits_raw', logits)
        np.testing.assert_allclose(logits, recorded, rtol=0, atol=variant.tolerance(run), err_msg=run)
        assert labels.shape == golden[f'{run}/pred'].shape == image.shape[:2]
        tolerance, scores = variant.tolerance(run), upsampled_logits(recorded, variant.crop_size)
        if variant.inference.averages:
            tolerance, scores = max(4 * max(variant.floors(run, 'argmax_input_s8'), default=0), 1e-4), scored[-1]
        require_scores(scored[-1], golden, run, tolerance)
        decided = margins(scores, image, variant) > tolerance
        assert decided.mean() > 0.9
        np.testing.assert_array_equal(labels[decided], golden[f'{run}/pred'][decided], err_msg=run)


def record_scores(monkeypatch) -> list[tf.Tensor]:
    """A list that gets all that the best class is told by, from here on."""
    scored, plain = [], inference.class_scores

    def recorder(*arguments):
        scored.append(plain(*arguments))
        return scored[-1]

    monkeypatch.setattr(inference, 'class_scores', recorder)
    return scored


def require_scores(scores, golden, run: str, tolerance: float) -> None:
    for step in (4, 8):
        recorded = golden.get(f'{run}/argmax_input_s{step}')
        if recorded is not None:
            np.testing.assert_allclose(scores[:, ::step, ::step], recorded, rtol=0, atol=tolerance, err_msg=run)


def segment(model, image, variant) -> tuple[np.ndarray, np.ndarray]:
    """The label map [height, width] and the first logits [1, height, width, classes] that led to it."""
    seen, asked = [], variant.architecture

    def watched(images, training):
        seen.append(model(images, training=training))
        return seen[-1]

    labels = label_maps(
        watched,
        image[None],
        crop_size=variant.crop_size,
        output_stride=asked.output_stride,
        decoder_output_stride=asked.decoder_output_stride,
        model_variant=asked.model_variant,
        inference=variant.inference,
    )
    return labels[0].numpy(), seen[0].numpy()


def margins(scores, image, variant) -> np.ndarray:
    """The distance of the two best scores at every pixel of the image, at its own size."""
    size = image.shape[:2]
    height, width = fitted_size(size, variant.crop_size, variant.architecture.output_stride)
    best = tf.math.top_k(scores, 2).values
    margin = (best[..., :1] - best[..., 1:])[:, :height, :width]
    return resize_nearest(margin, size)[0, ..., 0].numpy()


def test_an_image_larger_than_the_crop_is_resized_as_the_flags_of_its_run_say(variant):
    images = variant.arrays('inputs.npz')
    for run, image in images.items():
        if variant.meta['runs'][run]['group'] == 'resize':
            arguments = dict(flag.lstrip('-').split('=') for flag in variant.meta['runs']['_resize']['argv'])
            flags = {f: int(arguments[f]) for f in ('min_resize_value', 'max_resize_value', 'resize_factor')}
            explicit, fitted = (
                inference.entering_size(image.shape[:2], variant.crop_size, variant.architecture.output_stride, how)
                for how in (inference.Inference(**flags), inference.PLAIN)
            )
            assert [int(side) for side in explicit] == [int(side) for side in fitted]


def test_saving_gives_back_the_same_bits(checkpoint, model, tmp_path):
    save(model, tmp_path / 'again/model.ckpt')
    for variable in model.weights:
        variable.assign(tf.zeros_like(variable))
    restoration = restore(model, tmp_path / 'again')
    assert restoration.fresh == ()
    assert restoration.skipped == (('global_step', 'global step'),)
    reader = tf.train.load_checkpoint(str(checkpoint))
    for name, variable in tf1_variables(model).items():
        assert variable.numpy().tobytes() == reader.get_tensor(name).tobytes(), name
