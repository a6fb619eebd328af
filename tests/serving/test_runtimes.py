"""The published network in LiteRT, onnxruntime and OpenVINO on real photographs, against the SavedModel."""

import importlib.util
import json

import numpy as np
import openvino
import pytest
import tensorflow as tf
from onnx.checker import check_model

from deeplab_load.catalog import GREY
from deeplab_load.config import Config
from deeplab_load.data.preparation import prepare
from deeplab_load.data.specs import PASCAL_VOC, SHAPES
from deeplab_load.errors import UserError
from deeplab_load.models.inference import upsampled_logits
from deeplab_load.restore import segmentors
from deeplab_load.serving import conversion, litert, onnx
from deeplab_load.serving.agreement import Judge, Picture, agreement_table
from deeplab_load.serving.export import ExportOptions, Sources, export, read_agreements
from deeplab_load.serving.network import OTHERS, PORTABLE, folded, frozen
from deeplab_load.serving.windows import Window

from .conftest import CROP as SMALL_CROP
from .conftest import smooth_noise

CROP = (321, 321)
WINDOW = Window(CROP, 16, GREY)


@pytest.fixture(scope='module')
def version(testdata, tmp_path_factory):
    """The published MobileNetV2-0.5 in every format."""
    checkpoint = testdata / 'data' / 'zoo' / 'deeplabv3_mnv2_dm05_pascal_trainaug'
    data = prepare(
        'pascal_voc',
        data_dir=str(tmp_path_factory.mktemp('data')),
        manual_dir=str(testdata / 'data' / 'voc2012_subset' / 'VOCdevkit'),
    )
    sources = Sources(calibration=data.examples('train'), comparison=data.examples('val'), count=32)
    return export(
        segmentors.segmentor(checkpoint=checkpoint, output_stride=16),
        tmp_path_factory.mktemp('export'),
        crop_size=CROP,
        output_stride=16,
        spec=PASCAL_VOC,
        options=ExportOptions(formats=('saved_model', 'litert', 'onnx')),
        sources=sources,
    )


@pytest.fixture(scope='module')
def serve(version):
    return tf.saved_model.load(str(version)).signatures['serving_default']


@pytest.fixture(scope='module')
def photographs(testdata):
    """Three photographs as uint8 [1, height, width, 3], as large as they fit the crop."""
    images = [tf.io.decode_jpeg(path.read_bytes()) for path in sorted((testdata / 'data' / 'photos').iterdir())]
    assert len(images) == 3
    return [WINDOW.enter(image[tf.newaxis]) for image in images]


def openvino_runner(model):
    core = openvino.Core()
    # Where the processor has bfloat16 OpenVINO computes in it unless asked not to.
    compiled = core.compile_model(core.read_model(model), 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'})
    return lambda crops: compiled(crops)['SemanticPredictions']


RUNS = {
    'litert float32': ('segmentor_float32.tflite', litert.runner, 0.999),
    'litert float16': ('segmentor_float16.tflite', litert.runner, 0.995),
    'litert int8': ('segmentor_int8.tflite', litert.runner, 0.95),
    'onnxruntime': ('segmentor.onnx', onnx.runner, 0.999),
    'openvino': ('segmentor.onnx', openvino_runner, 0.999),
}


@pytest.mark.parametrize('run', RUNS)
def test_labels_of_photographs_agree_with_the_saved_models(run, version, photographs, serve):
    file, runner, least = RUNS[run]
    segment = runner((version / 'assets.extra' / file).read_bytes())
    for crops, (height, width) in photographs:
        inside = tf.cast(tf.round(crops[:, :height, :width]), tf.uint8)
        expected = serve(ImageTensor=inside)['SemanticPredictions'].numpy()
        assert len(np.unique(expected)) > 1
        seen = WINDOW.enter(inside)[0].numpy()
        labels = segment(seen)
        assert labels.dtype == np.int32
        assert labels.shape == (1, *CROP)
        assert np.mean(labels[:, :height, :width] == expected) >= least


def test_the_agreement_is_told_and_holds(version):
    records = {record['file']: record for record in read_agreements(version)}
    assert set(records) == {RUNS[run][0] for run in RUNS}
    assert all(record['exported'] for record in records.values())
    assert records['segmentor_int8.tflite']['miou_drop'] <= 0.015
    assert all(r['pixels'] >= 0.999 for r in records.values() if r['most_drop'] is None)
    assert len({record['size'] for record in records.values()}) == 4
    table = agreement_table(list(records.values()))
    assert all(name in table for name in records)


def test_shapes_in_onnx_are_the_networks_to_the_pixel(segmentor):
    # Ratios of these sizes round to a row less.
    model = onnx.convert(frozen(folded(segmentor, largest_rate=OTHERS), SMALL_CROP), SMALL_CROP)
    check_model(model, full_check=True)
    images = np.stack([smooth_noise(*SMALL_CROP, seed) for seed in (1, 2)]).astype(np.float32)
    # TensorFlow itself runs the dilated convolutions of that network with oneDNN only.
    network = folded(segmentor, largest_rate=PORTABLE)
    expected = np.argmax(upsampled_logits(network(images), SMALL_CROP), -1)
    for runner in (onnx.runner, openvino_runner):
        assert np.mean(runner(model)(images) == expected) > 0.999


PICTURE = Picture(np.zeros((1, 4, 4, 3), np.float32), np.array([[0, 1], [1, 255]], np.uint8))


def maps(*rows):
    return lambda crop: np.pad(np.array([rows]), ((0, 0), (0, 2), (0, 2)), constant_values=9)


@pytest.mark.parametrize(
    ('rows', 'most_drop', 'pixels', 'holds'),
    [
        (([0, 1], [1, 0]), None, 1, True),
        (([0, 1], [1, 1]), None, 0.75, False),
        (([0, 1], [1, 1]), 0.01, 0.75, True),
        (([0, 1], [0, 0]), 0.01, 0.75, False),
    ],
)
def test_what_may_be_exported(rows, most_drop, pixels, holds):
    found = Judge(maps([0, 1], [1, 0]), [PICTURE], num_classes=2).compare('model', 3, maps(*rows), most_drop)
    assert found.pixels == pixels
    assert found.holds == holds
    assert found.miou_drop == pytest.approx(1 - found.miou)
    assert found.record()['exported'] == holds


def test_a_format_that_does_not_agree_is_left_out_and_told(tmp_path, monkeypatch):
    monkeypatch.setattr(conversion.onnx, 'convert', lambda *arguments: b'model')
    monkeypatch.setattr(conversion.onnx, 'runner', lambda model: maps([1, 1], [1, 1]))
    judge = Judge(maps([0, 1], [1, 0]), [PICTURE], num_classes=2)
    conversion.add_formats(tmp_path, ['onnx'], None, crop_size=(4, 4), calibration=[], judge=judge)
    assert [path.name for path in tmp_path.iterdir()] == ['agreement.json']
    (record,) = json.loads((tmp_path / 'agreement.json').read_text())
    assert (record['exported'], record['pixels']) == (False, 0.5)


def test_without_examples_other_formats_are_refused(segmentor, tmp_path):
    options = ExportOptions(formats=('saved_model', 'onnx'))
    with pytest.raises(ValueError, match='without examples'):
        export(segmentor, tmp_path, crop_size=(97, 129), output_stride=16, spec=SHAPES, options=options)
    assert not list(tmp_path.iterdir())


def test_formats_are_refused_before_anything_is_done(monkeypatch):
    with pytest.raises(UserError, match="names 'tensorrt'"):
        Config(dataset='shapes', export=('saved_model', 'tensorrt'))
    with pytest.raises(UserError, match='must name saved_model too'):
        Config(dataset='shapes', export=('onnx',))
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(UserError, match='--export=litert needs ai-edge-litert: pip install'):
        Config(dataset='shapes', export=('saved_model', 'litert'))
