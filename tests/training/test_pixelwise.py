"""Stage 1: weighted epochs first, the schedule, and what is not finite."""

import dataclasses

import numpy as np
import pytest

from deeplab_load.errors import UserError
from deeplab_load.training import pixelwise
from deeplab_load.training.pixelwise import PixelwiseOptions, mean_class_counts, poly, train_pixelwise
from deeplab_load.training.stopping import Stopped, StopSignal

OPTIONS = PixelwiseOptions(
    weighted_epochs=1, epochs=2, learning_rate=0.05, momentum=0.9, batch_size=4, poly=True, seed=0
)


def train(segmentor, examples, stop=None, **options):
    train_pixelwise(
        segmentor, examples, dataclasses.replace(OPTIONS, **options), crop_size=(97, 129), stop=stop or StopSignal()
    )


def test_weighted_steps_come_first_and_the_rate_falls(monkeypatch, small_segmentor, few):
    calls = []

    def fake_step(segmentor, optimizer, *, mean_counts=None):
        def step(images, labels):
            calls.append((mean_counts is not None, round(float(optimizer.learning_rate), 6)))
            assert images.shape == (4, 97, 129, 3)
            return 0.5

        return step

    monkeypatch.setattr(pixelwise, 'pixelwise_step', fake_step)
    train(small_segmentor, few[0])
    assert [weighted for weighted, _ in calls] == [True] * 3 + [False] * 6
    assert [rate for _, rate in calls] == [round(0.05 * (1 - i / 9) ** 0.9, 6) for i in range(9)]


def test_it_trains(capsys, small_segmentor, few):
    train(small_segmentor, few[0], epochs=4)
    words = capsys.readouterr().out
    assert 'stage 1: step 15 of 15, cross-entropy' in words


def test_poly_by_hand():
    assert poly(0.1, 0, 10) == 0.1
    assert poly(0.1, 5, 10) == pytest.approx(0.1 * 0.5**0.9)


def test_mean_class_counts_leave_void_out(few):
    counts = mean_class_counts(few[0])
    assert counts.shape == (7,)
    height, width = few[0].size(0)
    assert 0 < counts.sum() < height * width * 1.3
    assert counts[0] == counts.max()


def test_a_loss_that_is_not_finite_names_the_step(small_segmentor, few):
    small_segmentor.get_layer('logits.semantic').bias.assign(np.full(7, np.nan))
    with pytest.raises(UserError, match=r'loss of stage 1 is nan at step 1; lower --pixelwise_learning_rate'):
        train(small_segmentor, few[0])


def test_an_overflow_in_the_last_step_is_told(small_segmentor, few):
    with pytest.raises(UserError, match='not finite after step 1 of stage 1'):
        train(small_segmentor, few[0], weighted_epochs=0, epochs=1, batch_size=12, poly=False, learning_rate=3e38)


def test_it_stops_when_asked(small_segmentor, few):
    stop = StopSignal()
    stop.requested = True
    with pytest.raises(Stopped):
        train(small_segmentor, few[0], stop=stop)
