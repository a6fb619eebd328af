"""The clients over gRPC and HTTP on loopback, and the C program without Python."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from .conftest import smooth_noise
from .server import grpc_server, rest_server

CLIENTS = pathlib.Path(__file__).parents[2] / 'clients'
SERVERS = {'grpc_client.py': grpc_server, 'rest_client.py': rest_server}
IMAGES = {'a.png': (60, 70), 'b.png': (301, 173), 'd.PNG': (1200, 1100)}


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / 'images'
    folder.mkdir()
    for seed, (name, size) in enumerate(IMAGES.items()):
        Image.fromarray(smooth_noise(*size, seed)).save(folder / name)
    (folder / 'notes.txt').write_text('not an image')
    return folder


def run(client, *arguments):
    command = [sys.executable, str(CLIENTS / client), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def label_map(signatures, path):
    pixels = np.asarray(Image.open(path))[np.newaxis]
    return signatures['serving_default'](ImageTensor=pixels)['SemanticPredictions'][0].numpy()


@pytest.mark.parametrize('client', SERVERS)
def test_a_folder_is_segmented_whatever_is_in_it(client, signatures, saved_model, images, tmp_path):
    (images / 'c.jpg').write_bytes(b'garbage')
    classes = saved_model / 'assets' / 'classes.json'
    with SERVERS[client](signatures) as address:
        done = run(client, images, tmp_path / 'maps', f'--server={address}', f'--classes={classes}')
    assert done.returncode == 1
    assert '3 of 4 images segmented' in done.stdout
    refusals = [line for line in done.stderr.splitlines() if 'c.jpg: ' in line]
    assert refusals[0].split('c.jpg: ')[1].startswith(('INVALID_ARGUMENT', '400'))
    for name in IMAGES:
        written = Image.open(tmp_path / 'maps' / f'{pathlib.Path(name).stem}.png')
        assert np.mean(np.asarray(written) == label_map(signatures, images / name)) > 0.9999
        assert written.getpalette()[3:6] == [128, 0, 0]


def test_what_would_lose_files_is_refused_before_any_request(images, tmp_path):
    before = {path: path.read_bytes() for path in images.iterdir()}
    for arguments, sentence in (
        ((images, images), 'is the folder of the images: give another one for the label maps'),
        ((tmp_path / 'nowhere', tmp_path / 'maps'), 'No such file or directory'),
        ((images / 'a.png', tmp_path / 'maps'), 'Not a directory'),
        ((images, tmp_path / 'maps', f'--classes={images}/notes.txt'), 'notes.txt is no classes.json of a SavedModel'),
    ):
        done = run('rest_client.py', *arguments)
        assert done.returncode == 2
        assert sentence in done.stderr
        assert done.stderr.count('\n') == 1
    (images / 'a.jpg').write_bytes(b'')
    done = run('rest_client.py', images, tmp_path / 'maps')
    assert (done.returncode, 'a.jpg and' in done.stderr) == (2, True)
    assert {path: path.read_bytes() for path in before} == before
    assert not (tmp_path / 'maps').exists()


@pytest.mark.parametrize('client', SERVERS)
def test_without_a_server_the_client_says_so(client, images, tmp_path):
    server = '127.0.0.1:1' if client.startswith('grpc') else 'http://127.0.0.1:1'
    done = run(client, images, tmp_path / 'maps', f'--server={server}', '--timeout=5')
    assert done.returncode == 1
    assert '0 of 3 images segmented' in done.stdout
    assert 'Traceback' not in done.stderr


@pytest.fixture(scope='module')
def c_program(tmp_path_factory):
    package = pathlib.Path(tf.sysconfig.get_lib())
    program = tmp_path_factory.mktemp('c') / 'segment'
    command = [
        'cc', '-Wall', '-Werror', str(CLIENTS / 'c' / 'segment.c'), f'-I{tf.sysconfig.get_include()}', f'-L{package}',
        '-l:libtensorflow_cc.so.2', '-l:libtensorflow_framework.so.2', f'-Wl,-rpath,{package}', '-o', str(program),
    ]  # fmt: skip
    subprocess.run(command, check=True)
    return program


def test_a_c_program_runs_the_saved_model_without_python(c_program, saved_model, signatures, images, tmp_path):
    target = tmp_path / 'map.pgm'
    subprocess.run([c_program, saved_model, images / 'b.png', target], check=True, env={}, capture_output=True)
    assert np.mean(np.asarray(Image.open(target)) == label_map(signatures, images / 'b.png')) > 0.9999


def test_the_c_program_says_what_is_wrong(c_program, saved_model, images, tmp_path):
    (images / 'c.jpg').write_bytes(b'garbage')
    quiet = {**os.environ, 'TF_CPP_MIN_LOG_LEVEL': '3'}
    for model, image in ((tmp_path, 'a.png'), (saved_model, 'c.jpg'), (saved_model, 'none.png')):
        command = [c_program, model, images / image, tmp_path / 'map.pgm']
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=quiet)
        assert done.returncode == 1
        assert 'segment: ' in done.stderr
