"""The package's own functions: `segmentor`, `label_maps` and `inspect`."""

import inspect
import json
import os
import pathlib
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest

import deeplab_load
from deeplab_load.catalog import Architecture, row
from deeplab_load.errors import UserError
from deeplab_load.models.deeplab import build_segmentor
from deeplab_load.models.inference import Inference
from deeplab_load.restore.names import tf1_shapes, tf1_variables
from deeplab_load.restore.restoring import save
from deeplab_load.restore.segmentors import strides

SMALL = {'model_variant': 'mobilenet_v2', 'depth_multiplier': 0.25}


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """One with ASPP and a decoder, which need flags of the original's that the file does not hold."""
    asked = Architecture('mobilenet_v2', 5, depth_multiplier=0.25, atrous_rates=(6, 12, 18), decoder_output_stride=4)
    prefix = tmp_path_factory.mktemp('checkpoint') / 'model.ckpt'
    save(build_segmentor(asked, seed=1), prefix)
    return prefix


def rates(model: keras.Model) -> list[int]:
    return [model.get_layer(f'aspp{index}_depthwise').dilation_rate[0] for index in (1, 2, 3)]


def test_the_package_alone_imports_no_tensorflow():
    program = 'import deeplab_load, deeplab_load.zoo, sys; print(sorted(sys.modules))'
    loaded = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, check=True).stdout
    assert "'deeplab_load'" in loaded
    for heavy in ('tensorflow', 'keras', 'numpy'):
        assert f"'{heavy}'" not in loaded


def test_only_what_there_is():
    with pytest.raises(AttributeError, match='has no attribute'):
        _ = deeplab_load.segmenter
    assert {'segmentor', 'label_maps', 'inspect'} <= set(deeplab_load.__all__)


def test_flags_in_the_original_s_spellings_or_typed():
    spelled = deeplab_load.segmentor(
        model_variant='mobilenet_v2', num_classes='7', atrous_rates='6,12,18', output_stride='16',
        decoder_output_stride='4', depth_multiplier='0.25', crop_size='65,97', multi_grid=None,
    )  # fmt: skip
    typed = deeplab_load.segmentor(
        **SMALL, num_classes=7, atrous_rates=[6, 12, 18], output_stride=16, decoder_output_stride=4, crop_size=(65, 97)
    )
    assert tf1_shapes(spelled) == tf1_shapes(typed)
    assert spelled.input_shape == typed.input_shape == (None, 65, 97, 3)
    assert spelled.output_shape == typed.output_shape == (None, 17, 25, 7)
    assert rates(spelled) == rates(typed) == [6, 12, 18]


def test_a_checkpoint_says_what_the_network_is(checkpoint):
    model = deeplab_load.segmentor(checkpoint=checkpoint)
    assert model.input_shape == (None, None, None, 3)
    assert (rates(model), strides(model)) == ([6, 12, 18], (16, 4))
    fine = deeplab_load.segmentor(checkpoint=checkpoint, output_stride='8')
    assert (rates(fine), strides(fine)) == ([12, 24, 36], (8, 4))
    own = deeplab_load.segmentor(checkpoint=checkpoint, atrous_rates=(1, 2, 3))
    assert rates(own) == [1, 2, 3]
    expected = tf1_variables(build_segmentor(deeplab_load.inspect(checkpoint).architecture(), seed=1))
    for name, variable in tf1_variables(own).items():
        np.testing.assert_array_equal(variable, expected[name], err_msg=name)


def test_with_a_variant_the_flags_alone_say_it(checkpoint):
    flags = {**SMALL, 'atrous_rates': '2,4,6', 'decoder_output_stride': '4'}
    assert rates(deeplab_load.segmentor(checkpoint=checkpoint, **flags)) == [2, 4, 6]
    with pytest.raises(UserError, match=r'but the model asked for is .*no ASPP, no decoder'):
        deeplab_load.segmentor(checkpoint=checkpoint, **SMALL)


def test_another_class_count_needs_a_fresh_head(checkpoint):
    with pytest.raises(UserError, match='has 5 classes, but 7 were asked for'):
        deeplab_load.segmentor(checkpoint=checkpoint, num_classes=7)
    for fresh_head in (True, 'logits', 'last_layers'):
        fresh = deeplab_load.segmentor(checkpoint=checkpoint, num_classes='7', fresh_head=fresh_head)
        assert fresh.output_shape[-1] == 7
        assert f'--fresh_head={"last_layers" if fresh_head == "last_layers" else "logits"}' in fresh.restoration.table()


def test_the_signature():
    parameters = list(inspect.signature(deeplab_load.segmentor).parameters.values())
    assert [p.name for p in parameters[:9]] == [
        'name', 'checkpoint', 'num_classes', 'crop_size', 'model_variant', 'output_stride', 'atrous_rates',
        'decoder_output_stride', 'depth_multiplier',
    ]  # fmt: skip
    assert parameters[0].kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY and p.default is None for p in parameters[1:10])
    assert list(inspect.signature(deeplab_load.label_maps).parameters)[:2] == ['model', 'images']
    assert list(inspect.signature(deeplab_load.inspect).parameters) == ['path']


def test_a_zoo_name_needs_no_flag(checkpoint, tmp_path):
    entry = row('mobilenetv2_ade20k_train')
    with pytest.raises(UserError, match='zoo download mobilenetv2_ade20k_train'):
        deeplab_load.segmentor(entry.name, home=tmp_path)
    shutil.copytree(checkpoint.parent, tmp_path / entry.folder)
    assert strides(deeplab_load.segmentor(entry.name, home=tmp_path)) == (16, 4)
    with pytest.raises(UserError, match=r'no published checkpoint is called .*; a path is given as checkpoint='):
        deeplab_load.segmentor('mobilenet')


@pytest.mark.parametrize(
    ('flags', 'words'),
    [
        ({}, 'model_variant is None but must be given'),
        ({**SMALL, 'num_classes': 3, 'rate': 1}, "the flag is 'rate' but must be one of"),
        ({**SMALL, 'num_classes': 3, 'output_stride': 'x'}, "output_stride is 'x'"),
        ({**SMALL, 'num_classes': 3, 'crop_size': 65}, 'crop_size is 65 but must be a height and a width'),
        *(
            ({**SMALL, 'num_classes': 3, 'crop_size': size}, 'crop_size is .* but must be a height and a width')
            for size in ('a,b', (0, 65), (-1, 65), (65.5, 65), (65, 65, 3), (65, None))
        ),
        ({**SMALL, 'num_classes': 3, 'inference_scales': 'a'}, "inference_scales is 'a'"),
        ({**SMALL, 'num_classes': 3, 'fresh_head': 'logits'}, "fresh_head is 'logits' but there is no checkpoint"),
    ],
)
def test_mistakes(flags, words):
    with pytest.raises(UserError, match=words):
        deeplab_load.segmentor(**flags)


@pytest.mark.parametrize(
    'flags',
    [
        {**SMALL, 'output_stride': 8},
        {'model_variant': 'xception_41', 'dense_prediction_cell_json': 'DPC', 'decoder_output_stride': '4'},
        {'model_variant': 'resnet_v1_18', 'output_stride': 32},
        {'model_variant': 'mobilenet_edgetpu', 'output_stride': 32},
    ],
)
def test_strides_are_told_from_the_layers(flags):
    for crop_size in (None, (65, 97), (70, 101)):
        model = deeplab_load.segmentor(num_classes=3, crop_size=crop_size, **flags)
        deep = flags.get('output_stride', 16)
        assert strides(model) == (deep, int(flags.get('decoder_output_stride', deep)))


def photos() -> list[np.ndarray]:
    random = np.random.default_rng(3)
    return [random.integers(0, 256, (*size, 3)).astype(np.uint8) for size in ((65, 65), (30, 41), (80, 120))]


def test_label_maps_have_the_images_sizes():
    model = deeplab_load.segmentor(**SMALL, num_classes=6, crop_size=(65, 65))
    maps = deeplab_load.label_maps(model, photos())
    assert [labels.dtype for labels in maps] == [np.uint8] * 3
    assert [labels.shape for labels in maps] == [image.shape[:2] for image in photos()]
    any_size = deeplab_load.segmentor(**SMALL, num_classes=6)
    for mine, other in zip(maps, deeplab_load.label_maps(any_size, photos(), crop_size='65,65'), strict=True):
        np.testing.assert_array_equal(mine, other)
    assert [m.shape for m in deeplab_load.label_maps(any_size, photos())] == [m.shape for m in maps]


def test_arrays_are_values_of_flags_too():
    model = deeplab_load.segmentor(
        **SMALL, num_classes=3, atrous_rates=np.array([2, 4, 6]), crop_size=np.array([65, 33])
    )
    assert (rates(model), model.input_shape[1:3]) == ([2, 4, 6], (65, 33))


@pytest.mark.parametrize(
    ('image', 'flags', 'words'),
    [
        (np.zeros((40, 50), np.uint8), {}, r'image 1 is uint8 \[40, 50\] but must be pixels'),
        (np.zeros((40, 50, 4), np.uint8), {}, r'image 1 is uint8 \[40, 50, 4\]'),
        (np.zeros((0, 50, 3), np.uint8), {}, r'image 1 is uint8 \[0, 50, 3\]'),
        ('photo.png', {}, 'image 1 is .* but must be pixels'),
        (photos()[0], {'min_resize_value': 129}, 'resizes image 0 to 129x129, more than the crop of 65x65'),
    ],
)
def test_mistaken_images(image, flags, words):
    model = deeplab_load.segmentor(**SMALL, num_classes=3, crop_size=(65, 65))
    with pytest.raises(UserError, match=words):
        deeplab_load.label_maps(model, [photos()[0], image], **flags)


def test_label_maps_of_models_that_have_none():
    image = keras.Input((65, 65, 3))
    with pytest.raises(UserError, match='is no segmentor'):
        deeplab_load.label_maps(keras.Model(image, keras.layers.Conv2D(3, 1)(image)), photos())
    with pytest.raises(UserError, match='has 257 classes, but a label map holds 256'):
        deeplab_load.label_maps(deeplab_load.segmentor(**SMALL, num_classes=257), photos())


def test_inference_flags_are_kept_for_label_maps_or_given_there():
    asked = {'inference_scales': '0.5,1.0', 'add_flipped_images': 'true'}
    model = deeplab_load.segmentor(**SMALL, num_classes=6, crop_size=(65, 65), **asked)
    assert model.inference == Inference(inference_scales=(0.5, 1.0), add_flipped_images=True)
    plain = deeplab_load.segmentor(**SMALL, num_classes=6, crop_size=(65, 65))
    kept, given = deeplab_load.label_maps(model, photos()), deeplab_load.label_maps(plain, photos(), **asked)
    assert all((a == b).all() for a, b in zip(kept, given, strict=True))
    assert any((a != b).any() for a, b in zip(kept, deeplab_load.label_maps(plain, photos()), strict=True))
    with pytest.raises(UserError, match="the flag 'scales' is unknown"):
        deeplab_load.label_maps(plain, photos(), scales=(1.0,))


def variants() -> list[pathlib.Path]:
    root = os.environ.get('DEEPLAB_LOAD_TESTDATA', 'none')
    return [path for path in sorted(pathlib.Path(root).glob('golden/*/meta.json')) if 'runs' in path.read_text()]


@pytest.mark.parametrize('meta', variants(), ids=lambda path: path.parent.name)
def test_the_flags_of_every_golden_variant_are_understood(meta):
    golden = json.loads(meta.read_text())
    if not {'flags', 'crop_size', 'runs'} <= set(golden):
        pytest.skip('no recorded outputs')
    model = deeplab_load.segmentor(num_classes=golden['num_classes'], crop_size=golden['crop_size'], **golden['flags'])
    if 'inference_scales' in golden['flags']:
        assert model.inference.inference_scales == tuple(golden['flags']['inference_scales'])
    else:
        recorded = next(run['logits_raw'] for run in golden['runs'].values() if 'logits_raw' in run)
        assert list(model.output_shape[1:]) == recorded['shape'][1:]


def test_the_published_model_segments_a_photograph(testdata):
    from PIL import Image

    with Image.open(sorted((testdata / 'data/photos').glob('*.jpg'))[0]) as image:
        photo = np.asarray(image.convert('RGB'))
    path = testdata / 'data/zoo/deeplabv3_mnv2_dm05_pascal_trainaug_frozen_513.pb'
    model = deeplab_load.segmentor(checkpoint=path, crop_size=(513, 513), output_stride=8)
    (labels,) = deeplab_load.label_maps(model, [photo])
    assert labels.shape == photo.shape[:2]
    assert set(np.unique(labels)) - {0}
