"""Training of D: early stopping, the best weights, fresh slots, and losses that are not finite."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab_load.errors import UserError
from deeplab_load.training.discriminator import DiscriminatorOptions, DiscriminatorTrainer
from deeplab_load.training.resumption import Resumption
from deeplab_load.training.stopping import Stopped, StopSignal

from .conftest import KillAt, Killed

OPTIONS = DiscriminatorOptions(learning_rate=0.01, batch_size=4, paired=True, patience=2, epochs=10)


def stub(dropout=0.5):
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 6))
    features = keras.layers.Dropout(dropout)(keras.layers.Conv2D(4, 3, activation='relu')(image))
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
    return tf.data.Dataset.from_tensors(batch).repeat(3)


def trainer(**options):
    return DiscriminatorTrainer(stub(), num_classes=2, options=dataclasses.replace(OPTIONS, **options), seed=5)


@pytest.fixture
def retrain(begun_run):
    def retrain(t, cycle=0, stop=None, save_every=100):
        resumption = Resumption(
            begun_run, f'discriminator-{cycle}', t.variables(), save_every=save_every, stop=stop or StopSignal()
        )
        return t.retrain(
            cycle,
            training_batches=lambda epoch, first: batches(100 + epoch).skip(first),
            holdout_batches=lambda first: batches().skip(first),
            resumption=resumption,
        )

    return retrain


def scripted(monkeypatch, t, losses):
    """Lets the hold-out losses be those of a script; remembers the weights after each epoch."""
    seen, script = [], iter(losses)

    def one_pass(step, data, title, position, resumption):
        if 'hold-out' not in title:
            t.model.trainable_variables[0].assign_add(tf.ones(t.model.trainable_variables[0].shape))
            right = [2 * len(seen), 0]
            return dataclasses.replace(position, sums=[0.0, *right, 10, 10])
        seen.append([np.array(w) for w in t.model.get_weights()])
        return dataclasses.replace(position, sums=[200 * next(script), 50 + len(seen), 50 + len(seen), 100, 100])

    monkeypatch.setattr(t, '_pass', one_pass)
    return seen


def test_it_stops_after_the_patience_and_keeps_the_best_weights(monkeypatch, retrain):
    t = trainer()
    seen = scripted(monkeypatch, t, [0.7, 0.5, 0.6, 0.5, 0.1])
    outcome = retrain(t)
    assert (outcome.epochs, outcome.holdout_loss, outcome.holdout_accuracy) == (4, 0.5, 0.52)
    assert outcome.training_accuracy == 0.1
    assert all(np.array_equal(a, b) for a, b in zip(t.model.get_weights(), seen[1], strict=True))


def test_the_epochs_are_bounded(monkeypatch, retrain):
    t = trainer(epochs=3)
    scripted(monkeypatch, t, [0.7, 0.6, 0.5, 0.4])
    assert retrain(t).epochs == 3


def test_it_goes_on_from_its_weights_with_fresh_slots_and_a_seeded_dropout(retrain):
    first = trainer(epochs=2)
    retrain(first, cycle=0)
    middle = first.model.get_weights()
    retrain(first, cycle=1)
    second = trainer(epochs=2)
    second.model.set_weights(middle)
    retrain(second, cycle=1)
    assert not all(np.array_equal(a, b) for a, b in zip(middle, first.model.get_weights(), strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(first.model.get_weights(), second.model.get_weights(), strict=True))


def test_it_trains_without_dropout(retrain):
    assert retrain(DiscriminatorTrainer(stub(dropout=0.0), num_classes=2, options=OPTIONS, seed=5)).epochs > 0


def test_kept_slots_go_on_and_come_back_with_the_weights(retrain):
    slots = {}
    for keep in (False, True):
        t = trainer(epochs=1, keep_slots=keep)
        retrain(t, cycle=0)
        stored = {name: v.numpy() for name, v in t.kept_variables().items()}
        assert (len(stored) > len(t.model.weights)) == keep
        retrain(t, cycle=1)
        slots[keep] = [v.numpy() for v in t.optimizer.variables]
        again = trainer(epochs=1, keep_slots=keep)
        for name, variable in again.kept_variables().items():
            variable.assign(stored[name])
        retrain(again, cycle=1)
        assert all(np.array_equal(a, b) for a, b in zip(t.model.get_weights(), again.model.get_weights(), strict=True))
    assert (int(slots[False][0]), int(slots[True][0])) == (3, 6)  # Adagrad counts its steps, three a training.
    assert np.all(slots[True][2] >= slots[False][2])


def test_a_loss_that_is_not_finite_names_the_step(retrain):
    t = trainer()
    t.model.trainable_variables[-1].assign([np.nan])
    with pytest.raises(UserError, match=r'discriminator 3, epoch 1, step 1'):
        retrain(t, cycle=3)


def test_it_stops_when_asked(retrain):
    stop = StopSignal()
    stop.requested = True
    with pytest.raises(Stopped):
        retrain(trainer(), stop=stop)


def test_killed_at_any_batch_it_ends_with_the_same_bits(retrain, begun_run):
    t = trainer(epochs=3)
    first = t.model.get_weights()
    outcome = retrain(t)
    undisturbed = t.model.get_weights()
    for looks in range(1, 15, 3):
        begun_run.amend_state(training={'title': 'none'})
        t.model.set_weights(first)
        with pytest.raises(Killed):
            retrain(t, stop=KillAt(looks), save_every=4)
        stored = begun_run.read_state()['training']['title'] == 'discriminator-0'
        assert stored == (looks > 4)  # Killed in the fourth step, before that is stored.
        t.model.set_weights([np.zeros_like(w) if stored else w for w in first])
        assert retrain(t, save_every=4) == outcome
        assert all(np.array_equal(a, b) for a, b in zip(t.model.get_weights(), undisturbed, strict=True))
