"""The learning rate of stage 1: a function of the step's number alone."""

import numpy as np

from deeplab_load.training.recipe import Recipe


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """The learning rate of a step, the first of which is 0, of a training of so many steps.

    In float32, and with divisors as factors, as TF1 computed it: towards the end of 'poly' that shows.

    Source: TF1 train_utils.get_model_learning_rate.
    """
    base = np.float32(recipe.pixelwise_learning_rate)
    if step < recipe.slow_start_step:
        slow = np.float32(recipe.slow_start_learning_rate)
        rises = recipe.slow_start_burnin_type == 'linear'
        return float(slow + (base - slow) * _ratio(step, recipe.slow_start_step)) if rises else float(slow)
    return float(_scheduled(recipe, base, step - recipe.slow_start_step, steps - recipe.slow_start_step))


def _scheduled(recipe: Recipe, base: np.float32, step: int, steps: int) -> np.float32:
    one = np.float32(1)
    if recipe.pixelwise_schedule == 'poly':
        last, end = recipe.decay_steps or steps, np.float32(recipe.end_learning_rate)
        return (base - end) * (one - _ratio(min(step, last), last)) ** np.float32(recipe.learning_power) + end
    if recipe.pixelwise_schedule == 'step':
        falls = np.floor(_ratio(step, recipe.learning_rate_decay_step))
        return base * np.float32(recipe.learning_rate_decay_factor) ** falls
    if recipe.pixelwise_schedule == 'cosine':
        angle = np.float32(np.pi) * _ratio(min(step, steps), steps)
        return base * (np.float32(0.5) * (one + np.cos(angle)))
    return base


def _ratio(step: int, steps: int) -> np.float32:
    return np.float32(step) * (np.float32(1) / np.float32(steps))
