"""What a copy of a run may have otherwise, by where the run stands; all else is refused before anything is copied."""

import dataclasses

import numpy as np
import pytest

from deeplab_load.config import Config
from deeplab_load.errors import UserError
from deeplab_load.lookahead.buffer import MapSet
from deeplab_load.lookahead.state import CYCLE, LoadState
from deeplab_load.runs import run_directory
from deeplab_load.training.stopping import StopSignal

BASELINE = {'load': LoadState.initial(0.5).to_json()}
TRAINING_D = {**BASELINE, 'training': {'title': 'discriminator-0', 'step': 3}}
END = MapSet('end-0', 'end-0', ending=True, propagation=2)
AFTER_A_CYCLE = {
    'load': dataclasses.replace(
        LoadState.initial(0.5), phase=CYCLE, cycle=1, buffer=(MapSet('g0', 'g0'), END)
    ).to_json(),
    'discriminator': 'discriminator-1',
}  # fmt: skip


@pytest.fixture
def fork(tmp_path, monkeypatch):
    monkeypatch.setattr(StopSignal, 'listen', lambda stop: None)

    def fork(state, before, changes, snapshot='g0'):
        options = {'dataset': 'shapes', 'run_dir': str(tmp_path / 'run'), 'pixelwise_epochs': 1, **before}
        with run_directory(Config(**options)) as run:
            run.directory.save_snapshot(snapshot, {'weight': np.zeros(1, np.float32)})
            run.directory.write_state({**run.directory.read_state(), **state}, snapshots=[snapshot])
        with run_directory(Config(**{**options, **changes}, fork=str(tmp_path / 'fork'))) as run:
            return run.directory.path

    return fork


@pytest.mark.parametrize(
    ('state', 'before', 'changes'),
    [
        ({}, {}, {'segmentor': 'a:b'}),
        ({}, {}, {'checkpoint': 'other'}),
        ({}, {}, {'fresh_head': 'logits'}),
        ({}, {}, {'pixelwise_epochs': 2}),
        ({'data': {}}, {}, {'holdout_fraction': 0.5}),
        ({'data': {}}, {}, {'train_split': 'val'}),
        ({'data': {}}, {}, {'min_resize_value': 65}),
        (BASELINE, {}, {'eval_crop_size': (65, 65)}),
        ({'evaluating': {'title': 'baseline', 'done': 128}}, {}, {'eval_crop_size': (65, 65)}),
        (TRAINING_D, {}, {'discriminator_dropout': 0.0}),
        (AFTER_A_CYCLE, {}, {'discriminator_slots': 'kept'}),
        (AFTER_A_CYCLE, {}, {'algorithm': 'luc', 'total_propagations': 9}),
        (AFTER_A_CYCLE, {}, {'algorithm': 'pixelwise'}),
        (AFTER_A_CYCLE, {'fakes': 'seen'}, {'fakes': 'all'}),
        (AFTER_A_CYCLE, {'fakes': 'seen'}, {'adversarial_batch_size': 6}),
        (AFTER_A_CYCLE, {'fakes': 'seen'}, {'steps_per_propagation': 2}),
        (AFTER_A_CYCLE, {'fakes': 'seen'}, {'seed': 1}),
    ],
)
def test_what_would_not_fit_is_refused(fork, tmp_path, state, before, changes):
    name = next(iter(changes))
    with pytest.raises(UserError, match=f'--{name} was .* a copy of it cannot have others'):
        fork(state, before, changes)
    assert not (tmp_path / 'fork').exists()


@pytest.mark.parametrize(
    ('state', 'before', 'changes'),
    [
        ({}, {}, {'eval_crop_size': (65, 65), 'discriminator_slots': 'kept', 'mixed_precision': True}),
        (BASELINE, {'algorithm': 'pixelwise'}, {'algorithm': 'load', 'fakes': 'seen', 'seed': 1}),
        (TRAINING_D, {}, {'algorithm': 'luc', 'total_propagations': 9}),
        (TRAINING_D, {'fakes': 'seen'}, {'fakes': 'all', 'steps_per_propagation': 2}),
        (AFTER_A_CYCLE, {}, {'fakes': 'seen', 'adversarial_batch_size': 6, 'buffer_size': 2}),
    ],
)
def test_what_fits_is_taken(fork, tmp_path, state, before, changes):
    assert fork(state, before, changes) == tmp_path / 'fork'


def test_stage_1_that_is_not_over_cannot_be_left_out(fork, tmp_path):
    state = {'training': {'title': 'stage-1', 'step': 3}}
    with pytest.raises(UserError, match=r'Stage 1 of the run in .* is not over'):
        fork(state, {'checkpoint': 'a'}, {'pixelwise_epochs': 0}, snapshot='stage-1-step-3')
    assert not (tmp_path / 'fork').exists()


def test_a_mistyped_run_is_told_and_not_made(tmp_path):
    config = Config(dataset='shapes', run_dir=str(tmp_path / 'rnu'), fork=str(tmp_path / 'fork'))
    with pytest.raises(UserError, match='rnu holds no run; there is nothing to copy'), run_directory(config):
        pass
    assert list(tmp_path.iterdir()) == []
