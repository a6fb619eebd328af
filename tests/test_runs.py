"""Evaluations that go on after a kill, exports that a kill left unrecorded, determinism, and mixed precision."""

import numpy as np
import pytest
import tensorflow as tf

from deeplab_load import runs, stages
from deeplab_load.config import Config
from deeplab_load.runs import Run, run_directory
from deeplab_load.training.distribution import ONE_DEVICE
from deeplab_load.training.durable import RunDirectory
from deeplab_load.training.stopping import StopSignal


class Killed(BaseException):
    pass


class Examples:
    def __init__(self, ids):
        self.ids = tuple(ids)

    def __len__(self):
        return len(self.ids)

    def subset(self, ids):
        return Examples(ids)


class Judge:
    """Counts each image once; is killed at the `kill_at`-th evaluation."""

    batch_size = 48

    def __init__(self, kill_at=0):
        self.seen, self.kill_at = [], kill_at

    def confusion(self, examples, title):
        if len(self.seen) + 1 == self.kill_at:
            raise Killed
        self.seen.append(examples.ids)
        return np.array([[len(examples), sum(examples.ids)], [0, 1]])


@pytest.fixture
def run(tmp_path):
    directory = RunDirectory(tmp_path / 'run')
    with directory.locked():
        directory.write_state({'events_bytes': 0}, snapshots=())
        yield Run(directory, StopSignal(), ONE_DEVICE)


def test_a_killed_evaluation_goes_on_after_its_last_chunk(run):
    examples, undisturbed, first, second = Examples(range(400)), Judge(), Judge(kill_at=3), Judge()
    expected = stages._confusion(run, undisturbed, examples, 'undisturbed')
    np.testing.assert_array_equal(expected, [[400, sum(range(400))], [0, 3]])
    with pytest.raises(Killed):
        stages._confusion(run, first, examples, 'baseline')
    np.testing.assert_array_equal(stages._confusion(run, second, examples, 'baseline'), expected)
    assert first.seen + second.seen == undisturbed.seen
    assert [len(ids) for ids in undisturbed.seen] == [144, 144, 112]  # Whole batches.


def test_the_sums_of_another_evaluation_are_not_taken(run):
    stages._confusion(run, Judge(), Examples(range(10)), 'baseline')
    judge = Judge()
    stages._confusion(run, judge, Examples(range(5)), 'best model')
    assert judge.seen == [(0, 1, 2, 3, 4)]


@pytest.mark.parametrize(
    ('gpus', 'asked', 'wanted'),
    [([], None, True), (['GPU:0'], None, False), ([], False, False), (['GPU:0'], True, True)],
)
def test_operations_are_deterministic_on_cpus_unless_asked(tmp_path, monkeypatch, gpus, asked, wanted):
    asked_for = []
    monkeypatch.setattr(tf.config, 'list_physical_devices', lambda kind: gpus)
    monkeypatch.setattr(tf.config.experimental, 'enable_op_determinism', lambda: asked_for.append(True))
    monkeypatch.setattr(StopSignal, 'listen', lambda stop: None)
    with run_directory(Config(dataset='shapes', run_dir=str(tmp_path / 'run'), deterministic=asked)):
        assert bool(asked_for) == wanted


@pytest.mark.parametrize(('asked', 'gains', 'told'), [(True, False, True), (True, True, False), (False, False, False)])
def test_mixed_precision_that_gains_nothing_is_told(tmp_path, monkeypatch, capsys, asked, gains, told):
    monkeypatch.setattr(runs, 'gains_from_mixed_precision', lambda: gains)
    monkeypatch.setattr(StopSignal, 'listen', lambda stop: None)
    with run_directory(Config(dataset='shapes', run_dir=str(tmp_path / 'run'), mixed_precision=asked)):
        assert ('--mixed_precision may make training slower here' in capsys.readouterr().out) == told


def test_versions_that_were_not_recorded_are_removed(tmp_path):
    for name in ('1', '2', '3', 'mine'):
        (tmp_path / name).mkdir()
    stages._remove_unrecorded(tmp_path, '1')
    assert sorted(p.name for p in tmp_path.iterdir()) == ['1', 'mine']


@pytest.mark.parametrize('asked', [False, True])
def test_mixed_precision_is_an_option_of_the_adversarial_stage_too(asked):
    assert stages._adversarial_options(Config(dataset='shapes', mixed_precision=asked)).mixed_precision is asked
