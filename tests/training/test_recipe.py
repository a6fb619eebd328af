"""The options of stage 1: what the recipes set, and what is refused."""

import dataclasses
import math
import re

import pytest

from deeplab_load.errors import UserError
from deeplab_load.training.recipe import DEEPLAB, Recipe, recipe_defaults


def test_the_articles_defaults():
    recipe = Recipe()
    assert (recipe.pixelwise_learning_rate, recipe.pixelwise_momentum, recipe.pixelwise_batch_size) == (1e-4, 0.9, 7)
    assert (recipe.pixelwise_schedule, recipe.fine_tune_batch_norm, recipe.weight_decay) == ('constant', False, 0.0)
    assert (recipe.bias_gradient_multiplier, recipe.last_layer_gradient_multiplier) == (1.0, 1.0)
    assert not recipe.trains


def test_the_originals_defaults():
    recipe = Recipe(recipe='deeplab', **recipe_defaults('deeplab', ()))
    assert (recipe.pixelwise_learning_rate, recipe.pixelwise_momentum, recipe.pixelwise_batch_size) == (1e-4, 0.9, 8)
    assert (recipe.pixelwise_schedule, recipe.fine_tune_batch_norm, recipe.weight_decay) == ('poly', True, 4e-5)
    assert (recipe.bias_gradient_multiplier, recipe.training_number_of_steps) == (2.0, 30000)
    assert (recipe.learning_power, recipe.slow_start_learning_rate, recipe.learning_rate_decay_step) == (
        0.9,
        1e-4,
        2000,
    )
    assert recipe.trains


def test_an_option_that_is_given_wins_over_the_recipe():
    assert recipe_defaults('article', ()) == {}
    assert 'weight_decay' not in recipe_defaults('deeplab', ['weight_decay'])
    assert 'training_number_of_steps' not in recipe_defaults('deeplab', ['pixelwise_epochs'])
    assert set(DEEPLAB) < {field.name for field in dataclasses.fields(Recipe)}


@pytest.mark.parametrize(
    ('options', 'sentence'),
    [
        ({'pixelwise_epochs': 1, 'training_number_of_steps': 9}, 'both say how long stage 1 is'),
        ({'top_k_percent_pixels': 0.0}, '--top_k_percent_pixels=0.0 must be above 0 and at most 1'),
        ({'label_weights': (1.0, -1.0)}, '--label_weights=1.0,-1.0 must be at least 0 each'),
        ({'image_pyramid': ()}, '--image_pyramid= must be one scale or more'),
        ({'image_pyramid': (1.0, math.inf)}, '--image_pyramid=1.0,inf must be finite and above 0 each'),
        ({'max_scale_factor': math.inf}, '--max_scale_factor=inf must be finite'),
        ({'weight_decay': -1.0}, '--weight_decay=-1.0 must be at least 0'),
        ({'learning_rate_decay_factor': 0.0}, '--learning_rate_decay_factor=0.0 must be above 0'),
        ({'pixelwise_momentum': 1.0}, '--pixelwise_momentum=1.0 must be at least 0 and below 1'),
        ({'batch_norm_decay': 1.5}, '--batch_norm_decay=1.5 must be at least 0 and at most 1'),
    ],
)
def test_what_cannot_be_is_refused_by_name(options, sentence):
    with pytest.raises(UserError, match=re.escape(sentence)):
        Recipe(**options)


def test_there_is_a_weight_for_each_class():
    Recipe(label_weights=(1.0, 2.0)).require_label_weights(2)
    Recipe().require_label_weights(2)
    with pytest.raises(UserError, match=r'--label_weights=1.0,2.0 must be 3 weights'):
        Recipe(label_weights=(1.0, 2.0)).require_label_weights(3)
