"""Downloads of data sets, from a server of this machine."""

import dataclasses
import functools
import hashlib
import http.server
import tarfile
import threading

import pytest

from deeplab_load.data.download import download_archives
from deeplab_load.data.pascal_voc.builder import PascalVoc
from deeplab_load.data.preparation import prepare
from deeplab_load.data.specs import CITYSCAPES, PASCAL_VOC, Download
from deeplab_load.errors import UserError


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(tmp_path):
    """A server of the folder `published`; gives its address."""
    (tmp_path / 'published').mkdir()
    handler = functools.partial(Handler, directory=tmp_path / 'published')
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.shutdown()
        thread.join()


def row(url, md5):
    return dataclasses.replace(PASCAL_VOC, downloads=(Download(url, md5),))


def test_a_downloaded_archive_is_prepared(server, make_voc, tmp_path, monkeypatch):
    archive = tmp_path / 'published/voc.tar'
    with tarfile.open(archive, 'w') as tar:
        tar.add(make_voc(), arcname='VOCdevkit')
    md5 = hashlib.md5(archive.read_bytes()).hexdigest()
    monkeypatch.setattr(PascalVoc, 'spec', row(f'{server}/voc.tar', md5))
    prepared = prepare('pascal_voc', data_dir=tmp_path / 'data', download=True, progress=False)
    assert prepared.splits == ('train', 'val')
    archive.unlink()
    assert prepare('pascal_voc', data_dir=tmp_path / 'data', download=True, progress=False).splits == prepared.splits


def test_another_file_than_was_published_is_refused_and_not_kept(server, tmp_path):
    (tmp_path / 'published/voc.tar').write_bytes(b'not the archive')
    with pytest.raises(UserError, match=r'voc\.tar is not the archive that was published \(MD5 '):
        download_archives(row(f'{server}/voc.tar', '0' * 32), tmp_path / 'home')
    assert not list((tmp_path / 'home').iterdir())


def test_where_a_login_is_needed_it_is_said(tmp_path):
    with pytest.raises(UserError, match='cityscapes cannot be downloaded without a login: get the folder'):
        download_archives(CITYSCAPES, tmp_path)
