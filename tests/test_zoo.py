"""The zoo's commands on small models of every kind of file."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from deeplab_load import zoo
from deeplab_load.catalog import CATALOG, Architecture
from deeplab_load.models.deeplab import build_segmentor
from deeplab_load.restore.checkpoint import read_checkpoint, write_checkpoint
from deeplab_load.restore.names import tf1_variables
from deeplab_load.restore.restoring import save

# Keras' own saving asks numpy for a copy in a way that numpy 2 deprecates.
pytestmark = pytest.mark.filterwarnings('ignore:__array__ implementation:DeprecationWarning')

ASKED = Architecture('mobilenet_v2', 5, depth_multiplier=0.25, atrous_rates=(6, 12, 18), decoder_output_stride=4)
STEP = 2**40 + 1


@pytest.fixture(scope='module')
def model():
    return build_segmentor(ASKED, seed=1)


@pytest.fixture
def prefix(model, tmp_path) -> pathlib.Path:
    """A checkpoint as training leaves it: with slots and a step."""
    slots = {f'{name}/Momentum': v.numpy() for name, v in tf1_variables(model).items() if v.trainable}
    save(model, tmp_path / 'trained/model.ckpt-7', {**slots, 'global_step': STEP})
    return tmp_path / 'trained/model.ckpt-7'


def told(capsys, *arguments) -> str:
    zoo.main([str(argument) for argument in arguments])
    return capsys.readouterr().out


def refused(capsys, *arguments) -> str:
    with pytest.raises(SystemExit) as status:
        zoo.main([str(argument) for argument in arguments])
    assert status.value.code == 2
    output = capsys.readouterr()
    assert output.out == ''
    assert output.err.startswith('deeplab_load: ')
    assert output.err.count('\n') == 1
    return output.err


def flip_byte(path: pathlib.Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def require_same_variables(prefix, model, step: int) -> None:
    checkpoint, expected = read_checkpoint(prefix), tf1_variables(model)
    assert set(checkpoint.shapes) == {*expected, 'global_step'}
    assert checkpoint.value('global_step') == step
    assert checkpoint.dtypes['global_step'] == tf.int64
    for name, variable in expected.items():
        assert checkpoint.value(name).tobytes() == variable.numpy().tobytes(), name


def test_list_shows_every_published_checkpoint_and_which_are_here(capsys, tmp_path):
    (tmp_path / CATALOG[0].folder).mkdir()
    header, *lines = told(capsys, '--home', tmp_path, 'list').splitlines()
    assert [line.split()[0] for line in lines] == [row.name for row in CATALOG]
    assert [line.endswith('downloaded') for line in lines] == [True] + [False] * (len(CATALOG) - 1)
    assert header.split()[-2:] == ['mIoU', 'MB']
    assert 'Xception-65, aspp, decoder 4' in lines[4]
    assert '82.20' in lines[4]


def test_inspect_tells_what_a_checkpoint_is(capsys, model, prefix):
    pathlib.Path(f'{prefix}.data-00000-of-00001').unlink()
    lines = told(capsys, 'inspect', prefix).splitlines()
    facts = {line[:21].strip(): line[21:].strip() for line in lines}
    assert facts == {
        'checkpoint': str(prefix),
        'network': 'MobileNetV2, depth multiplier 0.25, 5 classes, ASPP, decoder at stride 4',
        'model_variant': 'mobilenet_v2 (MobileNetV2)',
        'depth_multiplier': '0.25',
        'num_classes': '5',
        'head': 'aspp',
        'decoder_output_stride': '4',
        'optimizer slots': f'Momentum ({len(model.trainable_weights)})',
        'global step': 'stored',
        'variables': str(len(tf1_variables(model))),
        'parameters': f'{sum(int(np.prod(v.shape)) for v in tf1_variables(model).values()):,}',
    }


def test_verify_reads_and_restores_everything(capsys, model, prefix):
    words = told(capsys, 'verify', prefix.parent)
    assert f'restored  {len(tf1_variables(model)):4d} variables\n' in words
    assert 'variables (optimizer slot)' in words
    assert f'read      {len(read_checkpoint(prefix).shapes):4d} values' in words


@pytest.mark.parametrize('name', ['model', 'slot'])
def test_verify_notices_a_flipped_bit_even_where_it_is_not_restored(capsys, model, tmp_path, name):
    values = {key: variable.numpy() for key, variable in tf1_variables(model).items()}
    write_checkpoint(tmp_path / 'model.ckpt', {'zz/Momentum': np.ones(1000, np.float32), **values})
    flip_byte(tmp_path / 'model.ckpt.data-00000-of-00001', at=-100 if name == 'slot' else 100)
    assert 'is cut or altered' in refused(capsys, 'verify', tmp_path)


def test_verify_reads_a_backbone_alone(capsys, model, tmp_path):
    backbone = {n: v.numpy() for n, v in tf1_variables(model).items() if n.startswith('MobilenetV2/')}
    write_checkpoint(tmp_path / 'model.ckpt', backbone)
    words = told(capsys, 'verify', tmp_path)
    assert 'no segmentation head' in words
    assert f'restored  {len(backbone):4d} variables' in words
    assert 'logits): the checkpoint is a backbone alone' in words


def test_a_keras_file_loads_where_only_the_package_is_imported(capsys, model, prefix, tmp_path):
    out = tmp_path / 'new/model.keras'
    assert 'import deeplab_load' in told(capsys, 'convert', prefix, out)
    assert [path.name for path in out.parent.iterdir()] == ['model.keras']
    images = np.random.default_rng(0).integers(0, 256, (1, 65, 65, 3)).astype(np.float32)
    np.save(tmp_path / 'images.npy', images)
    program = (
        'import deeplab_load, keras, numpy\n'
        f'model = keras.models.load_model({str(out)!r})\n'
        f'numpy.save({str(tmp_path / "logits.npy")!r}, model(numpy.load({str(tmp_path / "images.npy")!r})))\n'
    )
    subprocess.run([sys.executable, '-c', program], check=True, capture_output=True)
    np.testing.assert_array_equal(np.load(tmp_path / 'logits.npy'), model(images))


def test_convert_takes_an_output_stride(capsys, prefix, tmp_path):
    told(capsys, 'convert', prefix, tmp_path / 'fine.keras', '--output_stride=8')
    from deeplab_load.restore.conversion import load_keras
    from deeplab_load.restore.segmentors import strides

    assert strides(load_keras(tmp_path / 'fine.keras')) == (8, 4)


def test_to_tf1_gives_back_the_same_bits_and_set(capsys, model, prefix, tmp_path):
    told(capsys, 'convert', prefix, tmp_path / 'model.keras')
    assert told(capsys, 'to-tf1', tmp_path / 'model.keras', tmp_path / 'a/model.ckpt') == f'{tmp_path}/a/model.ckpt\n'
    require_same_variables(tmp_path / 'a/model.ckpt', model, step=0)
    told(capsys, 'to-tf1', prefix, tmp_path / 'b/model.ckpt')
    require_same_variables(tmp_path / 'b/model.ckpt', model, step=STEP)
    told(capsys, 'to-tf1', tmp_path / 'b', tmp_path / 'a')
    require_same_variables(tmp_path / 'a/model.ckpt', model, step=STEP)


def test_to_tf1_takes_a_run_s_snapshot(capsys, model, tmp_path):
    values = {name: variable.numpy() for name, variable in tf1_variables(model).items()}
    write_checkpoint(tmp_path / 'run/checkpoints/g0/model.ckpt', values)
    told(capsys, 'to-tf1', tmp_path / 'run/checkpoints/g0', tmp_path / 'out/model.ckpt')
    require_same_variables(tmp_path / 'out', model, step=0)


def test_mistakes_are_one_sentence(capsys, prefix, tmp_path):
    name = CATALOG[0].name
    assert f'zoo download {name}' in refused(capsys, '--home', tmp_path, 'verify', name)
    assert 'no published checkpoint is called' in refused(capsys, '--home', tmp_path, 'download', 'no')
    assert 'cannot be downloaded' in refused(
        capsys, '--home', tmp_path / 'home', 'download', name, '--base_url=http://127.0.0.1:9/'
    )
    assert 'there is no checkpoint at' in refused(capsys, 'inspect', tmp_path / 'none')
    (tmp_path / 'saved').mkdir()
    for name in ('saved_model.pb', 'fingerprint.pb'):
        (tmp_path / 'saved' / name).write_bytes(b'')
    assert 'is a SavedModel: give the checkpoint' in refused(
        capsys, 'convert', tmp_path / 'saved', tmp_path / 'm.keras'
    )
    assert 'must end in .keras' in refused(capsys, 'convert', prefix, tmp_path / 'model.h5')
    assert 'output_stride is 7' in refused(capsys, 'convert', prefix, tmp_path / 'a.keras', '--output_stride=7')
    assert 'there is no file' in refused(capsys, 'to-tf1', tmp_path / 'none.keras', tmp_path / 'out')
    assert not (tmp_path / 'a.keras').exists()


@pytest.mark.parametrize('kept', [0.0, 0.5, 0.99])
def test_a_cut_keras_file_is_one_sentence(capsys, prefix, tmp_path, kept):
    told(capsys, 'convert', prefix, tmp_path / 'a.keras')
    content = (tmp_path / 'a.keras').read_bytes()
    (tmp_path / 'a.keras').write_bytes(content[: int(len(content) * kept)])
    assert 'is damaged' in refused(capsys, 'to-tf1', tmp_path / 'a.keras', tmp_path / 'out/model.ckpt')
    assert not (tmp_path / 'out').exists()


def test_a_foreign_keras_file_is_one_sentence(capsys, tmp_path):
    import keras

    x = keras.Input((3,))
    keras.Model(x, keras.layers.Dense(2)(x)).save(tmp_path / 'a.keras')
    assert 'is none of this package' in refused(capsys, 'to-tf1', tmp_path / 'a.keras', tmp_path / 'out/model.ckpt')


def test_the_published_index_and_graph(capsys, testdata):
    index = told(capsys, 'inspect', testdata / 'data/zoo/deeplabv3_mnv2_pascal_train_aug_model.ckpt-30000.index')
    assert 'MobileNetV2, depth multiplier 1.0, 21 classes, no ASPP, no decoder' in index
    assert 'Momentum' in index
    words = told(capsys, 'verify', testdata / 'data/zoo/deeplabv3_mnv2_dm05_pascal_trainaug_frozen_513.pb')
    assert 'restored   272 variables' in words
