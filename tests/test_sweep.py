"""A sweep of scripted runs: it goes on where it stopped, past what fails, and fills the article's tables."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from deeplab_load import sweep

from .reporting.scripted import write_run

# Stands in for the main job: writes a finished run, or fails or waits where its folder says so.
MAIN = """
import pathlib, shutil, sys, time
from absl import flags
from deeplab_load.absl_flags import define_flags, from_flags
from deeplab_load.config import Config
from tests.reporting.scripted import write_run
define_flags(Config)
flags.FLAGS(sys.argv)
config = from_flags(Config)
folder = pathlib.Path(config.run_dir)
home = folder.parents[1]
with open(home / 'tape', 'a') as tape:
    tape.write(f'{folder.parent.name}/{folder.name}\\n')
if (home / 'fails').exists() and config.beta_u == 0.005:
    sys.exit('deeplab_load: the disk is full.')
if (home / 'waits').exists():
    import signal
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    time.sleep(60)
shutil.rmtree(folder, ignore_errors=True)
options = {name: getattr(config, name) for name in ('beta_u', 'total_cycles', 'dataset', 'export')}
write_run(folder, seed=config.seed, samples=False, gain=0.02, patience=config.patience, peak_patience=10, **options)
"""
ARGUMENTS = ['--dataset=stanford_background', '--total_cycles=2', '--patience=12', '--seeds=0,1']
GRID = '--grid=beta_u:0.001,0.005'


@pytest.fixture
def home(tmp_path, monkeypatch):
    (tmp_path / 'main.py').write_text(MAIN)
    monkeypatch.setattr(sweep, 'MAIN', (sys.executable, str(tmp_path / 'main.py')))
    monkeypatch.setenv('PYTHONPATH', os.getcwd())
    folder = tmp_path / 'sweep'
    folder.mkdir()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield folder
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def bare(home, monkeypatch):
    """A sweep that fills no tables."""
    monkeypatch.setattr(sweep, 'fill', lambda *_, **__: None)
    return home


def run(home, *more):
    with pytest.raises(SystemExit) as end:
        sweep.main([*ARGUMENTS, GRID, f'--run_dir={home}', *more])
    return end.value.code


def tape(home):
    file = home / 'tape'
    return file.read_text().splitlines() if file.exists() else []


NAMES = [f'beta_u={value}/seed={seed}' for value in ('0.001', '0.005') for seed in (0, 1)]


def test_a_sweep_runs_every_point_once_and_fills_the_tables(home, capsys):
    assert run(home) == 0
    assert tape(home) == NAMES
    words = (home / 'tables.txt').read_text()
    assert '4 of 4 runs are finished.' in words
    assert 'Hyperparameters of LoAd (Table 7)' in words
    assert 'Stability metrics (Table 9)' in words
    assert (home / 'report' / 'table-7.csv').read_text().count('DLv3+ & LoAd,5,') == 2
    assert 'Table 7' in (home / 'report' / 'report.html').read_text()
    assert '[4/4] beta_u=0.005/seed=1: finished\n' in capsys.readouterr().out


def test_finished_runs_are_skipped_and_those_with_other_options_are_not(bare):
    assert run(bare, '--seeds=0') == 0
    assert run(bare) == 0
    assert sorted(tape(bare)) == NAMES
    assert run(bare, '--total_cycles=3') == 0
    assert sorted(tape(bare)) == sorted(NAMES * 2)
    assert run(bare, '--total_cycles=3', '--export=saved_model,onnx') == 0
    assert sorted(tape(bare)) == sorted(NAMES * 3)


def test_a_run_that_fails_is_told_and_the_sweep_goes_on(bare, capsys):
    (bare / 'fails').touch()
    assert run(bare, '--grid=buffer_size:3') == 1
    output, errors = capsys.readouterr()
    assert ',buffer_size=3/seed=0: failed with exit status 1: deeplab_load: the disk is full. (all in ' in output
    assert errors == '2 of 4 runs failed: ' + ' '.join(n.replace('/', ',buffer_size=3/') for n in NAMES[2:]) + '\n'
    (bare / 'fails').unlink()
    assert run(bare, '--grid=buffer_size:3') == 0
    assert [name.replace(',buffer_size=3', '') for name in tape(bare)] == NAMES + NAMES[2:]


def test_shards_share_the_runs_and_the_last_fills_the_tables(home):
    assert run(home, '--seeds=0', '--shard=2/2') == 0
    assert '1 of 2 runs are finished.' in (home / 'tables.txt').read_text()
    assert run(home, '--seeds=0', '--shard=1/2') == 0
    assert tape(home) == [NAMES[2], NAMES[0]]
    assert '2 of 2 runs are finished.' in (home / 'tables.txt').read_text()


def test_a_signal_stops_the_run_and_the_sweep(home):
    (home / 'waits').touch()
    program = f'from deeplab_load import sweep; sweep.MAIN = {sweep.MAIN!r}; sweep.main()'
    command = [sys.executable, '-c', program, *ARGUMENTS, GRID, f'--run_dir={home}']
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not tape(home) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)  # For the run to listen.
    process.terminate()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert output.endswith('stopped\nStopped. The same command goes on with the sweep.\n')
    assert tape(home) == NAMES[:1]


def test_a_damaged_run_is_left_out_of_the_tables(tmp_path, capsys):
    both = sweep.points(ARGUMENTS[:-1], [], '0,1', tmp_path)
    for point in both:
        write_run(point.folder, samples=False, seed=point.config.seed, total_cycles=2, peak_patience=10)
    (both[0].folder / 'state.json').write_text('{')
    sweep.fill(both, tmp_path, with_paper=False)
    output = capsys.readouterr().out
    assert f'Left out: {both[0].folder}' in output
    assert '1 of 2 runs are finished.' in output


def test_a_run_is_finished_when_it_is_exported(tmp_path):
    (point,) = sweep.points(ARGUMENTS[:-1], [], '0', tmp_path)
    assert not sweep.finished(point)
    write_run(point.folder, samples=False, total_cycles=2, peak_patience=10)
    assert sweep.finished(point)
    state = json.loads((point.folder / 'state.json').read_text())
    del state['exported']
    (point.folder / 'state.json').write_text(json.dumps(state))
    assert not sweep.finished(point)


def test_a_mistake_is_one_sentence(capsys):
    with pytest.raises(SystemExit) as end:
        sweep.main(['--dataset=shapes', '--grid=nothing:1'])
    assert end.value.code == 2
    errors = capsys.readouterr().err
    assert errors.startswith("deeplab_load: Unknown command line flag 'nothing'")
    assert errors.count('\n') == 1


def test_a_sweep_may_lie_in_the_home_folder(monkeypatch):
    monkeypatch.setenv('HOME', '/home/a')
    assert sweep.parser().parse_known_args(['--run_dir=~/sweeps/b'])[0].run_dir == '/home/a/sweeps/b'
