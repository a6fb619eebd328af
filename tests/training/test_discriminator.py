"""Training of D: early stopping, the best weights, fresh slots, and losses that are not finite."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab_load.errors import UserError
from deeplab_load.training.discriminator import DiscriminatorOptions, DiscriminatorTrainer, Score
from deeplab_load.training.stopping import Stopped, StopSignal

OPTIONS = DiscriminatorOptions(learning_rate=0.01, batch_size=4, paired=True, patience=2, epochs=10)


def stub():
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 6))
    features = keras.layers.Dropout(0.5)(keras.layers.Conv2D(4, 3, activation='relu')(image))
    return keras.Model(image, keras.layers.Dense(1)(keras.layers.GlobalAveragePooling2D()(features)))


def batches(value=100.0):
    truth = np.zeros((4, 8, 8), np.uint8)
    generated = truth.copy()
    generated[2:, :, 4:] = 1
    batch = {
        'image': np.full((4, 8, 8, 3), value, np.float32) + np.arange(4, dtype=np.float32)[:, None, None, None],
        'label_map': generated,
        'ground_truth': truth,
        'real': np.array([1, 1, 0, 0], np.float32),
        'weight': np.ones(4, np.float32),
    }
    return tf.data.Dataset.from_tensors(batch)


def trainer(**options):
    return DiscriminatorTrainer(stub(), num_classes=2, options=dataclasses.replace(OPTIONS, **options), seed=5)


def retrain(t, cycle=0, stop=None):
    return t.retrain(
        cycle, training_batches=lambda epoch: batches(), holdout_batches=batches, stop=stop or StopSignal()
    )


def scripted(monkeypatch, t, losses):
    """Lets the hold-out losses be those of a script; remembers the weights after each epoch."""
    seen, script = [], iter(losses)

    def score(step, data, title, stop):
        if 'hold-out' not in title:
            t.model.trainable_variables[0].assign_add(tf.ones(t.model.trainable_variables[0].shape))
            return Score(loss=0.0, accuracy=len(seen) / 10)
        seen.append([np.array(w) for w in t.model.get_weights()])
        return Score(loss=next(script), accuracy=0.5 + len(seen) / 100)

    monkeypatch.setattr(t, '_score', score)
    return seen


def test_it_stops_after_the_patience_and_keeps_the_best_weights(monkeypatch):
    t = trainer()
    seen = scripted(monkeypatch, t, [0.7, 0.5, 0.6, 0.5, 0.1])
    outcome = retrain(t)
    assert (outcome.epochs, outcome.holdout_loss, outcome.holdout_accuracy) == (4, 0.5, 0.52)
    assert outcome.training_accuracy == 0.1
    assert all(np.array_equal(a, b) for a, b in zip(t.model.get_weights(), seen[1], strict=True))


def test_the_epochs_are_bounded(monkeypatch):
    t = trainer(epochs=3)
    scripted(monkeypatch, t, [0.7, 0.6, 0.5, 0.4])
    assert retrain(t).epochs == 3


def test_it_goes_on_from_its_weights_with_fresh_slots_and_a_seeded_dropout():
    first = trainer(epochs=2)
    retrain(first, cycle=0)
    middle = first.model.get_weights()
    retrain(first, cycle=1)
    second = trainer(epochs=2)
    second.model.set_weights(middle)
    retrain(second, cycle=1)
    assert not all(np.array_equal(a, b) for a, b in zip(middle, first.model.get_weights(), strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(first.model.get_weights(), second.model.get_weights(), strict=True))


def test_a_loss_that_is_not_finite_names_the_step():
    t = trainer()
    t.model.trainable_variables[-1].assign([np.nan])
    with pytest.raises(UserError, match=r'discriminator 3, epoch 1, step 1'):
        retrain(t, cycle=3)


def test_it_stops_when_asked():
    stop = StopSignal()
    stop.requested = True
    with pytest.raises(Stopped):
        retrain(trainer(), stop=stop)
