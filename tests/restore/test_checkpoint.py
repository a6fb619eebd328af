import pathlib

import numpy as np
import pytest
import tensorflow as tf

from deeplab_load.errors import UserError
from deeplab_load.restore.checkpoint import read_checkpoint, resolve_prefix, write_checkpoint

VALUES = {
    'a/weights': np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4),
    'b/odd': np.array([np.nan, -0.0, np.inf, 1e-45], np.float32),
    'global_step': np.int64(2**40 + 1),
}


@pytest.fixture
def prefix(tmp_path) -> pathlib.Path:
    write_checkpoint(tmp_path / 'model.ckpt-7', VALUES)
    return tmp_path / 'model.ckpt-7'


def file(prefix: pathlib.Path, ending: str) -> pathlib.Path:
    return prefix.with_name(prefix.name + ending)


DATA = '.data-00000-of-00001'


def test_values_come_back_bit_for_bit(prefix):
    checkpoint = read_checkpoint(prefix)
    assert checkpoint.shapes == {'a/weights': (3, 4), 'b/odd': (4,), 'global_step': ()}
    assert checkpoint.dtypes['global_step'] == tf.int64
    for name, value in VALUES.items():
        assert checkpoint.value(name).tobytes() == value.tobytes()
    assert sorted(path.name for path in prefix.parent.iterdir()) == [prefix.name + DATA, f'{prefix.name}.index']


def test_folders_may_have_any_name_and_checkpoints_any_but_patterns(tmp_path):
    prefix = tmp_path / 'a [b]\\*\n \x1b' / 'mödel 7*'
    write_checkpoint(prefix, VALUES)
    for path in (prefix, prefix.parent):
        assert read_checkpoint(path).value('a/weights').tobytes() == VALUES['a/weights'].tobytes()
    write_checkpoint(tmp_path / 'model[7]', VALUES)
    with pytest.raises(UserError, match=r'takes the name of .*model\[7\] for a pattern; rename its files'):
        read_checkpoint(tmp_path / 'model[7]')


@pytest.mark.parametrize('ending', ['', '.index', DATA])
def test_a_prefix_and_its_files_name_the_checkpoint(prefix, ending):
    assert resolve_prefix(str(prefix) + ending) == prefix


def test_a_folder_names_its_only_checkpoint(prefix):
    assert resolve_prefix(prefix.parent) == prefix
    write_checkpoint(prefix.with_name('model.ckpt-8'), VALUES)
    with pytest.raises(UserError, match=r'2 checkpoints.*model.ckpt-7, model.ckpt-8'):
        resolve_prefix(prefix.parent)


def test_names_and_shapes_need_the_index_alone(prefix):
    file(prefix, DATA).unlink()
    checkpoint = read_checkpoint(prefix)
    assert checkpoint.shapes['a/weights'] == (3, 4)
    with pytest.raises(UserError, match=f'{DATA} is missing'):
        checkpoint.value('a/weights')


def test_a_missing_checkpoint_says_what_to_download(tmp_path):
    path = tmp_path / 'deeplabv3_pascal_train_aug/model.ckpt'
    with pytest.raises(UserError, match='no checkpoint at') as error:
        read_checkpoint(path)
    assert 'deeplab_load.zoo download xception65_coco_voc_trainaug' in str(error.value)
    assert 'checkpoints/deeplabv3_pascal_train_aug' in str(error.value)


def test_an_empty_folder_says_what_to_download(tmp_path):
    with pytest.raises(UserError, match=r'no checkpoint in the folder.*deeplab_load\.zoo list'):
        read_checkpoint(tmp_path)


def test_a_missing_index_is_named(prefix):
    file(prefix, '.index').unlink()
    with pytest.raises(UserError, match=r'model.ckpt-7.index is missing'):
        read_checkpoint(prefix)


@pytest.mark.parametrize('kept', [0.0, 0.5, 0.9])
def test_a_cut_index_is_one_sentence(prefix, kept):
    cut(file(prefix, '.index'), kept)
    with pytest.raises(UserError, match=r'index .*model.ckpt-7.index is cut or altered'):
        read_checkpoint(prefix)


@pytest.mark.parametrize('kept', [0.0, 0.3])
def test_cut_data_are_one_sentence(prefix, kept):
    cut(file(prefix, DATA), kept)
    with pytest.raises(UserError, match='the data of b/odd is cut or altered'):
        read_checkpoint(prefix).value('b/odd')


def test_a_flipped_bit_is_noticed(prefix):
    content = bytearray(file(prefix, DATA).read_bytes())
    content[5] ^= 1
    file(prefix, DATA).write_bytes(content)
    with pytest.raises(UserError, match='the data of a/weights is cut or altered'):
        read_checkpoint(prefix).value('a/weights')


def test_a_flipped_bit_in_the_index_is_noticed_or_changes_nothing(prefix):
    index, told = file(prefix, '.index'), 0
    content = index.read_bytes()
    for place in range(0, len(content), 5):
        index.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        try:
            checkpoint = read_checkpoint(prefix)
            read = {name: checkpoint.value(name).tobytes() for name in checkpoint.shapes}
        except UserError:
            told += 1
        else:
            assert read == {name: value.tobytes() for name, value in VALUES.items()}
    assert told > 10


def cut(path: pathlib.Path, kept: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
