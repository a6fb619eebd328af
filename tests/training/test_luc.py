"""The players of Luc et al.: D and g in turn, each on what the other has become, and bit for bit after a stop."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab_load import losses
from deeplab_load.errors import UserError
from deeplab_load.evaluation.evaluation import Evaluator
from deeplab_load.lookahead.alternating import alternate
from deeplab_load.lookahead.state import Limits, LoadState
from deeplab_load.models import discriminator as d
from deeplab_load.models.foreign import build_foreign
from deeplab_load.training.discriminator import DiscriminatorOptions, DiscriminatorTrainer
from deeplab_load.training.durable import RunDirectory
from deeplab_load.training.lookahead import run_lookahead
from deeplab_load.training.luc import LucPlayers
from deeplab_load.training.momentum import Momentum
from deeplab_load.training.players import AdversarialOptions, TrainingData
from deeplab_load.training.steps import adversarial_step, paired_step
from deeplab_load.training.stopping import Stopped, StopSignal


def values(model):
    return [v.numpy() for v in model.weights]


def same(first, second):
    return all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.fixture
def cnn():
    """A small D with batch norm and without dropout."""
    return small_discriminator(dropout=0.0)


def small_discriminator(dropout):
    keras.utils.set_random_seed(3)
    layers = [keras.layers.Conv2D(8, 3, strides=4), keras.layers.BatchNormalization(momentum=0.5)]
    head = [keras.layers.ReLU(), keras.layers.GlobalAveragePooling2D(), keras.layers.Dropout(dropout)]
    return keras.Sequential([keras.Input((32, 32, 21)), *layers, *head, keras.layers.Dense(1)])


@pytest.fixture
def segmentor():
    """A small g, quicker to trace than a DeepLab, and one whose variables have no TF1 names."""
    return build_foreign('tests.foreign_segmentors:plain', num_classes=7, windows=[(97, 129), (33, 33)], seed=2)


def test_a_step_of_d_is_that_of_binary_cross_entropy_on_real_and_generated_maps(cnn):
    real, generated = (tf.random.stateless_normal([2, 32, 32, 21], [seed, 0]) for seed in (0, 1))
    kernel, before = cnn.layers[0].kernel, cnn.layers[0].kernel.numpy()
    with tf.GradientTape() as tape:
        both = cnn(tf.concat([real, generated], 0), training=True)[:, 0]
        loss = tf.reduce_mean(tf.concat([tf.nn.softplus(-both[:2]), tf.nn.softplus(both[2:])], 0))
    gradient = tape.gradient(loss, kernel.value)
    outcome = paired_step(cnn, keras.optimizers.SGD(1.0))(real, generated)
    np.testing.assert_allclose(before - kernel.numpy(), gradient, rtol=1e-3, atol=1e-6)
    assert float(outcome.loss) / 4 == pytest.approx(float(loss), rel=1e-5)
    np.testing.assert_array_equal(outcome.total, [2, 2])
    np.testing.assert_array_equal(outcome.right, [np.sum(both[:2] > 0), np.sum(both[2:] < 0)])


def test_g_learns_from_the_d_that_the_step_gave_in_inference_mode(cnn, segmentor):
    images = tf.random.stateless_uniform([2, 33, 33, 3], [0, 0], maxval=255.0)
    labels = tf.constant(np.random.default_rng(0).integers(0, 7, (2, 33, 33)), tf.uint8)
    maps = d.generated_maps(segmentor(images, training=False), labels, size=32, straight_through=True)
    generated = d.class_split(d.discriminator_images(images, 32), maps)
    before = float(losses.non_saturating(cnn(generated, training=False)))
    step = adversarial_step(
        segmentor, cnn, Momentum(segmentor.trainable_variables, learning_rate=0.0, momentum=0.9),
        adversarial_weight=1.0, straight_through=True, train_discriminator=paired_step(cnn, keras.optimizers.SGD(5.0)),
    )  # fmt: skip
    outcome = step(images, labels)
    after = float(losses.non_saturating(cnn(generated, training=False)))
    assert float(outcome.adv) == pytest.approx(after, rel=1e-4)
    assert abs(before - after) > 0.01
    step(images, labels)
    assert step.experimental_get_tracing_count() == 1


@pytest.fixture
def players(segmentor, few, tmp_path):
    trainer = DiscriminatorTrainer(
        small_discriminator(dropout=0.5),
        num_classes=7,
        options=DiscriminatorOptions(learning_rate=0.01, batch_size=4, paired=True, patience=1, epochs=1),
        seed=0,
    )
    options = AdversarialOptions(
        learning_rate=0.01, momentum=0.9, batch_size=3, weight=1.0, straight_through=True,
        steps_per_propagation=2, seed=0,
    )  # fmt: skip
    run = RunDirectory(tmp_path / 'run')
    with run.locked():
        players = LucPlayers(
            segmentor,
            trainer,
            Evaluator(segmentor, crop_size=(97, 129), batch_size=4),
            TrainingData(few[0], few[1], (97, 129)),
            options,
            run,
            StopSignal(),
            save_every=100,
        )
        players.snapshot('g0')
        yield players


LIMITS = Limits(
    beta_l=0.05, beta_u=0.001, patience=1, peak_patience=0, max_cycles=1, buffer_size=2, total_propagations=2
)  # fmt: skip


def drive(players, run, weights, stop):
    """One process: D's first weights, any state of its dropout, the log cut to the durable state, and on."""
    players.run = run
    players.trainer.model.set_weights(weights)
    players.trainer.seed_dropout(99)
    run.cut_events(run.read_state()['events_bytes'])
    return run_lookahead(players, LIMITS, run, watch=lambda *_: None, stop=stop, decide=alternate)


def end_of(run):
    lines = [json.loads(line) for line in run.events.read_text().splitlines()]
    snapshots = {p.name: run.read_snapshot(p.name) for p in run.checkpoints.iterdir()}
    return [{k: v for k, v in e.items() if k != 'time'} for e in lines], snapshots


def test_stopped_after_every_event_it_ends_bit_for_bit_the_same(players, tmp_path):
    g0, weights, ends = players.weights(), players.trainer.model.get_weights(), []
    for requested in (False, True):
        run = RunDirectory(tmp_path / f'stopped-{requested}')
        stop, stops = StopSignal(), 0
        stop.requested = requested
        with run.locked():
            run.save_snapshot('g0', g0)
            state = LoadState.initial(0.02)
            run.write_state({'load': state.to_json(), 'events_bytes': 0}, snapshots=['g0'], sets=['g0'])
            while True:
                try:
                    drive(players, run, weights, stop)
                    break
                except Stopped:
                    stops += 1
        assert stops == 3 * requested
        ends.append(end_of(run))
    assert ends[0][0] == ends[1][0]
    assert {'g0', 'discriminator-0', 'working-2'} <= set(ends[0][1]) == set(ends[1][1])
    for name, snapshot in ends[0][1].items():
        assert snapshot.keys() == ends[1][1][name].keys()
        assert all(np.array_equal(value, ends[1][1][name][key]) for key, value in snapshot.items())


def test_the_slots_of_d_are_fresh_when_the_turns_begin(players):
    players.propagate(0)
    assert int(players.trainer.optimizer.iterations) == 2
    players.restore('g0')
    assert int(players.trainer.optimizer.iterations) == 0
    slots = players.trainer.optimizer.variables[2:]  # After the counter and the learning rate.
    assert all(np.all(slot.numpy() == np.float32(0.1)) for slot in slots)


@pytest.mark.parametrize('steps', [1, 2])
def test_g_that_is_not_finite_is_taken_back_and_d_with_it(players, steps):
    """Either a weight of g overflows in the first step, or D gets to see maps of such weights in the second."""
    before = players.weights(), values(players.trainer.model)
    players.optimizer.learning_rate.assign(3e38 if steps == 2 else np.inf)
    losses = players.propagate(0)
    assert not losses.finite
    assert np.isnan(losses.accuracy)
    assert same(before[0].values(), players.weights().values())
    assert same(before[1], values(players.trainer.model))


def test_d_that_is_not_finite_names_the_propagation(players):
    players.trainer.optimizer.learning_rate.assign(3e38)
    with pytest.raises(
        UserError, match=r'discriminator is not finite in propagation 5; lower --discriminator_learning_rate'
    ):
        players.propagate(4)


@pytest.mark.parametrize('asked', [False, True])
def test_mixed_precision_is_handed_on_to_the_step(handed_on, asked):
    assert handed_on(mixed_precision=asked)['mixed_precision'] is asked
