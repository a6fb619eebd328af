"""A user's own data from the command that README gives."""

import json
import pathlib
import re
import shlex

import numpy as np
import pytest
from absl import flags
from PIL import Image

from deeplab_load.absl_flags import define_flags, from_flags
from deeplab_load.catalog import Architecture
from deeplab_load.config import Config, EvaluateConfig, PredictConfig
from deeplab_load.errors import UserError
from deeplab_load.evaluate import job as evaluate
from deeplab_load.main import job as main
from deeplab_load.models.deeplab import build_segmentor
from deeplab_load.predict import job as predict
from deeplab_load.restore.restoring import save

ROOT = pathlib.Path(__file__).parents[1]
# What keeps the test small; all else is as README and flags/folder.cfg have it.
SMALL = (
    '--depth_multiplier=0.1', '--min_resize_value=65', '--max_resize_value=65', '--train_crop_size=49,65',
    '--eval_crop_size=65,65', '--pixelwise_epochs=3', '--save_every=1000',
)  # fmt: skip


def documented(module):
    """The arguments of the module's command in README's section on a user's own data."""
    section = (ROOT / 'README.md').read_text().split('## Your own data')[1].split('\n## ')[0]
    command = re.search(rf'python -m deeplab_load\.{module} (.*)', section)[1]
    return shlex.split(command.replace('flags/', f'{ROOT}/flags/'))


def parse(cls, argv):
    values = flags.FlagValues()
    flags.DEFINE_string('flagfile', None, 'as absl defines it', flag_values=values)
    define_flags(cls, values)
    values(['command', *argv])
    return from_flags(cls, values)


@pytest.fixture
def folder(tmp_path):
    """Twelve images of three classes: ground, a thing on it, and the sky."""
    root = tmp_path / 'FOLDER'
    for part in ('images', 'masks'):
        (root / part).mkdir(parents=True)
    noise = np.random.default_rng(0)
    for number in range(12):
        labels = np.zeros((60, 80), np.uint8)
        labels[:30], labels[20:45, 4 * number : 4 * number + 20] = 2, 1
        colours = np.array([(90, 160, 60), (200, 60, 50), (90, 130, 220)])[labels]
        image = np.clip(colours + noise.integers(-20, 21, colours.shape), 0, 255).astype(np.uint8)
        Image.fromarray(image).save(root / f'images/{number}.jpg')
        Image.fromarray(labels).save(root / f'masks/{number}.png')
    (root / 'classes.txt').write_text('ground\nthing\nsky\n')
    return root


def test_it_trains_and_evaluates(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    checkpoint = tmp_path / 'published/model.ckpt'
    save(build_segmentor(Architecture('mobilenet_v2', num_classes=21, depth_multiplier=0.1)), checkpoint)
    main(parse(Config, [*documented('main'), *SMALL, f'--checkpoint={checkpoint}']))
    told = capsys.readouterr().out
    assert '10 images to train on, 2 to evaluate on (val)' in told
    assert 'stage 1: step 4 of 4' in told
    assert 'Baseline g0: mIoU ' in told
    places = dict(re.findall(r'^(label maps|report|TensorBoard): (.*)$', told, re.MULTILINE))
    assert list(places) == ['report', 'TensorBoard']
    assert (pathlib.Path(places['report']) / 'report.html').exists()
    assert pathlib.Path(places['TensorBoard']).exists()
    evaluate(parse(EvaluateConfig, [*documented('evaluate'), '--json=metrics.json']))
    assert re.search(r'ground .*\n.*thing .*\n.*sky ', capsys.readouterr().out)
    metrics = json.loads((tmp_path / 'metrics.json').read_text())
    assert list(metrics['per_class']) == ['ground', 'thing', 'sky']
    assert 0 <= metrics['miou'] <= 1
    evaluate(parse(EvaluateConfig, ['--checkpoint=runs/mine/export/1']))
    # On a machine without the data the run itself tells its classes, and predicts as its SavedModel does.
    (tmp_path / 'data').rename(tmp_path / 'elsewhere')
    photograph = folder.rename(tmp_path / 'other') / 'images/3.jpg'
    for checkpoint in ('runs/mine', 'runs/mine/export/1'):
        predict(PredictConfig(checkpoint=checkpoint, output_dir=checkpoint.replace('/', '-')), [str(photograph)])
    maps = [np.array(Image.open(f'{home}/3_labels.png')) for home in ('runs-mine', 'runs-mine-export-1')]
    assert maps[0].shape == (60, 80)
    assert np.mean(maps[0] != maps[1]) < 1e-3
    legends = [np.array(Image.open(f'{home}/legend.png')) for home in ('runs-mine', 'runs-mine-export-1')]
    np.testing.assert_array_equal(*legends)


def test_a_window_of_evaluation_that_is_too_small_is_told_before_training(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    checkpoint = tmp_path / 'published/model.ckpt'
    save(build_segmentor(Architecture('mobilenet_v2', num_classes=21, depth_multiplier=0.1)), checkpoint)
    options = [*documented('main'), *SMALL, f'--checkpoint={checkpoint}', '--eval_crop_size=33,65']
    with pytest.raises(UserError, match=r'is 49x65 pixels, more than --eval_crop_size=33,65'):
        main(parse(Config, options))
    assert 'stage 1' not in capsys.readouterr().out
