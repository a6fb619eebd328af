"""The main job from its command line on the built-in data set: what a run leaves, and that nothing is lost."""

import json
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from deeplab_load.data import label_maps
from deeplab_load.metrics import summarise

from .lookahead.replay import replay_run
from .storm import OPTIONS, ROOT, Place, command, differences, kill_in


def run(*args):
    return subprocess.run(command(*args), capture_output=True, text=True, check=False, cwd=ROOT)


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp('data')


@pytest.fixture(scope='module')
def finished(tmp_path_factory, data_dir):
    folder = tmp_path_factory.mktemp('runs') / 'fínished run'
    outcome = run(folder, data_dir)
    assert outcome.returncode == 0, outcome.stderr
    return folder, outcome.stdout


PARTS = ('evaluation', 'holdout')


def events(folder):
    return [json.loads(line) for line in (folder / 'events.jsonl').read_text().splitlines()]


def test_the_events_are_in_order_and_the_decisions_replay(finished):
    folder, _ = finished
    kinds = [e['event'] for e in events(folder)]
    cycle = ['propagation', 'propagation', 'cycle_end', 'discriminator']
    assert kinds[:3] == ['run_start', 'baseline', 'discriminator']
    assert kinds[-1] == 'result'
    assert len(kinds) == 4 + 2 * len(cycle)
    assert replay_run(folder) == []
    assert all(e['time'] > 1.6e9 for e in events(folder))


def test_config_json_holds_every_option_under_its_name(finished):
    config = json.loads((finished[0] / 'config.json').read_text())
    assert (config['beta_l'], config['patience'], config['buffer_size'], config['seed']) == (0.05, 2, 3, 0)
    assert config['versions']['tensorflow'] == tf.__version__


def test_the_buffer_holds_the_sets_of_the_last_cycle_end_and_every_map(finished):
    folder, _ = finished
    end = [e for e in events(folder) if e['event'] == 'cycle_end'][-1]
    assert sorted(p.name for p in (folder / 'buffer').iterdir()) == sorted(end['buffer'])
    for name in end['buffer']:
        stored = label_maps.read_set(folder / 'buffer', name)
        assert (len(stored.ids('train')), len(stored.ids('holdout'))) == (100, 30)
        label_map = tf.io.decode_png(stored.png('train', stored.ids('train')[0]))
        assert int(tf.reduce_max(label_map)) < 7


def test_the_output_names_the_gain_the_table_and_every_place(finished):
    folder, output = finished
    result = events(folder)[-1]
    gain = 100 * (result['val_miou'] - result['baseline_val_miou'])
    assert f'{gain:+.2f} points of mIoU' in output
    assert 'snowman' in output
    for place in ('export', 'events.jsonl', 'config.json', 'report', 'tensorboard'):
        assert (folder / place).exists()
        assert str(folder / place) in output
    assert (folder / 'report' / 'convergence.png').read_bytes().startswith(b'\x89PNG')
    assert 'Stability' in (folder / 'report' / 'report.html').read_text()
    assert output.count('cycle 0  γ') == 2


def test_the_run_keeps_what_its_report_needs(finished):
    state = json.loads((finished[0] / 'state.json').read_text())
    for model, miou in (('baseline', 'baseline_val_miou'), ('best', 'val_miou')):
        assert summarise(np.array(state[model])).miou == pytest.approx(state['result'][miou])
    assert state['stage_1_seconds'] > 0
    kept = {part: {p.stem for p in (finished[0] / 'report' / 'samples' / part).glob('*/*')} for part in PARTS}
    assert kept['evaluation'] == {'image', 'truth', 'g0', 'best'}
    assert kept['holdout'] >= {'image', 'truth', 'g0', 'end-0', 'end-1'}


def test_tensorboard_scalars_hold_the_propagations(finished):
    (file,) = (finished[0] / 'tensorboard').iterdir()
    found = [
        (event.step, value.tag)
        for event in tf.compat.v1.train.summary_iterator(str(file))
        for value in event.summary.value
    ]
    assert (1, 'propagation/miou') in found
    assert (4, 'propagation/loss_adv') in found


def test_the_best_model_evaluates_to_the_result_from_its_checkpoint(finished, data_dir, tmp_path):
    folder, output = finished
    prefix = next(line for line in output.splitlines() if line.startswith('best model')).split(': ')[1]
    # The run's output stride, 16, is read from its config.json.
    argv = ['--dataset=shapes', f'--data_dir={data_dir}', f'--checkpoint={prefix}', f'--json={tmp_path / "m.json"}']
    subprocess.run([sys.executable, '-m', 'deeplab_load.evaluate', *argv], check=True, cwd=ROOT, capture_output=True)
    metrics = json.loads((tmp_path / 'm.json').read_text())
    result = events(folder)[-1]
    assert metrics['miou'] == pytest.approx(result['val_miou'], abs=1e-9)
    assert metrics['per_class'] == pytest.approx(result['per_class'])
    assert 0 < metrics['pixel_accuracy'] < 1


def test_the_same_command_on_a_finished_run_changes_nothing(finished, data_dir):
    folder, _ = finished
    before = [e for e in events(folder) if e['event'] != 'resume']
    outcome = run(folder, data_dir)
    assert outcome.returncode == 0, outcome.stderr
    assert f'Going on with the run in {folder} from its end.' in outcome.stdout
    assert [e for e in events(folder) if e['event'] != 'resume'] == before
    assert [p.name for p in (folder / 'export').iterdir()] == ['1']


def test_a_finished_run_goes_on_under_a_higher_bound(finished, data_dir, tmp_path):
    folder = tmp_path / 'extended'
    shutil.copytree(finished[0], folder)
    outcome = run(folder, data_dir, '--total_cycles=3')
    assert outcome.returncode == 0, outcome.stderr
    results = [e for e in events(folder) if e['event'] == 'result']
    assert [r['cycles'] for r in results] == [2, 3]
    assert events(folder)[-1] == results[-1]
    assert replay_run(folder) == []
    same_best = results[0]['holdout_miou'] == results[1]['holdout_miou']
    assert sorted(p.name for p in (folder / 'export').iterdir()) == (['1'] if same_best else ['1', '2'])


def test_a_fork_goes_on_in_a_copy_under_other_options(finished, data_dir, tmp_path):
    folder = tmp_path / 'fork'
    before = sorted((p, p.read_bytes()) for p in finished[0].rglob('*') if p.is_file())
    outcome = run(finished[0], data_dir, f'--fork={folder}', '--beta_u=0.01')
    assert outcome.returncode == 0, outcome.stderr
    assert sorted((p, p.read_bytes()) for p in finished[0].rglob('*') if p.is_file()) == before
    ours, theirs = events(folder), [e for e in events(finished[0]) if e['event'] != 'resume']
    assert ours[: len(theirs)] == theirs
    assert ours[-1]['event'] == 'resume'
    assert ours[-1]['config_digest'] != ours[0]['config_digest']
    assert json.loads((folder / 'config.json').read_text())['beta_u'] == 0.01
    refused = run(finished[0], data_dir, f'--fork={folder}')
    assert refused.returncode == 2
    assert '--beta_u was 0.01 and is 0.001' in refused.stderr
    other_d = run(finished[0], data_dir, f'--fork={tmp_path / "other"}', '--discriminator=cnn')
    assert other_d.returncode == 2
    assert '--discriminator was mobilenet and is cnn' in other_d.stderr
    assert 'a copy of it cannot have others' in other_d.stderr


def test_a_sweep_skips_what_is_finished_and_goes_on_past_what_fails(finished, data_dir, tmp_path):
    shutil.copytree(finished[0], tmp_path / 'seed=0')
    (tmp_path / 'seed=1').mkdir()
    (tmp_path / 'seed=1' / 'letter.txt').touch()
    argv = [*OPTIONS, f'--data_dir={data_dir}', f'--run_dir={tmp_path}', '--seeds=1,0']
    command = [sys.executable, '-m', 'deeplab_load.sweep', *argv]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert outcome.returncode == 1
    assert '[1/2] seed=1: failed with exit status 2: deeplab_load: --run_dir=' in outcome.stdout
    assert '[2/2] seed=0: finished before' in outcome.stdout
    assert (tmp_path / 'report' / 'table-9.csv').read_text().splitlines()[1].startswith('shapes,mobilenet_v2 0.1,')


def test_another_option_on_the_same_folder_is_refused(finished, data_dir):
    outcome = run(finished[0], data_dir, '--beta_u=0.01')
    assert outcome.returncode == 2
    assert '--beta_u was 0.001 and is 0.01' in outcome.stderr
    assert 'most options may change in a copy: --fork=' in outcome.stderr
    assert outcome.stderr.count('\n') == 1


def times(folder):
    return {path: path.stat().st_mtime_ns for path in (folder, *folder.rglob('*'))}


def test_killed_and_stopped_in_every_training_the_run_ends_as_one_that_was_not(finished, data_dir, tmp_path):
    place, prepared = Place(tmp_path / 'disturbed', data_dir), times(data_dir)
    was_in = []
    for phase, changes, number in (
        ('stage 1', 9, signal.SIGKILL), ('maps', 2, signal.SIGTERM),
        ('discriminator', 9, signal.SIGKILL), ('adversarial', 4, signal.SIGKILL),
    ):  # fmt: skip
        where, status, output = kill_in(place, phase, changes, number=number)
        was_in.append(where)
        assert status == (0 if number == signal.SIGTERM else -number)
        if number == signal.SIGTERM:
            assert f'--run_dir={place.run} goes on from ' in output
    assert {'stage 1', 'maps', 'discriminator', 'adversarial'} <= set(was_in)
    output = place.finish()
    assert 'Going on with the run' in output
    assert differences(place.run, finished[0]) == []
    assert times(data_dir) == prepared  # A data folder may be read-only.


def test_the_saved_model_runs_without_the_package(finished, tmp_path):
    folder, output = finished
    images = {
        'smaller': np.random.default_rng(0).integers(0, 256, (2, 60, 70, 3)),
        'crop': np.random.default_rng(1).integers(0, 256, (1, 97, 129, 3)),
        'larger': np.random.default_rng(2).integers(0, 256, (1, 301, 173, 3)),
        'one pixel': np.random.default_rng(3).integers(0, 256, (1, 1, 1, 3)),
    }
    np.savez(tmp_path / 'images.npz', **{k: v.astype(np.uint8) for k, v in images.items()})
    program = (
        'import sys, numpy as np, tensorflow as tf\n'
        f'model = tf.saved_model.load({str(folder / "export" / "1")!r})\n'
        'serve = model.signatures["serving_default"]\n'
        f'images = np.load({str(tmp_path / "images.npz")!r})\n'
        'maps = {k: serve(ImageTensor=tf.constant(images[k]))["SemanticPredictions"].numpy() for k in images.files}\n'
        f'np.savez({str(tmp_path / "maps.npz")!r}, **maps)\n'
        'assert "deeplab_load" not in sys.modules\n'
    )
    subprocess.run([sys.executable, '-c', program], check=True, cwd=tmp_path, capture_output=True)
    from deeplab_load.models.deeplab import build_segmentor
    from deeplab_load.models.inference import label_maps as segment
    from deeplab_load.restore.inspection import inspect
    from deeplab_load.restore.restoring import restore

    prefix = next(line for line in output.splitlines() if line.startswith('best model')).split(': ')[1]
    model = build_segmentor(inspect(prefix).architecture(16))
    restore(model, prefix)
    with np.load(tmp_path / 'maps.npz') as maps:
        for name, batch in images.items():
            expected = segment(model, tf.constant(batch, tf.uint8), crop_size=(97, 129), output_stride=16)
            assert maps[name].shape == batch.shape[:3]
            np.testing.assert_array_equal(maps[name], expected)
