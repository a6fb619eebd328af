"""The run directory: what is durable, what is cut off, what is refused."""

import json
import subprocess
import sys

import numpy as np
import pytest

from deeplab_load.errors import UserError
from deeplab_load.lookahead.events import Baseline
from deeplab_load.training.durable import RunDirectory, write_atomically


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / 'checkpoints' / 'deeplabv3').mkdir(parents=True)
    with pytest.raises(UserError, match=r'holds checkpoints/deeplabv3 but no config\.json'):
        RunDirectory(tmp_path).locked().__enter__()
    assert (tmp_path / 'checkpoints' / 'deeplabv3').exists()


@pytest.fixture
def run(tmp_path):
    directory = RunDirectory(tmp_path / 'run')
    with directory.locked():
        yield directory


def test_a_second_process_is_refused(run):
    program = (
        'from deeplab_load.training.durable import RunDirectory\n'
        'from deeplab_load.errors import UserError\n'
        'try:\n'
        f'    with RunDirectory({str(run.path)!r}).locked(): print("in")\n'
        'except UserError as error: print(error)'
    )
    outcome = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, check=True)
    assert outcome.stdout.strip() == f'--run_dir={run.path} is in use by another process; choose another folder.'


def test_the_lock_is_free_afterwards(tmp_path):
    for _ in range(2):
        with RunDirectory(tmp_path).locked():
            assert (tmp_path / 'checkpoints').is_dir()


def test_a_changed_option_is_named_with_both_values_once_the_run_has_begun(run):
    config = {'beta_u': 0.001, 'patience': 5, 'data_dir': 'data'}
    run.adopt_config({**config, 'patience': 6}, unbound=['data_dir'])
    run.adopt_config(config, unbound=['data_dir'])
    run.write_state({'load': {}})
    run.adopt_config({**config, 'data_dir': 'other'}, unbound=['data_dir'])
    with pytest.raises(UserError, match=r'--beta_u was 0\.001 and is 0\.005'):
        run.adopt_config({**config, 'beta_u': 0.005}, unbound=['data_dir'])
    assert json.loads((run.path / 'config.json').read_text()) == {**config, 'data_dir': 'other'}


def test_events_after_the_durable_state_are_cut_off(run):
    length = run.append(Baseline(miou=0.1, val_miou=0.2))
    run.append(Baseline(miou=0.3, val_miou=float('nan')))
    assert json.loads(run.events.read_text().splitlines()[1])['val_miou'] is None
    run.cut_events(length)
    (line,) = run.events.read_text().splitlines()
    assert {k: v for k, v in json.loads(line).items() if k != 'time'} == {
        'event': 'baseline', 'miou': 0.1, 'val_miou': 0.2,
    }  # fmt: skip


def test_snapshots_come_back_bit_for_bit_and_may_be_replaced(run):
    values = {'a/weights': np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32), 'b': np.float32(np.pi)}
    run.save_snapshot('g0', {'a/weights': np.zeros(1, np.float32)})
    run.save_snapshot('g0', values)
    back = run.read_snapshot('g0')
    assert set(back) == set(values)
    assert all(np.array_equal(back[k], v) for k, v in values.items())
    assert sorted(p.name for p in run.checkpoints.iterdir()) == ['g0']


def test_prune_keeps_what_is_named(run):
    for name in ('g0', 'end-0', 'working-3'):
        run.save_snapshot(name, {'a': np.zeros(1)})
    (run.checkpoints / '.part-end-1').mkdir()
    (run.checkpoints / 'mine').mkdir()
    (run.checkpoints / 'notes.txt').touch()
    (run.buffer / 'end-0').mkdir(parents=True)
    (run.buffer / 'g0').mkdir()
    run.prune(snapshots=['g0', 'end-0'], sets=['g0'])
    assert sorted(p.name for p in run.checkpoints.iterdir()) == ['end-0', 'g0', 'mine', 'notes.txt']
    assert [p.name for p in run.buffer.iterdir()] == ['g0']


def test_the_state_is_replaced_whole(run):
    assert run.read_state() == {}
    run.write_state({'load': {'mu': 0.1 + 0.2}})
    assert run.read_state() == {'load': {'mu': 0.1 + 0.2}}
    assert not list(run.path.glob('.part*'))


def test_a_missing_state_a_cut_log_and_a_damaged_snapshot_are_told(run):
    length = run.append(Baseline(miou=0.1, val_miou=0.2))
    assert run.read_state() == {}
    run.append(Baseline(miou=0.1, val_miou=0.2))
    with pytest.raises(UserError, match=r'state\.json is missing'):
        run.read_state()
    run.cut_events(length)
    with pytest.raises(UserError, match=r'events\.jsonl is cut or missing'):
        run.cut_events(length + 1)
    run.save_snapshot('g0', {'a': np.zeros(3)})
    data = run.checkpoints / 'g0' / 'model.ckpt.data-00000-of-00001'
    data.write_bytes(data.read_bytes()[:-1])
    for name in ('g0', 'end-0'):
        with pytest.raises(UserError, match=f'snapshot .*{name} of this run is missing or damaged'):
            run.read_snapshot(name)


def test_a_damaged_state_is_told_and_not_taken_for_none(run):
    run.write_state({'load': 1})
    run.state_file.write_text('{"load": ')
    with pytest.raises(UserError, match=r'state.json is damaged'):
        run.read_state()


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    write_atomically(tmp_path / 'file', 'text')
    with pytest.raises(UserError, match='cannot be written'), RunDirectory(tmp_path / 'file' / 'run').locked():
        pass
