"""Files appear whole or not at all, and a full disk is told in a sentence."""

import errno
import os
import pathlib

import pytest
import tensorflow as tf

from deeplab_load import files
from deeplab_load.errors import UserError
from deeplab_load.shortages import memory_for, tensorflow_writes


def full(*args, **kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_file_takes_its_name_once_it_is_on_the_disk(tmp_path, monkeypatch):
    order, sync, replace = [], files.sync, os.replace
    monkeypatch.setattr(files, 'sync', lambda path: (order.append(f'sync {path.name}'), sync(path)))
    monkeypatch.setattr(os, 'replace', lambda a, b: (order.append(f'rename to {b.name}'), replace(a, b)))
    files.write_text(tmp_path / 'new' / 'file', 'text')
    assert (tmp_path / 'new' / 'file').read_text() == 'text'
    assert order == ['sync .part-file', 'rename to file', 'sync new']


def test_a_folder_is_synced_with_all_it_holds_and_replaces_one_of_its_name(tmp_path, monkeypatch):
    synced, sync = [], files.sync
    monkeypatch.setattr(files, 'sync', lambda path: (synced.append(path.name), sync(path)))
    for number in range(2):
        with files.replacing(tmp_path / 'folder') as part:
            (part / 'inner').mkdir(parents=True)
            (part / 'inner' / f'{number}').touch()
    assert [p.name for p in tmp_path.rglob('*')] == ['folder', 'inner', '1']
    assert synced == [s for n in '01' for s in (n, 'inner', '.part-folder', tmp_path.name)]


@pytest.mark.parametrize(
    ('owner', 'name'), [(pathlib.Path, 'write_text'), (os, 'fsync'), (os, 'replace'), (pathlib.Path, 'mkdir')]
)
def test_on_a_full_disk_what_was_there_stays_and_a_sentence_says_so(tmp_path, monkeypatch, owner, name):
    file = tmp_path / 'file'
    files.write_text(file, 'before')
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, full)
        with pytest.raises(UserError) as told:
            files.write_text(file, 'after')
    assert str(told.value) == (
        f'{file} cannot be written: No space left on device; make room and give the same command again.'
    )
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [('file', 'before')]


def test_a_folder_is_never_half_deleted_under_its_name(tmp_path, monkeypatch):
    def write(content):
        with files.replacing(tmp_path / 'folder') as part:
            part.mkdir()
            (part / content).touch()

    write('before')
    rename, removed = os.replace, []
    monkeypatch.setattr(files.shutil, 'rmtree', lambda path: removed.append(path.name))
    write('after')
    assert removed == ['.part-old-folder']
    monkeypatch.undo()
    failing = iter([rename, full, rename])
    monkeypatch.setattr(os, 'replace', lambda a, b: next(failing)(a, b))
    with pytest.raises(UserError, match='make room'):
        write('later')
    assert sorted(p.name for p in tmp_path.rglob('*')) == ['after', 'folder']


def test_a_place_that_may_not_be_written_asks_for_another(tmp_path):
    with pytest.raises(UserError, match='give another place'):
        files.write_text('/proc/nothing/file', 'text')


def test_tensorflow_tells_a_full_disk_as_all_others_do():
    with pytest.raises(OSError, match='No space left') as told, tensorflow_writes():
        raise tf.errors.ResourceExhaustedError(None, None, '/x/model.ckpt; No space left on device')
    assert told.value.errno == errno.ENOSPC
    message = '{{function_node __wrapped__SaveV2}} /y; Is a directory [Op:SaveV2]'
    with pytest.raises(OSError, match=r'^\[Errno \d+\] /y; Is a directory$'), tensorflow_writes():
        raise tf.errors.FailedPreconditionError(None, None, message)
    with pytest.raises(OSError, match='/x; Input/output error'), tensorflow_writes():
        raise tf.errors.UnknownError(None, None, '/x; Input/output error')


@pytest.mark.parametrize('error', [MemoryError(), tf.errors.ResourceExhaustedError(None, None, 'OOM when allocating')])
def test_where_memory_runs_out_the_flag_to_lower_is_named(error):
    @memory_for('evaluation', '--eval_batch_size')
    def evaluate():
        raise error

    with pytest.raises(UserError) as told:
        evaluate()
    assert str(told.value) == 'There is not enough memory for evaluation; lower --eval_batch_size.'
