import functools
import gzip
import http.server
import io
import os
import pathlib
import re
import tarfile
import threading

import pytest

from deeplab_load.catalog import CATALOG
from deeplab_load.errors import UserError
from deeplab_load.restore import archive
from deeplab_load.restore.download import download

ROW = next(row for row in CATALOG if row.name == 'mobilenetv2_coco_voc_trainaug')
CONTENT = {
    f'{ROW.folder}/model.ckpt-30000.index': b'index',
    f'{ROW.folder}/model.ckpt-30000.data-00000-of-00001': os.urandom(300_000),
}


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves one file, with Range or without, and breaks off where it is told to."""

    def __init__(self, published, *arguments):
        self.published = published
        super().__init__(*arguments)

    def do_GET(self):
        asked = self.headers.get('Range')
        self.published.asked.append((self.path, asked))
        if self.path != f'/models/{ROW.archive}':
            return self.send_error(404)
        content, start = self.published.content, 0
        if asked and self.published.ranges:
            start = int(re.fullmatch(r'bytes=(\d+)-', asked)[1])
            if start >= len(content):
                return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            self.send_header('Content-Range', f'bytes {start}-{len(content) - 1}/{len(content)}')
        self.send_header('Content-Length', str(self.published.claimed or len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : self.published.cut])
        return None

    def log_message(self, *arguments):
        pass


class Published:
    """What the server does."""

    def __init__(self):
        self.content, self.ranges, self.cut, self.claimed, self.asked = b'', True, None, None, []


@pytest.fixture
def published():
    return Published()


@pytest.fixture
def base_url(published):
    server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(Handler, published))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f'http://127.0.0.1:{server.server_port}/models/'
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def home(tmp_path) -> pathlib.Path:
    return tmp_path / 'checkpoints'


def packed(content=None, *members: tarfile.TarInfo) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w:gz') as tar:
        for name, value in (CONTENT if content is None else content).items():
            info = tarfile.TarInfo(name)
            info.size = len(value)
            tar.addfile(info, io.BytesIO(value))
        for member in members:
            tar.addfile(member)
    return buffer.getvalue()


def special(name: str, kind: bytes, target: str = '') -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def files(folder: pathlib.Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob('*') if path.is_file() or path.is_symlink())


def require_home(home: pathlib.Path) -> None:
    """The whole checkpoint, its archive and the archive's digest, and nothing else."""
    assert files(home) == sorted([*CONTENT, ROW.archive, f'{ROW.archive}.sha256'])
    for name, value in CONTENT.items():
        assert (home / name).read_bytes() == value


def refused(home, base_url) -> str:
    with pytest.raises(UserError) as error:
        download(ROW, home, base_url=base_url)
    assert '\n' not in str(error.value)
    return str(error.value)


def test_a_download_appears_whole(published, base_url, home):
    published.content = packed()
    assert download(ROW, home, base_url=base_url) == home / ROW.folder
    require_home(home)
    assert download(ROW, home, base_url=base_url) == home / ROW.folder
    assert len(published.asked) == 1


@pytest.mark.parametrize('top', ['', 'another/'])
def test_the_folder_has_its_own_name_whatever_the_archive_s(published, base_url, home, top):
    published.content = packed({f'{top}{name.partition("/")[2]}': value for name, value in CONTENT.items()})
    download(ROW, home, base_url=base_url)
    require_home(home)


def test_a_cut_transfer_goes_on_where_it_stopped(published, base_url, home):
    published.content, published.cut = packed(), 100_000
    assert f'was cut at 100000 of {len(published.content)} bytes: give the command again' in refused(home, base_url)
    assert files(home) == [f'.part-{ROW.archive}']
    published.cut = 200_000
    assert 'cut at 200000 of' in refused(home, base_url)
    published.cut = None
    download(ROW, home, base_url=base_url)
    require_home(home)
    assert [asked for _, asked in published.asked] == [None, 'bytes=100000-', 'bytes=200000-']


def test_a_server_without_ranges_starts_again(published, base_url, home):
    published.content, published.cut, published.ranges = packed(), 100_000, False
    refused(home, base_url)
    published.cut = None
    download(ROW, home, base_url=base_url)
    require_home(home)


def test_a_part_of_another_file_is_thrown_away(published, base_url, home):
    published.content = packed()
    home.mkdir()
    (home / f'.part-{ROW.archive}').write_bytes(bytes(len(published.content)))
    download(ROW, home, base_url=base_url)
    require_home(home)


def test_another_digest_than_the_first_is_refused(published, base_url, home):
    home.mkdir()
    (home / f'{ROW.archive}.sha256').write_text(f'{64 * "a"}  {ROW.archive}\n')
    published.content = packed()
    assert re.search(r'digest [0-9a-f]{12}\.\.\., but aaaaaaaaaaaa\.\.\. is kept in', refused(home, base_url))
    assert files(home) == [f'{ROW.archive}.sha256']


def test_the_kept_archive_is_unpacked_again_if_it_is_what_it_was(published, base_url, home):
    published.content = packed()
    folder = download(ROW, home, base_url=base_url)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    download(ROW, home, base_url=base_url)
    require_home(home)
    assert len(published.asked) == 1


@pytest.mark.parametrize('name', ['../outside', '/tmp/deeplab_load_outside', f'{ROW.folder}/../../outside'])
def test_no_path_leaves_the_folder(published, base_url, home, name):
    published.content = packed({**CONTENT, name: b'x'})
    assert 'which leaves its folder' in refused(home, base_url)
    assert files(home.parent) == []
    assert not pathlib.Path('/tmp/deeplab_load_outside').exists()


@pytest.mark.parametrize('kind', [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_no_links_and_no_devices(published, base_url, home, kind):
    published.content = packed(CONTENT, special(f'{ROW.folder}/link', kind, target='/etc/passwd'))
    assert 'a link or a device' in refused(home, base_url)
    assert files(home) == []


def test_a_name_twice(published, base_url, home):
    name = f'{ROW.folder}/model.ckpt-30000.index'
    published.content = packed({f'./{name}': b'first', **CONTENT})
    assert 'holds a name twice' in refused(home, base_url)
    assert files(home) == []


@pytest.mark.parametrize('zeros', ['in a file', 'in a header', 'behind the end'])
def test_a_bomb(published, base_url, home, monkeypatch, zeros):
    monkeypatch.setattr(archive, 'OF_WEIGHTS', archive.OF_WEIGHTS._replace(always=1 << 20))
    size = 64 << 20
    if zeros == 'in a file':
        published.content = packed({'zeros': bytes(size)})
    elif zeros == 'in a header':
        header = special('x', tarfile.XHDTYPE)
        header.size = size
        published.content = gzip.compress(header.tobuf() + bytes(size))
    else:
        published.content = gzip.compress(gzip.decompress(packed({'a': b'a'})) + bytes(size))
    assert re.search(r'unpacks to more than \d+ bytes', refused(home, base_url))
    assert files(home) == []


def test_too_many_files(published, base_url, home, monkeypatch):
    monkeypatch.setattr(archive, 'OF_WEIGHTS', archive.OF_WEIGHTS._replace(members=1))
    published.content = packed()
    assert 'more than 1 files' in refused(home, base_url)
    assert files(home) == []


@pytest.mark.parametrize('damage', ['cut', 'altered', 'foreign', 'empty'])
def test_a_damaged_archive(published, base_url, home, damage):
    content = packed()
    altered = content[:-6] + bytes([content[-6] ^ 1]) + content[-5:]
    published.content = {'cut': content[:-1000], 'altered': altered, 'foreign': b'<html>', 'empty': packed({})}[damage]
    assert ('holds nothing' if damage == 'empty' else 'is cut or damaged') in refused(home, base_url)
    assert files(home) == []


def test_not_there(base_url, home):
    assert refused(home, f'{base_url}other/').endswith('the server says 404 Not Found')
    assert files(home) == []


def test_no_server(home):
    assert 'cannot be downloaded' in refused(home, 'http://127.0.0.1:9/')
    assert files(home) == []


def test_a_longer_file_than_any_archive(published, base_url, home):
    published.content, published.claimed = b'x', 1 << 40
    assert 'more than any published archive' in refused(home, base_url)
    assert files(home) == []
