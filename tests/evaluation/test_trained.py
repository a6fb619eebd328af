"""Models of every format are evaluated alike; runs, scales, flips and sizes."""

import dataclasses
import json
import pathlib
import shutil

import numpy as np
import pytest

import deeplab_load
from deeplab_load.appraisal import appraise, open_painter
from deeplab_load.config import EvaluateConfig, PredictConfig
from deeplab_load.data.preparation import prepare
from deeplab_load.data.specs import SHAPES, ResizeRange
from deeplab_load.errors import UserError
from deeplab_load.evaluation.trained import SavedModel, Segmentor, decoded, locate
from deeplab_load.models.inference import Inference
from deeplab_load.restore.conversion import load_keras
from deeplab_load.restore.segmentors import strides
from deeplab_load.serving.export import export
from deeplab_load.training.durable import RunDirectory
from deeplab_load.zoo import main as zoo


def appraised(data_dir, checkpoint, **options):
    return appraise(EvaluateConfig(**{'dataset': 'shapes', 'data_dir': data_dir, 'checkpoint': checkpoint, **options}))


@pytest.fixture(scope='module')
def few(data_dir):
    examples = prepare('shapes', data_dir=data_dir, progress=False).examples('val')
    return examples.subset(examples.ids[:3])


@pytest.fixture
def run_dir(tmp_path, formats, data_dir):
    """A run whose best model is its third propagation, at output stride 8."""
    folder = tmp_path / 'run'
    best = folder / 'checkpoints' / 'propagation-3'
    best.mkdir(parents=True)
    for suffix in ('index', 'data-00000-of-00001'):
        shutil.copy(f'{formats.checkpoint}.{suffix}', best)
    (folder / 'events.jsonl').write_text('{}\n')
    RunDirectory(folder).write_state(
        {'load': {'g_best': 'propagation-3'}, 'events_bytes': 3}, snapshots=['propagation-3']
    )
    options = {'dataset': 'shapes', 'data_dir': data_dir, 'output_stride': 8, 'eval_crop_size': [], 'atrous_rates': []}
    (folder / 'config.json').write_text(json.dumps(options))
    return folder


def test_every_format_gives_the_same_counts(data_dir, formats):
    found = [appraised(data_dir, path) for path in (formats.checkpoint, formats.keras, formats.saved_model)]
    assert np.count_nonzero(found[0].assessment.confusion.sum(axis=0)) > 2
    counts = [f.assessment.confusion for f in found]
    np.testing.assert_array_equal(counts[1], counts[0])
    # Batch normalisation is folded there, which rounds otherwise.
    assert np.abs(counts[2] - counts[0]).sum() < 1e-3 * counts[0].sum()
    assert [f.setting['output_stride'] for f in found] == [16, 16, None]


def test_a_run_directory_means_its_best_model_with_its_options(data_dir, formats, run_dir):
    found = appraise(EvaluateConfig(checkpoint=str(run_dir), worst=0))
    assert found.setting['checkpoint'] == str(run_dir / 'checkpoints/propagation-3/model.ckpt')
    assert (found.setting['dataset'], found.setting['output_stride']) == ('shapes', 8)
    plain = appraised(data_dir, formats.checkpoint, output_stride=8)
    np.testing.assert_array_equal(found.assessment.confusion, plain.assessment.confusion)
    other = appraise(EvaluateConfig(checkpoint=str(run_dir / 'checkpoints/propagation-3'), output_stride=16))
    assert other.setting['output_stride'] == 16
    assert not np.array_equal(other.assessment.confusion, found.assessment.confusion)


RESIZE = {'min_resize_value': 65, 'max_resize_value': 65, 'resize_factor': 16}


def test_what_a_run_was_trained_with_is_predicted_and_exported_with(data_dir, formats, run_dir, few):
    options = json.loads((run_dir / 'config.json').read_text()) | RESIZE
    (run_dir / 'config.json').write_text(json.dumps(options))
    resize = ResizeRange(*RESIZE.values())
    folder = run_dir / 'export'
    export(formats.segmentor, folder, crop_size=(97, 129), output_stride=16, spec=SHAPES, resize=resize)
    painter = open_painter(PredictConfig(checkpoint=str(run_dir), output_stride=16, output_dir='x'), str(run_dir))
    saved = SavedModel(folder / '1')
    for index in range(len(few)):
        image = decoded(few, index)[0].numpy()
        (expected,) = deeplab_load.label_maps(formats.segmentor, [image], crop_size=(97, 129), **RESIZE)
        (plain,) = deeplab_load.label_maps(formats.segmentor, [image], crop_size=(97, 129))
        assert np.mean(plain != expected) > 0.01
        np.testing.assert_array_equal(painter.model.label_map(image), expected)
        assert np.mean(saved.label_map(image) != expected) < 1e-3
    # A SavedModel resizes by itself, and is compared with the labels as they are.
    found = appraise(EvaluateConfig(checkpoint=str(folder / '1'), worst=0))
    assert found.examples.resize is None
    assert appraise(EvaluateConfig(checkpoint=str(run_dir), worst=0)).examples.resize == resize
    # The three options belong together.
    found = appraise(EvaluateConfig(checkpoint=str(run_dir), worst=0, min_resize_value=49))
    assert found.examples.resize == ResizeRange(49, None, None)


@pytest.mark.filterwarnings('ignore:__array__ implementation:DeprecationWarning')  # Keras' own.
def test_a_run_is_converted_with_its_options(run_dir, tmp_path):
    zoo(['convert', str(run_dir), str(tmp_path / 'run.keras')])
    zoo(['convert', str(run_dir), str(tmp_path / 'wide.keras'), '--output_stride=16'])
    found = [strides(load_keras(tmp_path / name))[0] for name in ('run.keras', 'wide.keras')]
    assert found == [8, 16]


def test_a_run_without_a_model_says_so(run_dir):
    shutil.rmtree(run_dir / 'checkpoints' / 'propagation-3')
    with pytest.raises(UserError, match='has no model yet'):
        locate(str(run_dir), 'checkpoints')


def test_a_catalog_name_is_looked_for_where_archives_are(tmp_path):
    (tmp_path / 'deeplabv3_mnv2_dm05_pascal_trainaug').mkdir()
    found = locate('mobilenetv2_dm05_coco_voc_trainaug', str(tmp_path))
    assert found.path == tmp_path / 'deeplabv3_mnv2_dm05_pascal_trainaug'
    assert found.run_options == {}


@pytest.mark.parametrize(('scales', 'flip'), [((1.0,), True), ((0.5, 1.25), False)])
def test_scales_and_flips_are_the_originals(formats, few, scales, flip):
    inference = Inference(inference_scales=scales, add_flipped_images=flip)
    model = Segmentor(formats.segmentor, crop_size=(97, 129), inference=inference)
    plain = Segmentor(formats.segmentor, crop_size=(97, 129))
    images = [decoded(few, index)[0].numpy() for index in range(len(few))]
    asked = {'crop_size': (97, 129), 'inference_scales': scales, 'add_flipped_images': flip}
    expected = deeplab_load.label_maps(formats.segmentor, images, **asked)
    found = [prediction.label_map for prediction in model.predictions(few, 2)]
    for ours, theirs, image in zip(found, expected, images, strict=True):
        np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(model.label_map(image), theirs)
    assert any(not np.array_equal(a, b.label_map) for a, b in zip(found, plain.predictions(few, 3), strict=True))


def test_labels_are_resized_with_their_images(formats, few):
    resized = dataclasses.replace(few, resize=ResizeRange(65, 65, 16))
    model = Segmentor(formats.segmentor, crop_size=(65, 65))
    for prediction, index in zip(model.predictions(resized, 2), range(len(few)), strict=True):
        assert max(prediction.label.shape) == 65
        assert prediction.label.shape == prediction.label_map.shape
        assert set(np.unique(prediction.label)) <= set(np.unique(decoded(few, index)[1]))
    with pytest.raises(UserError, match='takes images as they are: leave out --min_resize_value'):
        next(SavedModel(pathlib.Path(formats.saved_model)).predictions(resized, 1))


def test_cityscapes_samples_are_evaluated_at_full_size(testdata, tmp_path):
    from deeplab_load.catalog import Architecture
    from deeplab_load.models.deeplab import build_segmentor
    from deeplab_load.restore.restoring import save

    save(build_segmentor(Architecture('mobilenet_v2', num_classes=19, depth_multiplier=0.1)), tmp_path / 'model.ckpt')
    source = testdata / 'data' / 'cityscapes_sample'
    options = {'dataset': 'cityscapes', 'split': 'train', 'manual_dir': str(source), 'eval_batch_size': 1}
    found = appraised(str(tmp_path / 'data'), str(tmp_path / 'model.ckpt'), **options)
    assert found.examples.sizes == ((1024, 2048), (1024, 2048))
    assert found.setting['crop_size'] == [1025, 2049]
    labels = [decoded(found.examples, index)[1].numpy() for index in range(2)]
    counts = sum(np.bincount(label[label != 255], minlength=19) for label in labels)
    np.testing.assert_array_equal(found.assessment.confusion.sum(axis=1), counts)
    assert found.assessment.confusion.sum() > 3e6
