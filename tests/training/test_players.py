"""The TensorFlow players: what a propagation does and undoes, snapshots, sets."""

import dataclasses

import numpy as np
import pytest

from deeplab_load import files
from deeplab_load.data import label_maps
from deeplab_load.data.batches import permutation
from deeplab_load.errors import UserError
from deeplab_load.evaluation.evaluation import Evaluator
from deeplab_load.lookahead.buffer import MapSet
from deeplab_load.models.discriminator import build_discriminator
from deeplab_load.training.discriminator import DiscriminatorOptions, DiscriminatorTrainer
from deeplab_load.training.durable import RunDirectory
from deeplab_load.training.players import AdversarialOptions, TensorFlowPlayers, TrainingData
from deeplab_load.training.stopping import StopSignal

G0 = MapSet('g0', 'g0')


@pytest.fixture
def players(small_segmentor, few, tmp_path):
    trainer = DiscriminatorTrainer(
        build_discriminator(7, size=32, alpha=0.25),
        num_classes=7,
        options=DiscriminatorOptions(learning_rate=0.01, batch_size=4, paired=False, patience=1, epochs=1),
        seed=0,
    )
    options = AdversarialOptions(
        learning_rate=0.01, momentum=0.9, batch_size=3, weight=1.0, straight_through=False,
        steps_per_propagation=2, seed=0,
    )  # fmt: skip
    run = RunDirectory(tmp_path / 'run')
    with run.locked():
        run.write_state({'events_bytes': 0}, snapshots=())
        players = TensorFlowPlayers(
            small_segmentor,
            trainer,
            Evaluator(small_segmentor, crop_size=(97, 129), batch_size=4),
            TrainingData(few[0], few[1], (97, 129)),
            options,
            run,
            StopSignal(),
            save_every=100,
        )
        players.snapshot('g0')
        yield players


def same(first, second):
    return all(np.array_equal(first[k], second[k]) for k in first)


def test_a_propagation_changes_g_and_a_snapshot_brings_it_back(players):
    before = players.weights()
    assert players.propagate(0).finite
    assert not same(before, players.weights())
    assert any(np.any(s) for s in players.optimizer.slots)
    players.restore('g0')
    assert same(before, players.weights())
    assert not any(np.any(s) for s in players.optimizer.slots)


def test_a_propagation_is_a_function_of_its_number(players):
    first = players.propagate(3)
    players.restore('g0')
    players.propagate(0)
    players.restore('g0')
    assert players.propagate(3) == first


def test_the_working_state_goes_on_in_the_middle_of_a_cycle(players):
    players.propagate(0)
    players.save_working_state('working-1')
    players.propagate(1)
    after = players.weights()
    players.restore('g0')
    players.restore_working_state('working-1')
    players.propagate(1)
    assert same(after, players.weights())


def test_a_propagation_that_is_not_finite_is_taken_back_and_stores_nothing_of_it(players):
    players.propagate(0)
    before = players.weights()
    players.optimizer.learning_rate.assign(3e38)
    losses = players.propagate(1)
    assert not losses.finite
    assert same(before, players.weights())
    players.save_working_state('working-2')
    assert all(np.all(np.isfinite(v)) for v in players.run.read_snapshot('working-2').values())


def test_a_set_holds_every_map_and_is_made_again_where_it_was_deleted(players):
    players.make_maps(G0)
    stored = label_maps.read_set(players.run.buffer, 'g0')
    assert stored.ids('train') == players.data.train.ids
    assert stored.ids('holdout') == players.data.holdout.ids
    label_maps.delete_set(players.run.buffer, 'g0')
    outcome = players.retrain_discriminator(0, (G0,))
    assert outcome.epochs == 1
    assert label_maps.read_set(players.run.buffer, 'g0').manifest == stored.manifest


def test_kept_momentum_outlives_a_step_back_but_not_what_is_not_finite(players):
    players.keeps_slots = True
    players.propagate(0)
    slots = [s.numpy() for s in players.optimizer.slots]
    players.restore('g0')
    assert all(np.array_equal(s, before) for s, before in zip(players.optimizer.slots, slots, strict=True))
    players.optimizer.learning_rate.assign(3e38)
    assert not players.propagate(1).finite
    assert not any(np.any(s) for s in players.optimizer.slots)


def test_fakes_of_seen_images_are_those_that_the_run_had_trained_on(players):
    players.options = dataclasses.replace(players.options, fakes_of_seen=True)
    end = MapSet('end-0', 'g0', ending=True, propagation=1)  # Two steps of three images: half of the twelve.
    for map_set in (G0, end):
        players.make_maps(map_set)
    sets = [label_maps.read_set(players.run.buffer, name) for name in ('g0', 'end-0')]
    assert sets[0].ids('train') == players.data.train.ids
    assert sets[0].ids('holdout') == sets[1].ids('holdout') == players.data.holdout.ids
    numbers = permutation(0, 0, 12)[:6]
    assert sets[1].ids('train') == tuple(players.data.train.ids[i] for i in sorted(numbers))
    assert players.retrain_discriminator(1, (G0, end)).epochs == 1


def test_repair_makes_a_shard_again_to_the_same_bytes(players, capsys, monkeypatch):
    monkeypatch.setattr('deeplab_load.training.players.MAPS_PER_SHARD', 5)
    players.make_maps(G0)
    shard = players.run.buffer / 'g0' / 'train.tfrecord-00001-of-00003'
    before = shard.read_bytes()
    shard.write_bytes(before[:-3])
    with pytest.raises(UserError, match=r'00001-of-00003 is cut.*--repair'):
        players.retrain_discriminator(0, (G0,))
    players.propagate(0)
    players.repair(G0)
    assert shard.read_bytes() == before
    assert 'train.tfrecord-00001-of-00003 made again' in capsys.readouterr().out
    shard.unlink()
    files.remove(players.run.checkpoints / 'g0')
    with pytest.raises(UserError, match=r'snapshot .*g0 of this run is missing'):
        players.repair(G0)


def test_a_set_of_another_model_is_refused(players):
    players.make_maps(G0)
    players.propagate(0)
    players.snapshot('end-0')
    (players.run.buffer / 'g0').rename(players.run.buffer / 'end-0')
    with pytest.raises(Exception, match='model'):
        players.retrain_discriminator(1, (MapSet('end-0', 'end-0'),))


def test_the_discriminator_comes_back(players):
    players.save_discriminator('discriminator-0')
    before = players.trainer.model.get_weights()
    players.trainer.model.set_weights([w + 1 for w in before])
    players.restore_discriminator('discriminator-0')
    assert all(np.array_equal(a, b) for a, b in zip(players.trainer.model.get_weights(), before, strict=True))


def test_the_holdout_miou_is_a_fraction(players):
    assert 0 <= players.evaluate() <= 1


@pytest.mark.parametrize('asked', [False, True])
def test_mixed_precision_is_handed_on_to_the_step(handed_on, asked):
    assert handed_on(mixed_precision=asked)['mixed_precision'] is asked
