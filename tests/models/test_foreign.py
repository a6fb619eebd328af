"""Segmentors that are not DeepLab's: what is asked of them, and what is refused in one sentence."""

import numpy as np
import pytest
import tensorflow as tf

from deeplab_load.catalog import GREY, IMAGENET_MEAN, Architecture
from deeplab_load.errors import UserError
from deeplab_load.models.deeplab import build_segmentor
from deeplab_load.models.foreign import build_foreign, padding_colour
from deeplab_load.restore.foreign import restore_foreign
from deeplab_load.restore.names import named_variables, tf1_variables
from deeplab_load.restore.segmentors import strides
from deeplab_load.training.durable import RunDirectory

MODULE = 'tests.foreign_segmentors'


def build(name, windows=((32, 64), (64, 64)), num_classes=5, seed=0):
    return build_foreign(f'{MODULE}:{name}', num_classes=num_classes, windows=windows, seed=seed)


def values(model):
    return {name: variable.numpy() for name, variable in named_variables(model).items()}


@pytest.mark.parametrize(('name', 'variables'), [('plain', 8), ('subclassed', 4), ('keras_cv_deeplab', 97)])
def test_a_model_of_any_kind_becomes_one_that_the_job_knows(name, variables):
    model = build(name)
    assert model.output_shape == (None, None, None, 5)
    assert len(model.weights) == variables
    assert list(named_variables(model)) == [f'foreign/{number:04d}' for number in range(variables)]
    assert strides(model) == (1, 1)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(tf.random.stateless_normal([2, 32, 64, 3], [0, 0]), training=False) ** 2)
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
    assert all(gradient is not None for gradient in gradients)


def test_one_window_is_told_to_the_function_and_fixes_the_size():
    assert build('plain', windows=[(32, 64), (32, 64)]).input_shape == (None, 32, 64, 3)
    assert build('plain').input_shape == (None, None, None, 3)


def test_the_seed_fixes_the_weights():
    first, again, other = (values(build('plain', seed=seed)) for seed in (1, 1, 2))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not all(np.array_equal(first[name], other[name]) for name in first)


def test_padding_has_the_colour_that_the_model_names():
    assert padding_colour(build('plain')) == (10, 20.5, 30)
    assert padding_colour(build('subclassed')) == GREY
    assert padding_colour(build_segmentor(Architecture('resnet_v1_50', num_classes=2))) == IMAGENET_MEAN


def test_a_deeplab_keeps_its_tf1_names():
    model = build_segmentor(Architecture('mobilenet_v2', num_classes=2, depth_multiplier=0.1))
    assert named_variables(model).keys() == tf1_variables(model).keys()


@pytest.mark.parametrize(
    ('name', 'sentence'),
    [
        ('probabilities', 'returns probabilities; it must return logits: leave out its last softmax'),
        (
            'two_classes',
            r'returns float32 \[1, 32, 64, 2\] for one window; .* logits \[batch, height, width, 5\]',
        ),
        ('fixed_size', r'does not take windows of 32x64 and 64x64 .*--train_crop_size and --eval_crop_size'),
        ('no_model', 'returns Conv2D; it must return a keras.Model'),
        ('not_callable', 'names no function; give package.module:function'),
        ('nothing', 'names no function'),
    ],
)
def test_what_the_job_cannot_use_is_refused(name, sentence):
    with pytest.raises(UserError, match=f'--segmentor={MODULE}:{name} {sentence}') as info:
        build(name)
    assert '\n' not in str(info.value)


def test_sides_that_the_network_cannot_put_together_are_refused():
    with pytest.raises(UserError, match='does not take windows of 97x129'):
        build('keras_cv_deeplab', windows=[(97, 129), (128, 160)])


@pytest.mark.parametrize(('path', 'sentence'), [('nowhere:f', 'cannot be imported'), ('no_colon', 'names no function')])
def test_a_path_without_a_function_is_refused(path, sentence):
    with pytest.raises(UserError, match=sentence):
        build_foreign(path, num_classes=2, windows=[(32, 32)], seed=0)


@pytest.mark.filterwarnings('ignore:__array__ implementation')  # Of Keras, in saving.
def test_values_come_from_a_snapshot_or_from_keras_weights_strictly(tmp_path):
    first, second, third = (build('plain', seed=seed) for seed in (1, 2, 3))
    run = RunDirectory(tmp_path)
    with run.locked():
        run.save_snapshot('g0', values(first))
    assert len(restore_foreign(second, run.prefix('g0')).restored) == 8
    first.layers[-1].save_weights(tmp_path / 'model.weights.h5')
    restore_foreign(third, tmp_path / 'model.weights.h5')
    for model in (second, third):
        assert all(np.array_equal(values(model)[name], value) for name, value in values(first).items())
    with pytest.raises(UserError, match='holds variables of other shapes than the model: foreign/0006'):
        restore_foreign(build('plain', num_classes=4), run.prefix('g0'))
    for path in ('model.weights.h5', 'missing.keras'):
        with pytest.raises(UserError, match=f'{path} cannot be loaded into the model of --segmentor'):
            restore_foreign(build('subclassed'), tmp_path / path)


def test_layers_that_compute_with_other_values_than_their_variables_see_to_them(tmp_path):
    first, second = build('normalised', seed=1), build('normalised', seed=1)
    noise = tf.random.stateless_uniform([1, 32, 64, 3], [0, 0], maxval=255.0)
    assert not np.allclose(first(noise), second(noise), atol=1e-3)
    run = RunDirectory(tmp_path)
    with run.locked():
        run.save_snapshot('g0', values(first))
    restore_foreign(second, run.prefix('g0'))
    np.testing.assert_allclose(first(noise), second(noise), atol=1e-5)


def test_a_damaged_keras_file_is_told(tmp_path):
    (tmp_path / 'cut.keras').write_bytes(b'no zip')
    with pytest.raises(UserError, match=r'cut\.keras cannot be loaded into the model of --segmentor'):
        restore_foreign(build('plain'), tmp_path / 'cut.keras')
