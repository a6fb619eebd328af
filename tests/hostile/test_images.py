"""Images and masks that are made to do harm, or are merely odd."""

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from deeplab_load.data.pairs import Pair, RawPair, check_pair, decode_index_png, read_bytes
from deeplab_load.data.photographs import read_photograph
from deeplab_load.data.specs import PASCAL_VOC
from deeplab_load.errors import UserError
from tests.hostile.mutations import QUICK, damaged, told

NAME = Path('x.png')
PIXELS = np.random.default_rng(0).integers(0, 256, (12, 9, 3)).astype(np.uint8)


def saved(picture, kind='PNG', **options) -> bytes:
    picture = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    buffer = io.BytesIO()
    picture.save(buffer, format=kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))


def png(width, height, bits, colour_type, rows: bytes, *between: bytes, interlace=0) -> bytes:
    header = struct.pack('>IIBBBBB', width, height, bits, colour_type, 0, 0, interlace)
    chunks = [chunk(b'IHDR', header), *between, chunk(b'IDAT', zlib.compress(rows)), chunk(b'IEND', b'')]
    return b'\x89PNG\r\n\x1a\n' + b''.join(chunks)


def checked(image: bytes, mask: bytes):
    return check_pair(RawPair(Pair('x', Path('x.jpg'), NAME), image, mask), PASCAL_VOC, decode_index_png)


def bomb(kind: str) -> bytes:
    if kind == 'png':
        return png(60_000, 60_000, 8, 2, bytes(1000))
    small = bytearray(saved(PIXELS, 'JPEG', progressive=kind == 'progressive jpeg'))
    place = small.index(b'\xff\xc2' if kind == 'progressive jpeg' else b'\xff\xc0') + 5
    small[place : place + 4] = struct.pack('>HH', 65_000, 65_000)
    return bytes(small)


BOMBS = ['png', 'jpeg', 'progressive jpeg']
GREY = saved(np.zeros((12, 9), np.uint8))


@pytest.mark.parametrize('kind', BOMBS)
def test_a_bomb_is_refused_by_its_header(tmp_path, kind):
    words = 'has more than 178,956,970 pixels; give a smaller one'
    with pytest.raises(UserError, match=words):
        checked(bomb(kind), GREY)
    (tmp_path / 'bomb').write_bytes(bomb(kind))
    with pytest.raises(UserError, match=words):
        read_photograph(tmp_path / 'bomb')


def test_a_mask_that_is_a_bomb_is_refused_by_its_header():
    with pytest.raises(UserError, match=r'x\.png cannot be read: it has more than 178,956,970 pixels'):
        checked(saved(PIXELS), png(60_000, 60_000, 8, 0, bytes(1000)))


def test_bombs_take_no_memory_in_any_decoder(tmp_path):
    # The decoder of a served model is TensorFlow's own; it runs beside the checks above, under 4 GiB of addresses more.
    for kind in BOMBS:
        (tmp_path / kind).write_bytes(bomb(kind))
    program = (
        'import pathlib, resource, sys, tensorflow as tf\n'
        'from deeplab_load.data.preprocessing import decode_image as decoded\n'
        'now = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()\n'
        'resource.setrlimit(resource.RLIMIT_AS, (now + (4 << 30),) * 2)\n'
        'for file in sys.argv[1:]:\n'
        '    try: decoded(tf.io.read_file(file))\n'
        '    except tf.errors.InvalidArgumentError: print("refused")\n'
        # Its own peak: that of getrusage begins with the size of the process that started this one.
        'status = pathlib.Path("/proc/self/status").read_text()\n'
        'print(int(status.partition("VmHWM:")[2].split()[0]) >> 10)'
    )
    files = [str(tmp_path / kind) for kind in BOMBS]
    outcome = subprocess.run([sys.executable, '-c', program, *files], capture_output=True, text=True, check=True)
    *refusals, mebibytes = outcome.stdout.split()
    assert refusals == ['refused'] * len(BOMBS)
    assert int(mebibytes) < 1024


@pytest.mark.parametrize('size', [(20_000, 3), (3, 20_000), (1, 1)])
def test_long_and_tiny_images_are_read(size):
    found = checked(saved(np.zeros((*size, 3), np.uint8)), saved(np.ones(size, np.uint8)))
    assert found.size == size
    assert found.pixels[1] == size[0] * size[1]


def test_images_of_every_kind_have_the_size_of_their_mask(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    mask = saved(np.zeros((12, 9), np.uint8))
    images = [
        saved(Image.fromarray(PIXELS).convert('CMYK'), 'JPEG'),
        saved(PIXELS, 'JPEG', exif=exif),  # As TensorFlow and the original read it: not turned.
        png(9, 12, 16, 2, (b'\0' + bytes(54)) * 12),
        png(9, 12, 16, 0, (b'\0' + bytes(18)) * 12),
        saved(Image.fromarray(PIXELS).convert('1')),
        saved(Image.fromarray(PIXELS).quantize(4)),
        saved(Image.fromarray(PIXELS).convert('RGBA')),
    ]
    assert [checked(image, mask).size for image in images] == [(12, 9)] * len(images)


@pytest.mark.parametrize('frames', [1, 2])
def test_a_gif_by_another_name_is_refused(tmp_path, frames):
    more = [Image.fromarray(PIXELS[::-1])] * (frames - 1)
    (tmp_path / 'x.png').write_bytes(saved(PIXELS, 'GIF', save_all=True, append_images=more))
    with pytest.raises(UserError, match=r'x\.png cannot be read: it is no whole JPEG or PNG file'):
        read_photograph(tmp_path / 'x.png')
    with pytest.raises(UserError, match=r'x\.jpg cannot be read: it is no whole JPEG or PNG file'):
        checked((tmp_path / 'x.png').read_bytes(), GREY)


@pytest.mark.parametrize('bits', [1, 2, 4, 8])
@pytest.mark.parametrize('interlace', [0, 1])
def test_palette_masks_of_every_depth_hold_their_indices(bits, interlace):
    # Of a single pixel the interlaced and the plain rows are the same.
    data = png(1, 1, bits, 3, bytes([0, 1 << (8 - bits)]), chunk(b'PLTE', bytes(6)), interlace=interlace)
    assert decode_index_png(data, NAME).tolist() == [[1]]


@pytest.mark.parametrize('bits', [1, 2, 4, 16])
def test_grey_masks_of_other_depths_are_refused(bits):
    with pytest.raises(UserError, match=rf'PNG colour type 0, {bits} bits\): save the label map as a palette or grey'):
        decode_index_png(png(8, 1, bits, 0, bytes(1 + 2 * 8)), NAME)


def test_a_second_header_does_not_make_colours_of_indices():
    second = chunk(b'IHDR', struct.pack('>IIBBBBB', 2, 2, 8, 2, 0, 0, 0))
    with pytest.raises(UserError, match='several headers that contradict each other'):
        decode_index_png(png(2, 2, 8, 0, bytes(14), second), NAME)
    with pytest.raises(UserError, match='not a PNG file'):
        decode_index_png(b'\x89PNG\r\n\x1a\n' + chunk(b'tEXt', b'') + GREY[8:], NAME)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / 'x.png')
    for read in (read_bytes, read_photograph):
        with pytest.raises(UserError, match=r'x\.png cannot be read: it is no file'):
            read(tmp_path / 'x.png')


EXIF = Image.Exif()
EXIF[0x0112], EXIF[0x010E] = 6, 'words'
SEEDS = [
    saved(PIXELS, exif=EXIF),
    saved(PIXELS, 'JPEG', exif=EXIF),
    saved(Image.fromarray(PIXELS).convert('CMYK'), 'JPEG', progressive=True),
    saved(Image.fromarray(PIXELS).quantize(20), transparency=3),
    GREY,
]


@given(content=st.sampled_from(SEEDS).flatmap(damaged))
@QUICK
def test_damaged_images_are_read_or_refused(tmp_path, content):
    (tmp_path / 'x.png').write_bytes(content)
    image = told(read_photograph, tmp_path / 'x.png')
    assert image is None or (image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3)
    labels = told(decode_index_png, content, NAME)
    assert labels is None or (labels.dtype == np.uint8 and labels.ndim == 2)
    told(checked, content, GREY)
    told(checked, SEEDS[0], content)
