"""The main job on segmentors that are not DeepLab's: from the function to the SavedModel."""

import json
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from deeplab_load.config import Config
from deeplab_load.errors import UserError

from .lookahead.replay import replay_run

ROOT = pathlib.Path(__file__).parents[1]
OPTIONS = (
    '--dataset=shapes', '--train_split=val', '--eval_batch_size=10', '--total_propagations=2',
    '--adversarial_learning_rate=0.01', '--discriminator=cnn', '--discriminator_size=32', '--discriminator_alpha=0.25',
    '--discriminator_epochs=1',
)  # fmt: skip


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp('data')


def run(module, *argv):
    command = [sys.executable, '-m', f'deeplab_load.{module}', *map(str, argv)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


def train(folder, data_dir, name, *more):
    options = [
        *OPTIONS,
        f'--segmentor=tests.foreign_segmentors:{name}',
        f'--data_dir={data_dir}',
        f'--run_dir={folder}',
    ]
    outcome = run('main', *options, *more)
    assert outcome.returncode == 0, outcome.stderr
    return [json.loads(line) for line in (folder / 'events.jsonl').read_text().splitlines()]


def test_load_on_a_keras_cv_deeplab(tmp_path, data_dir):
    folder = tmp_path / 'run'
    events = train(folder, data_dir, 'keras_cv_deeplab', '--train_crop_size=96,128', '--eval_crop_size=128,160')
    kinds = [e['event'] for e in events]
    assert kinds == ['run_start', 'baseline', 'discriminator', *kinds[3:-1], 'result']
    assert kinds.count('propagation') == 2
    assert replay_run(folder) == []
    serve = tf.saved_model.load(str(folder / 'export' / '1')).signatures['serving_default']
    image = np.zeros((1, 150, 200, 3), np.uint8)  # Larger than the window, and no multiple of 32.
    assert serve(ImageTensor=tf.constant(image))['SemanticPredictions'].shape == (1, 150, 200)


def test_luc_on_plain_layers_with_stage_1_and_its_best_model_evaluated(tmp_path, data_dir):
    folder = tmp_path / 'run'
    options = ('--algorithm=luc', '--pixelwise_epochs=1', '--fine_tune_batch_norm')
    events = train(folder, data_dir, 'plain', *options)
    assert [e['event'] for e in events].count('propagation') == 2
    assert replay_run(folder) == []
    outcome = run('evaluate', f'--checkpoint={folder}', f'--json={tmp_path / "metrics.json"}')
    assert outcome.returncode == 0, outcome.stderr
    metrics = json.loads((tmp_path / 'metrics.json').read_text())
    assert metrics['miou'] == pytest.approx(events[-1]['val_miou'], abs=1e-9)


@pytest.mark.parametrize(
    'option', [{'depth_multiplier': 0.5}, {'weight_decay': 0.1}, {'fresh_head': 'logits'}, {'mixed_precision': True}]
)
def test_options_that_presuppose_deeplab_are_refused(option):
    with pytest.raises(UserError, match=f'--{next(iter(option))} is of DeepLab, and not for --segmentor=a:b'):
        Config(dataset='shapes', segmentor='a:b', **option)
