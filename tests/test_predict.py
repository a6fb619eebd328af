"""`predict` and `evaluate` from their command lines: what they write, and how they end."""

import csv
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from deeplab_load.catalog import Architecture
from deeplab_load.data.specs import SHAPES
from deeplab_load.errors import UserError
from deeplab_load.evaluation.prediction import Painter, paint_all
from deeplab_load.metrics import summarise
from deeplab_load.models.deeplab import build_segmentor
from deeplab_load.models.inference import label_maps
from deeplab_load.restore.restoring import save

ROOT = pathlib.Path(__file__).parents[1]
CROP = (97, 129)
ODD = os.fsdecode(b'\x1b[1m \n*[x]\\\xff.png')  # A name may hold any byte but 0 and that of '/'.


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Holds a segmentor of shapes, model.ckpt, another one, and photographs of several kinds."""
    folder = tmp_path_factory.mktemp('predict') / 'a [ü]'
    folder.mkdir()
    for seed, name in enumerate(('model.ckpt', 'other.ckpt')):
        save(build_segmentor(ARCHITECTURE, seed=seed), folder / name)
    (folder / 'photos').mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(folder / 'photos' / 'turned.jpg', exif=exif)
    Image.fromarray(pixels[..., 0]).resize((300, 200)).save(folder / 'photos' / 'large grey.png')
    Image.fromarray(pixels).save(folder / 'photos' / ODD)
    (folder / 'photos' / 'bad.png').write_bytes(b'no picture')
    return folder


ARCHITECTURE = Architecture('mobilenet_v2', num_classes=7, depth_multiplier=0.1)


def run(module, *argv):
    command = [sys.executable, '-m', f'deeplab_load.{module}', *map(str, argv)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


@pytest.fixture(scope='module')
def predicted(folder):
    out = folder / 'öut\n'
    argv = (f'--checkpoint={folder}/model.ckpt', f'--side_by_side={folder}/other.ckpt', f'--output_dir={out}')
    return out, run('predict', folder / 'photos', *argv)


def test_every_photograph_gets_its_pictures_and_a_bad_one_a_sentence(predicted):
    out, outcome = predicted
    kinds = ('colours', 'labels', 'overlay', 'side_by_side')
    expected = [f'{stem}_{kind}.png' for stem in ('large grey', 'turned', ODD[:-4]) for kind in kinds]
    assert sorted(path.name for path in out.iterdir()) == sorted(['legend.png', *expected])
    assert outcome.returncode == 2
    assert f'3 images: {out}' in outcome.stdout
    assert 'bad.png cannot be read: it is no whole JPEG or PNG file' in outcome.stdout
    assert outcome.stderr.count('\n') == 1
    assert '1 of 4 images could not be read' in outcome.stderr


def test_the_label_map_is_the_models_in_the_data_sets_colours(predicted, folder):
    out, _ = predicted
    from deeplab_load.data.photographs import read_photograph
    from deeplab_load.restore.restoring import restore

    model = build_segmentor(ARCHITECTURE)
    restore(model, folder / 'model.ckpt')
    # In a graph, as there: rounding decides ties.
    signature = tf.TensorSpec([1, None, None, 3], tf.uint8)
    segment = tf.function(lambda x: label_maps(model, x, crop_size=CROP, output_stride=16), [signature])
    for name in ('turned.jpg', 'large grey.png'):
        image = read_photograph(folder / 'photos' / name)
        expected = segment(tf.constant(image[np.newaxis]))[0].numpy()
        stem = name.partition('.')[0]
        with Image.open(out / f'{stem}_labels.png') as picture:
            assert picture.mode == 'P'
            np.testing.assert_array_equal(np.asarray(picture), expected)
        colours = np.asarray(Image.open(out / f'{stem}_colours.png'))
        np.testing.assert_array_equal(colours, np.array(SHAPES.colours, np.uint8)[expected])
        overlay = np.asarray(Image.open(out / f'{stem}_overlay.png')).astype(float)
        assert np.abs(overlay - (0.4 * image + 0.6 * colours)).max() <= 0.5 + 1e-6
    assert image.shape == (200, 300, 3)


def test_side_by_side_shows_the_image_and_both_models(predicted):
    out, _ = predicted
    with Image.open(out / 'turned_side_by_side.png') as picture:
        assert picture.size == (3 * 40, 60 + 28)
        own = np.asarray(picture.crop((40, 28, 80, 88)))
        other = np.asarray(picture.crop((80, 28, 120, 88)))
    np.testing.assert_array_equal(own, np.asarray(Image.open(out / 'turned_overlay.png')))
    assert not np.array_equal(own, other)


def test_where_memory_runs_out_the_flags_to_lower_are_named(tmp_path):
    class Model:
        def label_map(self, image):
            raise tf.errors.ResourceExhaustedError(None, None, 'OOM when allocating')

    Image.new('RGB', (2, 2)).save(tmp_path / 'x.png')
    painter = Painter('model', Model(), ('a',), np.zeros((256, 3), np.uint8))
    with pytest.raises(UserError, match='not enough memory for prediction; lower --eval_crop_size or --eval_scales'):
        paint_all([tmp_path / 'x.png'], [painter], tmp_path)


def test_arguments_beside_the_images_are_flags(folder):
    outcome = run('predict', folder / 'photos', '--no_such_flag=1')
    assert (outcome.returncode, outcome.stderr.count('\n')) == (2, 1)
    assert "Unknown command line flag 'no_such_flag'" in outcome.stderr


def test_evaluate_writes_what_it_measured(folder, tmp_path):
    out, file = tmp_path / 'out', tmp_path / 'm.json'
    (out / 'worst').mkdir(parents=True)
    (out / 'worst' / '01_of_another_evaluation.png').touch()
    outcome = run(
        'evaluate', f'--checkpoint={folder}/model.ckpt', '--dataset=shapes', f'--data_dir={tmp_path}/data',
        f'--json={file}', f'--output_dir={out}', '--worst=2', '--boundary_width=2',
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr
    found = json.loads(file.read_text())
    metrics = summarise(np.array(found['confusion']))
    for name in ('miou', 'miou_present', 'pixel_accuracy', 'frequency_weighted_iou'):
        assert found[name] == getattr(metrics, name)
    assert list(found['per_class']) == list(SHAPES.classes)
    assert tuple(found['recall'].values()) == metrics.recall
    assert found['boundary']['width'] == 2
    assert 0 <= found['boundary']['iou'] <= 1
    assert found['setting'] | {'checkpoint': ''} == {
        'checkpoint': '', 'dataset': 'shapes', 'split': 'val', 'output_stride': 16, 'crop_size': [97, 129],
        'scales': [1.0], 'flip': False, 'images': 100,
    }  # fmt: skip
    assert len(found['worst']) == 2
    for rank, image in enumerate(found['worst'], 1):
        with Image.open(out / 'worst' / f'{rank:02d}_{image["image_id"]}.png') as picture:
            assert picture.mode == 'RGB'
            assert picture.width % 2 == 0
        assert image['image_id'] in outcome.stdout
    assert len(list((out / 'worst').iterdir())) == 2
    for form in ('counts', 'rows', 'columns'):
        assert (out / f'confusion_{form}.png').read_bytes().startswith(b'\x89PNG')
    with open(out / 'confusion_rows.csv', newline='') as stream:
        rows = list(csv.reader(stream))
    assert rows[0][1:] == list(SHAPES.classes)
    for index, row in enumerate(rows[1:]):
        recall = metrics.recall[index]
        assert row[1 + index] == ('' if recall is None else str(recall))
    with open(out / 'metrics.csv', newline='') as stream:
        lines = list(csv.DictReader(stream))
    assert [float(line['iou'] or 'nan') for line in lines] == pytest.approx(
        [np.nan if value is None else value for value in metrics.per_class], nan_ok=True
    )
