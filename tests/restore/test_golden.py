"""Every golden variant, restored from its TF1 checkpoint, against the original's recorded outputs."""

import collections
import dataclasses
import math

import numpy as np
import tensorflow as tf

from deeplab_load.catalog import UNTOLD
from deeplab_load.models import inference
from deeplab_load.restore.inspection import ATROUS_RATES, inspect
from deeplab_load.restore.names import tf1_shapes, tf1_variables
from deeplab_load.restore.restoring import restore, save

from .variants import outcomes


def test_variables_have_the_originals_names_and_shapes(variant, model):
    expected = {v['name']: tuple(v['shape']) for v in variant.recipe['variables'] if v['model_variable']}
    assert tf1_shapes(model) == expected
    assert len(expected) == variant.recipe['n_model_variables']
    trainable = {v['name'] for v in variant.recipe['variables'] if v['trainable']}
    assert {name for name, variable in tf1_variables(model).items() if variable.trainable} == trainable


def test_parameter_counts(variant, model):
    assert sum(math.prod(shape) for shape in tf1_shapes(model).values()) == variant.recipe['model_parameters']
    trainable = sum(math.prod(variable.shape) for variable in model.trainable_weights)
    assert trainable == variant.recipe['trainable_parameters']


def test_inspection_tells_the_network_from_the_checkpoint(variant, model, folder):
    inspection, asked = inspect(folder), variant.architecture
    told = inspection.architecture(asked.output_stride)
    assert told.atrous_rates == (ATROUS_RATES[asked.output_stride] if inspection.head == 'aspp' else ())
    assert dataclasses.replace(told, **{flag: getattr(asked, flag) for flag in UNTOLD}) == asked
    later = asked.model_variant.startswith(('mobilenet_v3', 'mobilenet_edgetpu'))
    assert inspection.architecture() == inspection.architecture(32 if later else 16)
    assert inspection.optimizer_slots == (('Momentum',) if variant.recipe['has_momentum_slots'] else ())
    assert inspection.global_step


def test_logits_and_label_maps_at_every_size(variant, model):
    found = list(outcomes(variant, model))
    assert any(outcome.compared for outcome in found)
    for outcome in found:
        tolerances = collections.defaultdict(lambda run=outcome.run: variant.score_tolerance(run))
        tolerances['logits_raw'] = tolerances['logits_merged'] = variant.tolerance(outcome.run)
        for name, (ours, recorded) in outcome.compared.items():
            message = f'{outcome.run}/{name}'
            np.testing.assert_allclose(ours, recorded, rtol=0, atol=tolerances[name], err_msg=message)
        assert outcome.labels.shape == outcome.golden_labels.shape
        tolerance = variant.score_tolerance(outcome.run)
        assert (outcome.margins > tolerance).mean() > 0.5
        assert outcome.wrong(tolerance) == 0, outcome.run


def test_an_image_larger_than_the_crop_is_resized_as_the_flags_of_its_run_say(variant):
    for run, image in variant.arrays('inputs.npz').items():
        setting = variant.setting(run)
        if setting.inference.min_resize_value is not None and len(set(setting.crop_size)) == 1:
            stride = variant.architecture.output_stride
            explicit, fitted = (
                inference.entering_size(image.shape[:2], setting.crop_size, stride, how)
                for how in (setting.inference, inference.PLAIN)
            )
            assert [int(side) for side in explicit] == [int(side) for side in fitted]


def test_saving_gives_back_the_same_bits(folder, model, tmp_path):
    save(model, tmp_path / 'again/model.ckpt')
    for variable in model.weights:
        variable.assign(tf.zeros_like(variable))
    restoration = restore(model, tmp_path / 'again')
    assert restoration.fresh == ()
    assert restoration.skipped == (('global_step', 'global step'),)
    reader = tf.train.load_checkpoint(str(folder / 'model.ckpt-30000'))
    for name, variable in tf1_variables(model).items():
        assert variable.numpy().tobytes() == reader.get_tensor(name).tobytes(), name
