"""Training on several devices and in several processes: the losses and decisions of one device."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from deeplab_load.data.service import is_copied
from deeplab_load.errors import UserError
from deeplab_load.training.devices import Devices
from deeplab_load.training.distribution import open_distribution

from ..input_service import InputService
from ..lookahead.replay import replay_run
from ..parity import DEADLINE, measure, start_workers

OPTIONS = (
    '--dataset=shapes', '--train_split=val', '--eval_batch_size=10', '--steps_per_propagation=2', '--patience=2',
    '--total_cycles=2', '--segmentor=tests.foreign_segmentors:plain', '--adversarial_batch_size=4',
    '--adversarial_learning_rate=0.01', '--save_every=2', '--discriminator=cnn', '--discriminator_size=32',
    '--discriminator_alpha=0.25', '--discriminator_epochs=1',
)  # fmt: skip
DECISIONS = ('event', 'cycle', 'gamma', 'omega', 'raised', 'reason', 'peak', 'psi', 'buffer', 'sets', 'cycles')
FIGURES = ('miou', 'start_miou', 'best_miou', 'loss_ce', 'loss_adv', 'holdout_loss', 'val_miou')


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp('data')


@pytest.fixture(scope='module')
def trained(data_dir):
    """What was trained on each strategy; of two workers, by each of them."""
    (alone,) = measure(['mirrored:2', 'one_device:1'], data_dir)
    workers = measure(['multi_worker:2'], data_dir, processes=2)
    return {**alone, 'worker 0': workers[0]['multi_worker:2'], 'worker 1': workers[1]['multi_worker:2']}


@pytest.mark.parametrize('strategy', ['mirrored:2', 'worker 0', 'worker 1'])
def test_ten_steps_of_every_training_have_the_losses_of_one_device(trained, strategy):
    expected, found = trained['one_device:1']['trainings'], trained[strategy]['trainings']
    assert expected.keys() == found.keys()
    for name, training in expected.items():
        assert len(training['losses']) == (1 if name == 'discriminator, one couple' else 10)
        np.testing.assert_allclose(found[name]['losses'], training['losses'], rtol=1e-5, atol=0, err_msg=name)
        assert found[name]['norm'] == pytest.approx(training['norm'], rel=1e-6)


def test_the_workers_train_the_same_weights(trained):
    for name, training in trained['worker 0']['trainings'].items():
        assert trained['worker 1']['trainings'][name]['norm'] == training['norm']


@pytest.mark.parametrize('singly', [False, True])
@pytest.mark.parametrize('strategy', ['mirrored:2', 'worker 0', 'worker 1'])
def test_evaluation_counts_every_pixel_once(trained, strategy, singly):
    expected, found = (np.array(trained[s]['counts'][singly]) for s in ('one_device:1', strategy))
    np.testing.assert_array_equal(found.sum(axis=1), expected.sum(axis=1))
    assert np.count_nonzero(expected.sum(axis=0)) > 1
    assert np.abs(found - expected).sum() <= 1e-4 * expected.sum()  # Ties.


def start(run_dir, data_dir, *more, workers=1):
    command = [sys.executable, '-m', 'deeplab_load.main', *OPTIONS, f'--run_dir={run_dir}', f'--data_dir={data_dir}']
    return start_workers([*command, *more], workers, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(processes):
    """Waits; returns the status, output and errors of each."""
    outputs = [process.communicate(timeout=DEADLINE) for process in processes]
    return [(process.returncode, *output) for process, output in zip(processes, outputs, strict=True)]


def events(folder):
    lines = map(json.loads, (folder / 'events.jsonl').read_text().splitlines())
    return [event for event in lines if event['event'] != 'resume']


def state(folder):
    return json.loads((folder / 'state.json').read_text())


def test_a_killed_worker_stops_the_others_and_the_run_goes_on_as_on_one_device(tmp_path, data_dir):
    ((status, _, errors),) = finish(start(tmp_path / 'one', data_dir))
    assert status == 0, errors
    folder = tmp_path / 'two'
    processes = start(folder, data_dir, '--strategy=multi_worker', workers=2)
    deadline = time.monotonic() + DEADLINE
    while not (folder / 'events.jsonl').exists() or events(folder)[-1]['event'] != 'propagation':
        assert time.monotonic() < deadline
        time.sleep(0.05)
    processes[1].kill()
    status, _, errors = finish(processes)[0]
    assert (status, errors.count('Traceback')) == (2, 0), errors
    assert 'deeplab_load: Another worker has stopped or cannot be reached' in errors
    for status, _, errors in finish(start(folder, data_dir, '--strategy=multi_worker', workers=2)):
        assert status == 0, errors
    assert replay_run(folder) == []
    expected, found = events(tmp_path / 'one'), events(folder)
    assert [[e.get(key) for key in DECISIONS] for e in found] == [[e.get(k) for k in DECISIONS] for e in expected]
    # Later, what D's batch norm makes of rounding shows.
    for one, two in list(zip(expected, found, strict=True))[:6]:
        for key in FIGURES:
            assert two.get(key) == (None if one.get(key) is None else pytest.approx(one[key], rel=1e-4)), (one, key)
    # A run of two processes goes on as one, and the other way round.
    ((status, output, errors),) = finish(start(folder, data_dir, '--total_cycles=3'))
    assert status == 0, errors
    assert output.count('cycle 2  γ') == 2


def test_a_worker_that_waits_for_the_others_says_so_and_can_be_ended(tmp_path, data_dir):
    waiting, absent = start(tmp_path / 'run', data_dir, '--strategy=multi_worker', workers=2)
    absent.kill()
    absent.communicate()
    while 'waits' not in (line := waiting.stdout.readline()):
        assert line, waiting.stderr.read()
    assert line == 'Worker 0 waits until all 2 have started.\n'
    time.sleep(1)
    waiting.send_signal(signal.SIGINT)
    waiting.communicate(timeout=30)
    assert waiting.returncode == -signal.SIGINT
    assert not (tmp_path / 'run').exists()


def test_a_run_of_one_worker_or_two_takes_its_batches_from_an_input_worker(tmp_path, data_dir):
    options = ('--algorithm=pixelwise', '--training_number_of_steps=3')
    service = InputService()
    try:
        service.add_worker()
        remote = (*options, f'--data_service={service.address}')
        processes = start(tmp_path / 'two', data_dir, *remote, '--strategy=multi_worker', workers=2)
        processes += start(tmp_path / 'remote', data_dir, *remote)
        found = finish(processes + start(tmp_path / 'here', data_dir, *options))
    finally:
        service.end()
    assert [status for status, _, _ in found] == [0] * 4, found
    two, remote, here = (tmp_path / name for name in ('two', 'remote', 'here'))
    assert is_copied(remote / 'cache/train', state(remote)['data']['train'])
    assert [e.get('miou') for e in events(remote)] == [e.get('miou') for e in events(here)]
    assert state(remote)['baseline'] == state(here)['baseline']
    for one, other in zip(events(here), events(two), strict=True):
        assert other.get('miou') == (None if one.get('miou') is None else pytest.approx(one['miou'], rel=1e-4))
    moved = np.abs(np.subtract(state(two)['baseline'], state(here)['baseline'])).sum()
    assert moved <= 1e-4 * np.sum(state(here)['baseline'])


LOST = 'does not find its place among the workers:'


@pytest.mark.parametrize(
    ('settings', 'tf_config', 'sentence'),
    [
        ({'strategy': 'mirrored'}, None, 'finds no GPU; give --replicas to split the CPUs'),
        ({'strategy': 'multi_worker'}, None, f'{LOST} the environment variable TF_CONFIG is not set; give TF_CONFIG='),
        (
            {'strategy': 'multi_worker'},
            '{"cluster": {}}',
            f"{LOST} the environment variable TF_CONFIG has no 'task'; give",
        ),
        ({'strategy': 'multi_worker'}, '{"cluster', f'{LOST} the environment variable TF_CONFIG is no JSON; give'),
        (
            {'strategy': 'multi_worker'},
            '{"cluster": {"worker": {"0": "a:2222"}}, "task": {"type": "worker", "index": 0}}',
            f'{LOST} the worker of TF_CONFIG is no list; give',
        ),
        ({'strategy': 'multi_worker'}, '[1]', f'{LOST} the task of TF_CONFIG is not in its cluster; give'),
        (
            {'strategy': 'multi_worker'},
            '{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "worker", "index": 0}}',
            'has workers only, no ps',
        ),
        (
            {'strategy': 'multi_worker'},
            '{"cluster": {"worker": ["a:1", "b"]}, "task": {"type": "worker", "index": 0}}',
            f"{LOST} 'b' in TF_CONFIG is not of the form host:port; give",
        ),
        (
            {'strategy': 'multi_worker'},
            '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
            f'{LOST} the task of TF_CONFIG is not in its cluster; give',
        ),
    ],
)
def test_devices_that_are_not_there_are_told(monkeypatch, settings, tf_config, sentence):
    monkeypatch.delenv('TF_CONFIG', raising=False)
    if tf_config:
        monkeypatch.setenv('TF_CONFIG', tf_config)
    with pytest.raises(UserError, match=sentence):
        open_distribution(Devices(**settings))


def test_replicas_are_for_mirrored():
    with pytest.raises(UserError, match='--replicas=2 is for --strategy=mirrored'):
        Devices(replicas=2)
