"""Stage 1: how long it is, weighted epochs first, the learning rate of every step, and what is not finite."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from deeplab_load.errors import UserError
from deeplab_load.models.foreign import build_foreign
from deeplab_load.restore.names import assign, named_variables
from deeplab_load.training import pixelwise
from deeplab_load.training.pixelwise import mean_class_counts, step_counts, train_pixelwise
from deeplab_load.training.recipe import Recipe
from deeplab_load.training.resumption import Resumption
from deeplab_load.training.steps import PixelwiseOutcome
from deeplab_load.training.stopping import Stopped, StopSignal

from .conftest import KillAt, Killed

RECIPE = Recipe(
    pixelwise_weighted_epochs=1,
    pixelwise_epochs=2,
    pixelwise_learning_rate=0.05,
    pixelwise_batch_size=4,
    pixelwise_schedule='poly',
)


@pytest.fixture
def train(begun_run):
    def train(segmentor, examples, stop=None, save_every=100, **options):
        train_pixelwise(
            segmentor,
            examples,
            dataclasses.replace(RECIPE, **options),
            crop_size=(97, 129),
            seed=0,
            resumption=lambda variables: Resumption(
                begun_run, 'stage-1', variables, save_every=save_every, stop=stop or StopSignal()
            ),
        )

    return train


def test_weighted_steps_come_first_and_the_rate_falls(train, monkeypatch, small_segmentor, few):
    calls = []

    def fake_step(segmentor, optimizer, recipe, *, ignore_label, mean_counts=None):
        def step(images, labels, number):
            assert int(number) == len(calls)
            calls.append((mean_counts is not None, round(float(optimizer.learning_rate), 6)))
            assert images.shape == (4, 97, 129, 3)
            return PixelwiseOutcome(tf.constant([0.25, 0.25]), tf.constant(0.1))

        return step

    monkeypatch.setattr(pixelwise, 'pixelwise_step', fake_step)
    train(small_segmentor, few[0])
    assert [weighted for weighted, _ in calls] == [True] * 3 + [False] * 6
    assert [rate for _, rate in calls] == [round(0.05 * (1 - i / 9) ** 0.9, 6) for i in range(9)]


def test_it_trains(train, capsys, small_segmentor, few):
    train(small_segmentor, few[0], pixelwise_epochs=4)
    words = capsys.readouterr().out
    assert 'stage 1: step 15 of 15, cross-entropy' in words


def test_its_length_is_in_epochs_or_in_steps():
    assert step_counts(RECIPE, 10) == (3, 8)
    assert step_counts(Recipe(training_number_of_steps=5), 10) == (0, 5)


def test_mean_class_counts_leave_void_out(few):
    counts = mean_class_counts(few[0])
    assert counts.shape == (7,)
    height, width = few[0].size(0)
    assert 0 < counts.sum() < height * width * 1.3
    assert counts[0] == counts.max()


def test_a_loss_that_is_not_finite_names_the_step(train, small_segmentor, few):
    small_segmentor.get_layer('logits.semantic').bias.assign(np.full(7, np.nan))
    with pytest.raises(UserError, match=r'loss of stage 1 is nan at step 1; lower --pixelwise_learning_rate'):
        train(small_segmentor, few[0])


def test_an_overflow_in_the_last_step_is_told(train, small_segmentor, few):
    with pytest.raises(UserError, match='not finite after step 1 of stage 1'):
        train(
            small_segmentor,
            few[0],
            pixelwise_weighted_epochs=0,
            pixelwise_epochs=1,
            pixelwise_batch_size=12,
            pixelwise_schedule='constant',
            pixelwise_learning_rate=3e38,
        )


def test_it_stops_when_asked(train, small_segmentor, few):
    stop = StopSignal()
    stop.requested = True
    with pytest.raises(Stopped):
        train(small_segmentor, few[0], stop=stop)


def test_killed_between_two_saves_it_ends_with_the_same_bits(small_segmentor, few, begun_run, train):
    first = [v.numpy() for v in small_segmentor.variables]
    train(small_segmentor, few[0])
    undisturbed = [v.numpy() for v in small_segmentor.variables]
    for variable, value in zip(small_segmentor.variables, first, strict=True):
        variable.assign(value)
    with pytest.raises(Killed):
        train(small_segmentor, few[0], stop=KillAt(6), save_every=2)
    assert begun_run.read_state()['training']['step'] == 4
    for variable in small_segmentor.variables:
        variable.assign(tf.ones_like(variable.value))
    train(small_segmentor, few[0], save_every=2)
    assert all(np.array_equal(v.numpy(), u) for v, u in zip(small_segmentor.variables, undisturbed, strict=True))


def test_a_fork_that_asks_for_fewer_steps_than_are_done_is_refused(small_segmentor, few, begun_run, train):
    with pytest.raises(Killed):
        train(small_segmentor, few[0], stop=KillAt(6), save_every=2)
    with pytest.raises(UserError, match='Stage 1 stands at step 4, but the options ask for 3 steps in all'):
        train(small_segmentor, few[0], pixelwise_batch_size=12)
    assert begun_run.read_state()['training']['step'] == 4


def test_a_segmentor_that_computes_with_other_values_than_its_variables_goes_on_with_them(few, begun_run, train):
    def normalised():
        path = 'tests.foreign_segmentors:normalised'
        return build_foreign(path, num_classes=7, windows=[(97, 129)], seed=0)

    undisturbed, first, second = normalised(), normalised(), normalised()
    assign(first, {name: variable.numpy() for name, variable in named_variables(undisturbed).items()})
    train(undisturbed, few[0])
    with pytest.raises(Killed):
        train(first, few[0], stop=KillAt(6), save_every=2)
    train(second, few[0])
    for one, other in zip(undisturbed.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
