"""Bad input of `evaluate` and `predict`: one table, input and the sentence it gets."""

import pathlib
import re
import types

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from deeplab_load.config import EvaluateConfig, PredictConfig
from deeplab_load.data.preparation import prepare
from deeplab_load.errors import UserError
from deeplab_load.evaluate import job as evaluate
from deeplab_load.evaluation import evaluation
from deeplab_load.predict import job as predict


@pytest.fixture(scope='module')
def given(tmp_path_factory, formats, data_dir):
    """Paths that the table's inputs name, as attributes."""
    folder = tmp_path_factory.mktemp('given')
    for name in ('empty', 'saved', 'a', 'b', 'run/checkpoints'):
        (folder / name).mkdir(parents=True)
    (folder / 'saved' / 'saved_model.pb').write_bytes(b'no model')
    (folder / 'cut.keras').write_bytes(pathlib.Path(formats.keras).read_bytes()[:5000])
    (folder / 'file').write_text('')
    (folder / 'run' / 'events.jsonl').write_text('{}\n')
    (folder / 'run' / 'config.json').write_text('{"dataset": "shapes"}')
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(folder / 'a' / 'x.png')
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(folder / 'b' / 'x.jpg')
    (folder / 'bad.jpg').write_bytes((folder / 'b' / 'x.jpg').read_bytes()[:200])
    module = tf.Module()
    module.f = tf.function(lambda x: {'y': x}, input_signature=[tf.TensorSpec([None], tf.float32, name='x')])
    tf.saved_model.save(module, str(folder / 'other'), signatures={'serving_default': module.f})
    module.f = tf.function(
        lambda x: {'SemanticPredictions': tf.zeros(tf.shape(x)[:3], tf.int32)},
        input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, name='ImageTensor')],
    )
    tf.saved_model.save(module, str(folder / 'plain'), signatures={'serving_default': module.f})
    names = {'folder': folder, 'data': data_dir, 'model': formats.checkpoint}
    return types.SimpleNamespace(**names, keras=formats.keras, saved=formats.saved_model)


EVALUATE = [
    ({'checkpoint': None}, '--checkpoint is missing: give a run directory'),
    ({'checkpoint': 'nowhere/model.ckpt'}, 'there is no checkpoint at nowhere/model.ckpt'),
    ({'checkpoint': '{folder}/empty'}, 'there is no checkpoint in the folder'),
    ({'checkpoint': '{folder}/cut.keras'}, 'cut.keras is damaged, or no .keras file'),
    ({'checkpoint': '{folder}/saved'}, 'saved is no whole SavedModel: export it again'),
    ({'checkpoint': '{folder}/other'}, 'has no signature from ImageTensor to SemanticPredictions'),
    ({'checkpoint': '{saved}', 'eval_flip': True}, 'is a SavedModel, whose network, scales and resizing are fixed'),
    ({'checkpoint': '{saved}', 'atrous_rates': (1, 2)}, 'whose network, scales and resizing are fixed'),
    ({'checkpoint': '{saved}', 'min_resize_value': 65}, 'whose network, scales and resizing are fixed'),
    ({'checkpoint': '{keras}', 'atrous_rates': (1, 2)}, 'says itself what its network is: leave out --atrous_rates'),
    ({'checkpoint': '{keras}', 'output_stride': 8}, 'has output stride 16, not 8: leave out --output_stride'),
    ({'checkpoint': '{folder}/run'}, 'has no model yet: let it go on'),
    ({'checkpoint': 'xception65_ade20k_train'}, 'python -m deeplab_load.zoo download xception65_ade20k_train'),
    ({'dataset': ''}, '--dataset is missing: give one of'),
    ({'dataset': 'pascal_voc'}, 'has 7 classes and pascal_voc has 21; give the data set that it was trained on'),
    ({'checkpoint': '{saved}', 'dataset': 'pascal_voc'}, 'has 7 classes and pascal_voc has 21'),
    ({'split': 'dev'}, "has no split 'dev', only train, val"),
    ({'eval_crop_size': (50, 60)}, '--eval_crop_size=50,60: give a crop that holds every image'),
    ({'min_resize_value': 97, 'eval_crop_size': (65, 65)}, 'give a crop that holds every image'),
    ({'eval_scales': (1.0, 0.0)}, '--eval_scales=1.0,0.0 must be above 0'),
    ({'eval_scales': ()}, '--eval_scales= must be one or more scales'),
    ({'boundary_width': -1.0}, '--boundary_width=-1.0 must be at least 0'),
    ({'worst': -1}, '--worst=-1 must be at least 0'),
    ({'json': '{folder}/none/m.json'}, 'none/m.json is in a folder that does not exist; make it first'),
    ({'output_dir': '{folder}/file'}, '/file cannot be made: File exists; give another folder'),
    ({'submission_dir': '{folder}/out'}, 'pascal_voc and cityscapes, which have test servers; shapes has none'),
    ({'submission_dir': 'x', 'min_resize_value': 97}, "of the images' own size: leave out --min_resize_value"),
    ({'json': '{folder}/empty'}, '/empty is a folder: name a file in it'),
    ({'zoo': 'mobilenet', 'checkpoint': None}, "no published checkpoint is called 'mobilenet'"),
    ({'zoo': 'xception_41_imagenet', 'checkpoint': None}, 'is a backbone alone, for which no mIoU was published'),
    (
        {'zoo': 'all', 'checkpoint': None, 'dataset': '', 'manual_dir': '{folder}'},
        '--manual_dir with --zoo=all needs --dataset',
    ),
    ({'zoo': 'all'}, 'rows with their own models and settings: leave out --checkpoint'),
    ({'zoo': 'all', 'checkpoint': None, 'json': 'm.json'}, 'rows with their own models and settings: leave out --json'),
]

PREDICT = [
    ([], {}, 'There are no images: name files, folders, or patterns in quotes'),
    (['{folder}/none.jpg'], {}, 'There is no file, folder or match of'),
    (['{folder}/empty'], {}, 'empty holds no JPEG or PNG files'),
    (['{folder}/a/x.png', '{folder}/b'], {}, 'x.png and {folder}/b/x.jpg would have pictures of the same names'),
    (['{folder}/a'], {'output_dir': '{folder}/a'}, '/a is the folder of x.png: give another one'),
    (['{folder}/a'], {'output_dir': ''}, '--output_dir is missing'),
    (['{folder}/a'], {'checkpoint': None}, '--checkpoint is missing'),
    (['{folder}/a'], {'dataset': 'cityscapes'}, 'has 7 classes and cityscapes has 19'),
    (['{folder}/a'], {'dataset': 'ade'}, "There is no data set 'ade'"),
    (['{folder}/a'], {'checkpoint': '{folder}/plain'}, 'does not tell its classes: give --dataset'),
    (['{folder}/a'], {'eval_crop_size': (97,)}, '--eval_crop_size=97 must be two numbers'),
    (['{folder}/bad.jpg'], {}, '1 of 1 images could not be read'),
]


def filled(value, given):
    return value.format(**vars(given)) if isinstance(value, str) else value


def refused(job, *arguments):
    with pytest.raises(UserError) as info:
        job(*arguments)
    assert '\n' not in str(info.value)
    return str(info.value)


@pytest.mark.parametrize(('options', 'sentence'), EVALUATE, ids=lambda v: re.sub(r'\W+', ' ', str(v))[:40])
def test_evaluate(given, options, sentence):
    options = {'dataset': 'shapes', 'checkpoint': '{model}', 'data_dir': '{data}', **options}
    options = {name: filled(value, given) for name, value in options.items()}
    assert sentence in refused(lambda: evaluate(EvaluateConfig(**options)))


@pytest.mark.parametrize(('images', 'options', 'sentence'), PREDICT, ids=lambda v: re.sub(r'\W+', ' ', str(v))[:40])
def test_predict(given, images, options, sentence):
    options = {'checkpoint': '{model}', 'output_dir': '{folder}/pictures', **options}
    options = {name: filled(value, given) for name, value in options.items()}
    images = [filled(image, given) for image in images]
    assert filled(sentence, given) in refused(lambda: predict(PredictConfig(**options), images))


def test_where_memory_for_a_batch_runs_out_the_flags_to_lower_are_named(formats, data_dir, monkeypatch):
    def too_large(*_, **__):
        raise MemoryError
        yield

    monkeypatch.setattr(evaluation, 'evaluation_batches', too_large)
    judge = evaluation.Evaluator(formats.segmentor, crop_size=(97, 129), batch_size=2)
    examples = prepare('shapes', data_dir=data_dir, progress=False).examples('val')
    words = 'not enough memory for evaluation; lower --eval_batch_size or --eval_crop_size'
    with pytest.raises(UserError, match=words):
        judge.confusion(examples)
    with pytest.raises(UserError, match=words):
        next(judge.label_maps(examples))
