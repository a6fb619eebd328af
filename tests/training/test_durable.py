"""The run directory: what is durable, what is cut off, what is refused."""

import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

from deeplab_load import files
from deeplab_load.errors import UserError
from deeplab_load.lookahead.events import Baseline
from deeplab_load.training.durable import RunDirectory


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / 'checkpoints' / 'deeplabv3').mkdir(parents=True)
    with pytest.raises(UserError, match=r'holds checkpoints/deeplabv3 but no config\.json'):
        RunDirectory(tmp_path).locked().__enter__()
    assert (tmp_path / 'checkpoints' / 'deeplabv3').exists()


@pytest.mark.parametrize('config', ['{"model_type": "bert"}', '{"dataset": "mine"}', '[]', '{'])
def test_a_folder_with_a_config_json_that_is_no_runs_is_refused_and_left_alone(tmp_path, config):
    (tmp_path / 'config.json').write_text(config)
    with pytest.raises(UserError, match=r'holds config\.json but no config\.json of a run'):
        RunDirectory(tmp_path).locked().__enter__()
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [('config.json', config)]


@pytest.mark.parametrize('config', ['{"dataset": "shapes", "versions": {}}', '{'])
def test_a_config_json_of_ours_or_beside_a_state_is_a_runs(tmp_path, config):
    (tmp_path / 'config.json').write_text(config)
    if config == '{':
        (tmp_path / 'state.json').touch()
    with RunDirectory(tmp_path).locked():
        assert (tmp_path / 'config.json').read_text() == config


def test_a_run_may_lie_in_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    assert RunDirectory('~/runs/x').path == tmp_path / 'runs' / 'x'


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
    run.save_snapshot('g0', {'a': np.zeros(1)})
    run.write_state({'events_bytes': 0}, snapshots=['g0'])
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


def begin(run, *names):
    """A durable state for each name, which needs the snapshot of that name, and one event each."""
    for number, name in enumerate(names):
        run.save_snapshot(name, {'a': np.array([number, 1.5])})
        length = run.append(Baseline(miou=number / 10, val_miou=0.2))
        run.write_state({'events_bytes': length, 'number': number}, snapshots=[name])


def test_what_the_last_two_states_do_not_need_is_deleted(run):
    (run.checkpoints / 'mine').mkdir()
    (run.checkpoints / 'notes.txt').touch()
    for name in ('g0', 'end-0', '.end-1.partial'):
        (run.buffer / name).mkdir(parents=True)
    run.save_snapshot('g0', {'a': np.zeros(1)})
    run.write_state({'events_bytes': 0}, snapshots=['g0'], sets=['end-0'])
    begin(run, 'end-0', 'working-3')
    assert sorted(p.name for p in run.checkpoints.iterdir()) == ['end-0', 'mine', 'notes.txt', 'working-3']
    assert [p.name for p in run.buffer.iterdir()] == []


def test_the_state_is_replaced_whole(run):
    assert run.read_state() == {}
    run.write_state({'load': {'mu': 0.1 + 0.2}, 'events_bytes': 0}, snapshots=())
    assert run.read_state()['load'] == {'mu': 0.1 + 0.2}
    assert not list(run.path.glob('.part*'))


def test_leftovers_are_cleaned_at_the_next_start(run):
    begin(run, 'g0')
    (run.path / '.part-state.json').write_text('{')
    (run.checkpoints / '.part-working-1').mkdir()
    run.recover()
    assert not list(run.path.rglob('.part*'))


def flip(file, place=-9):
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)


def cut(file):
    file.write_bytes(file.read_bytes()[:-2])


def empty(file):
    file.write_bytes(b'')


DAMAGES = [
    *[(damage, 'state.json') for damage in (cut, flip, empty, pathlib.Path.unlink)],
    *[
        (damage, f'checkpoints/working-2/model.ckpt.{part}')
        for part in ('index', 'data-00000-of-00001')
        for damage in (cut, flip, empty, pathlib.Path.unlink)
    ],
    (files.remove, 'checkpoints/working-2'),
    (cut, 'events.jsonl'),
    (flip, 'events.jsonl'),
]


@pytest.mark.parametrize(('damage', 'place'), DAMAGES)
def test_damage_to_the_newest_state_falls_back_to_the_one_before_with_a_warning(run, capsys, damage, place):
    begin(run, 'g0', 'working-1', 'working-2')
    damage(run.path / place)
    assert run.recover()['number'] == 1
    at_fault = place.split('/model')[0]
    warning = f'Warning: .*{at_fault} .*(damaged|missing).*the state before'
    assert re.search(warning, capsys.readouterr().out)
    assert run.read_state()['number'] == 1
    assert run.recover()['number'] == 1
    assert capsys.readouterr().out == ''
    assert run.read_snapshot('working-1')['a'][0] == 1


@pytest.mark.parametrize('damage', [cut, flip, empty])
def test_damage_to_the_state_before_the_newest_alone_stops_nothing(run, capsys, damage):
    begin(run, 'g0', 'working-1', 'working-2')
    damage(run.previous_state_file)
    assert run.recover()['number'] == 2
    warning = r'Warning: .*state\.previous\.json is damaged\. The run goes on from the newest state, which is whole'
    assert re.search(warning, capsys.readouterr().out)
    assert run.recover()['number'] == 2
    assert capsys.readouterr().out == ''
    empty(run.state_file)
    assert run.recover()['number'] == 2


def test_a_digit_changed_in_the_state_is_seen(run):
    begin(run, 'g0')
    run.state_file.write_text(run.state_file.read_text().replace('"number": 0', '"number": 5'))
    with pytest.raises(UserError, match=r'state\.json is damaged'):
        run.recover()


@pytest.mark.parametrize('name', ['state.json', 'checkpoints/working-2', 'events.jsonl'])
def test_where_both_states_are_damaged_nothing_starts_from_scratch(run, name):
    begin(run, 'g0', 'working-1', 'working-2')
    files.remove(run.path / name)
    flip(run.previous_state_file)
    with pytest.raises(UserError, match=r'state\.previous\.json is damaged; put back a copy of it'):
        run.recover()


def test_a_fork_is_a_whole_copy_with_other_options(run, tmp_path):
    begin(run, 'g0', 'working-1')
    run.adopt_config({'beta_u': 0.001, 'model_variant': 'a'}, unbound=[])
    changed = {'beta_u': 0.5, 'model_variant': 'a'}
    with pytest.raises(UserError, match='--model_variant was a and is b'):
        run.copy(tmp_path / 'fork', {'beta_u': 0.5, 'model_variant': 'b'}, fixed=['model_variant'])
    assert not (tmp_path / 'fork').exists()
    run.copy(tmp_path / 'fork', changed, fixed=['model_variant'])
    fork = RunDirectory(tmp_path / 'fork')
    with fork.locked():
        assert fork.recover() == run.read_state()
        fork.adopt_config(changed, unbound=[])
        assert fork.is_fork_of(run)
        assert not fork.is_fork_of(RunDirectory(tmp_path / 'other'))
        with pytest.raises(UserError, match=r'--beta_u was 0\.5 and is 0\.6'):
            fork.adopt_config({**changed, 'beta_u': 0.6}, unbound=[])
    assert json.loads((run.path / 'config.json').read_text())['beta_u'] == 0.001


def test_a_run_that_has_not_begun_cannot_be_forked(run, tmp_path):
    with pytest.raises(UserError, match='no run that has begun'):
        run.copy(tmp_path / 'fork', {}, fixed=[])


def test_a_missing_state_is_told(run):
    begin(run, 'g0')
    run.state_file.unlink()
    with pytest.raises(UserError, match=r'state\.json is missing'):
        run.read_state()


def test_a_damaged_snapshot_is_told(run):
    begin(run, 'g0')
    cut(run.checkpoints / 'g0' / 'model.ckpt.data-00000-of-00001')
    for name in ('g0', 'end-0'):
        with pytest.raises(UserError, match=f'snapshot .*{name} of this run is missing or damaged'):
            run.read_snapshot(name)


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    files.write_text(tmp_path / 'file', 'text')
    with pytest.raises(UserError, match='cannot be written'), RunDirectory(tmp_path / 'file' / 'run').locked():
        pass
