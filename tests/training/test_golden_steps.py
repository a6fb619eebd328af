"""Training steps of the original, from the checkpoints, images and flags of every golden training case."""

import dataclasses
import functools
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab_load.catalog import Architecture
from deeplab_load.models.deeplab import build_segmentor
from deeplab_load.models.passing import has_dilated_depthwise
from deeplab_load.restore.names import tf1_variables
from deeplab_load.spellings import typed
from deeplab_load.training import objective
from deeplab_load.training.momentum import Momentum
from deeplab_load.training.objective import gradient_multipliers, regularized
from deeplab_load.training.recipe import Recipe, recipe_defaults
from deeplab_load.training.schedule import learning_rate
from deeplab_load.training.steps import PixelwiseOutcome, pixelwise_step

from ..golden import Case, make_checkpoints, parametrize

pytestmark = parametrize('case', 'train_', lambda meta: 'gradient_multipliers' in meta)

# The original's flags that are called otherwise here, or that the case's meta.json tells in other words too.
RENAMED = {
    'base_learning_rate': 'pixelwise_learning_rate',
    'learning_policy': 'pixelwise_schedule',
    'momentum': 'pixelwise_momentum',
    'train_batch_size': 'pixelwise_batch_size',
}
ELSEWHERE = ('train_crop_size', 'dataset')

# Bounds where batch norm is trained: batch statistics make these gradients ill-conditioned.
TRAINED_NORMS, TRAINED_VALUES = (0.1, 0.4), 0.3


@dataclasses.dataclass(frozen=True)
class Replay:
    """A case as this package trains it: the values before, of and after its first step, by TF1 name."""

    recipe: Recipe
    segmentor: keras.Model
    before: dict[str, np.ndarray]
    outcome: PixelwiseOutcome
    momentum: dict[str, np.ndarray]
    after: dict[str, np.ndarray]
    later_losses: list[np.ndarray]


@pytest.fixture(scope='module')
def replay(case: Case) -> Replay:
    return replayed(case)


def replayed(case: Case, *, later: bool = True) -> Replay:
    """A case's first step, and the losses of the later ones."""
    recipe, segmentor = prepared(case)
    before = {name: variable.numpy() for name, variable in tf1_variables(segmentor).items()}
    optimizer = Momentum(segmentor.trainable_variables, learning_rate=0.0, momentum=recipe.pixelwise_momentum)
    step = functools.partial(take, case, recipe, optimizer, pixelwise_step(
        segmentor, optimizer, recipe, ignore_label=case.meta['ignore_label']
    ))  # fmt: skip
    outcome = step(0)
    names = {id(variable): name for name, variable in tf1_variables(segmentor).items()}
    momentum = {names[id(v)]: s.numpy() for v, s in zip(optimizer.variables, optimizer.slots, strict=True)}
    after = {name: variable.numpy() for name, variable in tf1_variables(segmentor).items()}
    numbers = range(1, len(case.meta['trajectory']) if later else 1)
    losses = [step(number).losses.numpy() for number in numbers]
    return Replay(recipe, segmentor, before, outcome, momentum, after, losses)


def prepared(case: Case) -> tuple[Recipe, keras.Model]:
    """The recipe and the segmentor of a case's flags, with the values of its checkpoint; dropout off as it had been."""
    flags = {RENAMED.get(flag, flag): v for flag, v in case.meta['flags'].items() if flag not in ELSEWHERE}
    names = {field.name for field in dataclasses.fields(Recipe)}
    options = typed(Recipe, {flag: value for flag, value in flags.items() if flag in names})
    recipe = Recipe(recipe='deeplab', **{**recipe_defaults('deeplab', options), **options})
    network = {flag: value for flag, value in flags.items() if flag not in names}
    architecture = Architecture.from_flags({**network, 'num_classes': case.meta['num_classes']})
    segmentor = build_segmentor(architecture, fine_tune_batch_norm=recipe.fine_tune_batch_norm)
    for layer in segmentor.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    golden = case.folder.parent
    values = make_checkpoints(golden).checkpoint_values(golden / case.meta['checkpoint'].split('/')[0])
    for name, variable in tf1_variables(segmentor).items():
        variable.assign(values[name])
    return recipe, segmentor


def take(case: Case, recipe: Recipe, optimizer: Momentum, step, number: int) -> PixelwiseOutcome:
    """Takes a step of a case, 0 the first that was recorded."""
    inputs = case.arrays('inputs.npz')
    number += case.meta['start_global_step']
    optimizer.learning_rate.assign(learning_rate(recipe, number, recipe.training_number_of_steps))
    images, labels = tf.constant(inputs['image'], tf.float32), tf.constant(inputs['label'][..., 0])
    assert images.shape == (case.meta['batch'], *case.meta['crop'], 3)
    return step(images, labels, tf.constant(number))


def recorded(case: Case, statistic: str) -> list[float]:
    """The differences of the original itself under another TensorFlow, where they were recorded."""
    floors = (floor.get(statistic, 0.0) for floor in case.meta.get('noise_floor', {}).values())
    return [max(floor) if isinstance(floor, list) else floor for floor in floors]


def test_learning_rates(case, replay):
    for number, entry in enumerate(case.meta['trajectory']):
        rate = learning_rate(replay.recipe, entry['global_step'], replay.recipe.training_number_of_steps)
        np.testing.assert_allclose(rate, entry['learning_rate'], rtol=3e-7)
        assert entry['global_step'] == case.meta['start_global_step'] + number


def test_losses(case, replay):
    # Batch statistics of few values amplify rounding: by up to 8e-4 of 12, where the image is pooled over a batch of 2.
    relative = 1e-4 if replay.recipe.fine_tune_batch_norm else 1e-5
    tolerance = max(2 * max(recorded(case, 'loss_abs_diff'), default=0.0), relative * max(case.meta['losses']))
    losses = sorted(replay.outcome.losses.numpy())
    np.testing.assert_allclose(losses, sorted(case.meta['losses']), rtol=0, atol=tolerance)


def test_regularisation(case, replay):
    names = [name.removesuffix('/weights') for name in regularized(replay.segmentor)]
    assert sorted(names) == sorted(case.meta['regularized_variables'])
    np.testing.assert_allclose(replay.outcome.regularization, case.meta['regularization_loss'], rtol=1e-6)


def test_gradient_multipliers(case, replay):
    assert gradient_multipliers(replay.before, replay.recipe) == case.meta['gradient_multipliers']


def test_norms_of_all_gradients(case, replay):
    """The accumulators after the first step are the gradients, of weight decay too, times their multipliers."""
    # Frozen: their weights changed in the last bit alone, plain layers reach 8e-4 without oneDNN.
    frozen = (5e-4 if has_dilated_depthwise() else 1e-3, 1.2e-2)
    check_norms(case, replay.momentum, *(TRAINED_NORMS if replay.recipe.fine_tune_batch_norm else frozen))


def check_norms(case, momentum, median, worst):
    norms = {name: float(np.linalg.norm(value)) for name, value in momentum.items()}
    expected = case.meta['grad_norms_after_multiplier']
    assert set(norms) == set(expected)
    # A beta that the next normalisation cancels has no gradient but rounding.
    told = [name for name in expected if expected[name] > 1e-5 * max(expected.values())]
    assert len(told) > 0.7 * len(expected)
    deviations = [abs(norms[name] - expected[name]) / expected[name] for name in told]
    assert np.median(deviations) < max(median, 2 * max(recorded(case, 'grad_norm_rel_median'), default=0.0))
    assert max(deviations) < worst


def test_values_of_gradients(case, replay):
    # Frozen: their weights changed in the last bit alone, plain layers reach 1.6e-2 without oneDNN.
    frozen = 1.2e-2 if has_dilated_depthwise() else 2e-2
    check_values(case, replay.momentum, TRAINED_VALUES if replay.recipe.fine_tune_batch_norm else frozen)


def test_gradients_of_plain_layers(case, replay):
    """Frozen batch norm in layers of its own, as the original has it, rounds as the original does."""
    is_trained = replay.recipe.fine_tune_batch_norm
    with mock.patch.object(objective, 'in_training', lambda segmentor, **_: segmentor):
        momentum = replayed(case, later=False).momentum
    check_norms(case, momentum, *(TRAINED_NORMS if is_trained else (5e-4, 1.2e-2)))
    check_values(case, momentum, TRAINED_VALUES if is_trained else 1.2e-2)


def check_values(case, momentum, worst):
    gradients = case.group(case.arrays('outputs.npz'), 'grad')
    assert {'logits/semantic/weights', 'logits/semantic/biases'} <= set(gradients)
    for name, expected in gradients.items():
        gradient = momentum[name] / case.meta['gradient_multipliers'].get(name, 1.0)
        bound = min(worst, 5e-3) if name.startswith('logits/') else worst
        assert np.linalg.norm(gradient - expected) < bound * np.linalg.norm(expected), name


def test_one_step_moves_the_values_by_the_learning_rate_times_the_accumulators(case, replay):
    """Also where the gradients themselves are ill-conditioned: what is left of both differences is rounding."""
    after = case.group(case.arrays('outputs.npz'), 'after_step1')
    moved = [name for name in after if f'{name}/Momentum' in after]
    assert len(moved) >= 3
    for name in moved:
        difference = case.meta['learning_rate'] * (replay.momentum[name] - after[f'{name}/Momentum'])
        largest = np.abs(after[name]).max() + np.abs(replay.before[name]).max()
        np.testing.assert_allclose(
            after[name] - replay.after[name], difference, rtol=1e-3, atol=3e-7 * largest, err_msg=name
        )


def test_moving_statistics_after_one_step(case, replay):
    statistics = {
        name: value
        for name, value in case.group(case.arrays('outputs.npz'), 'after_step1').items()
        if name.endswith(('/moving_mean', '/moving_variance'))
    }
    assert len(statistics) > 50
    for name, expected in statistics.items():
        # Half a per cent is the noise of the layer after the pooled image; Bessel's correction there is a half.
        update = np.abs(expected - replay.before[name]).max()
        np.testing.assert_allclose(replay.after[name], expected, rtol=1e-7, atol=1e-2 * update, err_msg=name)
    moved = [name for name in statistics if not np.array_equal(replay.after[name], replay.before[name])]
    assert len(moved) == (len(statistics) if replay.recipe.fine_tune_batch_norm else 0)


def test_later_losses_go_the_same_way(case, replay):
    expected = [sorted(entry['losses']) for entry in case.meta['trajectory'][1:]]
    np.testing.assert_allclose([sorted(losses) for losses in replay.later_losses], expected, rtol=0.2)
