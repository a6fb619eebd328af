"""The learning rate against the original's recorded schedules, and numbers worked out by hand."""

import numpy as np
import pytest

from deeplab_load.training.recipe import Recipe
from deeplab_load.training.schedule import learning_rate

from ..golden import parametrize

RENAMED = {'policy': 'pixelwise_schedule', 'burn': 'slow_start_burnin_type'}


@parametrize('case', 'learning_rate', lambda meta: 'schedules' in meta)
def test_the_originals_schedules(case):
    meta = case.meta
    shared = ('learning_power', 'learning_rate_decay_step', 'learning_rate_decay_factor', 'slow_start_learning_rate')
    for name, schedule in meta['schedules'].items():
        options = {RENAMED.get(flag, flag): value for flag, value in schedule['args'].items()}
        recipe = Recipe(
            **{
                'pixelwise_schedule': 'poly',
                'pixelwise_learning_rate': meta['base_learning_rate'],
                **{flag: meta[flag] for flag in shared},
                **options,
            }
        )
        assert len(schedule['values']) > 10
        for step, expected in schedule['values'].items():
            rate = learning_rate(recipe, int(step), meta['training_number_of_steps'])
            # Two units in the last place of a float32.
            np.testing.assert_allclose(rate, expected, rtol=2.4e-7, err_msg=f'{name} at {step}')


def rates(steps=10, **options):
    recipe = Recipe(pixelwise_learning_rate=0.1, **options)
    return [learning_rate(recipe, step, steps) for step in range(steps)]


def test_poly_by_hand():
    assert rates(pixelwise_schedule='poly')[5] == pytest.approx(0.1 * 0.5**0.9)
    ended = rates(pixelwise_schedule='poly', decay_steps=4, end_learning_rate=0.02, learning_power=1.0)
    assert ended[:6] == pytest.approx([0.1, 0.08, 0.06, 0.04, 0.02, 0.02])


def test_steps_and_cosine_by_hand():
    falls = rates(pixelwise_schedule='step', learning_rate_decay_step=4, learning_rate_decay_factor=0.5)
    assert falls == pytest.approx([0.1] * 4 + [0.05] * 4 + [0.025] * 2)
    assert rates(pixelwise_schedule='cosine')[5] == pytest.approx(0.05)


def test_the_schedule_begins_after_a_slow_start():
    slow = {'slow_start_step': 5, 'slow_start_learning_rate': 0.01}
    poly = rates(15, pixelwise_schedule='poly', **slow)
    assert poly == pytest.approx([0.01] * 5 + rates(10, pixelwise_schedule='poly'))
    assert rates(slow_start_burnin_type='linear', **slow)[:6] == pytest.approx([0.01, 0.028, 0.046, 0.064, 0.082, 0.1])
