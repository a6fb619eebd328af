"""Photographs of every kind a user may have: found, read as RGB, or refused in one sentence."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from deeplab_load.data.photographs import find_photographs, read_photograph, require_apart
from deeplab_load.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 9, 3)).astype(np.uint8)
SMOOTH = np.tile(np.linspace(10, 240, 48, dtype=np.uint8)[:, None, None], (1, 64, 3))


@pytest.fixture
def save(tmp_path):
    def save(picture, name, **options):
        if isinstance(picture, np.ndarray):
            picture = Image.fromarray(picture)
        picture.save(tmp_path / name, **options)
        return tmp_path / name

    return save


def png16(rows, colour_type):
    """A 16-bit PNG, which Pillow does not write for RGB: uint16 [height, width, channels]."""
    height, width, _ = rows.shape
    raw = b''.join(b'\0' + row.astype('>u2').tobytes() for row in rows)

    def chunk(kind, data):
        return struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))

    header = struct.pack('>IIBBBBB', width, height, 16, colour_type, 0, 0, 0)
    chunks = chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(raw)) + chunk(b'IEND', b'')
    return b'\x89PNG\r\n\x1a\n' + chunks


def test_rgb_grey_and_palette(save):
    np.testing.assert_array_equal(read_photograph(save(PIXELS, 'rgb.png')), PIXELS)
    grey = PIXELS[..., 0]
    np.testing.assert_array_equal(read_photograph(save(grey, 'grey.png')), np.repeat(grey[..., None], 3, 2))
    two = Image.fromarray(PIXELS).quantize(2)
    np.testing.assert_array_equal(read_photograph(save(two, 'palette.png')), np.asarray(two.convert('RGB')))
    bits = Image.fromarray(grey > 99)
    assert set(np.unique(read_photograph(save(bits, 'bits.png')))) == {0, 255}


def test_a_jpeg_is_read_as_tensorflow_reads_it(save):
    import tensorflow as tf

    from deeplab_load.data.preprocessing import decode_image

    file = save(np.repeat(np.repeat(PIXELS, 16, 0), 16, 1), 'x.jpg', quality=90)
    np.testing.assert_array_equal(read_photograph(file), decode_image(tf.constant(file.read_bytes())))


def test_cmyk(save):
    file = save(Image.fromarray(SMOOTH).convert('CMYK'), 'x.jpg', quality=95)
    assert np.abs(read_photograph(file).astype(int) - SMOOTH).max() <= 4


def test_transparent_pictures_lie_on_white(save):
    alpha = np.zeros((6, 9, 1), np.uint8)
    alpha[:3] = 255
    seen = read_photograph(save(np.concatenate([PIXELS, alpha], 2), 'x.png'))
    np.testing.assert_array_equal(seen[:3], PIXELS[:3])
    assert (seen[3:] == 255).all()
    grey = Image.fromarray(np.concatenate([PIXELS[..., :1], alpha], 2))
    assert (read_photograph(save(grey, 'la.png'))[3:] == 255).all()
    one = Image.fromarray(np.zeros((2, 2), np.uint8)).convert('P')
    assert (read_photograph(save(one, 'p.png', transparency=0)) == 255).all()


@pytest.mark.parametrize(('colour_type', 'channels'), [(0, 1), (2, 3), (6, 4)])
def test_16_bits_are_brought_to_8(tmp_path, colour_type, channels):
    values = np.arange(24 * channels, dtype=np.uint16).reshape(4, 6, channels) * 600
    values[..., 3:] = 65535
    (tmp_path / 'x.png').write_bytes(png16(values, colour_type))
    expected = np.broadcast_to((values >> 8)[..., :3], (4, 6, 3))
    assert np.abs(read_photograph(tmp_path / 'x.png').astype(int) - expected).max() <= 1


@pytest.mark.parametrize('orientation', range(1, 9))
def test_exif_orientation_is_applied(save, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = {1: PIXELS, 2: PIXELS[:, ::-1], 3: PIXELS[::-1, ::-1], 4: PIXELS[::-1]}
    transposed = PIXELS.transpose(1, 0, 2)
    stored |= {5: transposed, 6: transposed[::-1], 7: transposed[::-1, ::-1], 8: transposed[:, ::-1]}
    file = save(np.ascontiguousarray(stored[orientation]), 'x.png', exif=exif)
    np.testing.assert_array_equal(read_photograph(file), PIXELS)


def test_a_pixel_is_a_picture(save):
    assert read_photograph(save(PIXELS[:1, :1], 'x.png')).shape == (1, 1, 3)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def damage(path):
    data = bytearray(path.read_bytes())
    data[60] ^= 0xFF
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    'spoil',
    [cut, damage, lambda p: p.write_bytes(b''), lambda p: p.write_text('no picture'), lambda p: p.unlink()],
    ids=['cut', 'damaged', 'empty', 'text', 'missing'],
)
def test_what_is_no_picture_is_named(save, spoil):
    file = save(np.repeat(PIXELS, 20, 0), 'x.png')
    spoil(file)
    with pytest.raises(UserError, match=r'x\.png cannot be read: ') as info:
        read_photograph(file)
    assert '\n' not in str(info.value)


def test_other_formats_and_bombs_are_refused(save, tmp_path):
    with pytest.raises(UserError, match=r'x\.bmp cannot be read: it is no whole JPEG or PNG file'):
        read_photograph(save(PIXELS, 'x.bmp'))
    huge = png16(np.zeros((1, 1, 1), np.uint16), 0).replace(struct.pack('>II', 1, 1), struct.pack('>II', 60000, 60000))
    crc = zlib.crc32(huge[12:29])
    (tmp_path / 'huge.png').write_bytes(huge[:29] + struct.pack('>I', crc) + huge[33:])
    with pytest.raises(UserError, match=r'huge\.png cannot be read'):
        read_photograph(tmp_path / 'huge.png')


def test_files_folders_and_patterns_are_found_once(save, tmp_path):
    (tmp_path / 'more').mkdir()
    b, a = save(PIXELS, 'b.png'), save(PIXELS, 'a.JPG', format='JPEG')
    (tmp_path / 'notes.txt').touch()
    c = save(PIXELS, 'more/c.jpeg')
    assert find_photographs([str(tmp_path)]) == [a, b]
    assert find_photographs([str(b), str(tmp_path / '**' / '*.jp*g'), str(tmp_path)]) == [b, c, a]


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        ([], 'There are no images'),
        (['{}/none.jpg'], r'There is no file, folder or match of .*none\.jpg'),
        (['{}/*.gif'], r'There is no file, folder or match of .*\*\.gif'),
        (['{}/empty'], 'The folder .*empty holds no JPEG or PNG files'),
    ],
)
def test_arguments_that_name_nothing_are_refused(tmp_path, arguments, words):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UserError, match=words):
        find_photographs([argument.format(tmp_path) for argument in arguments])


def test_pictures_never_overwrite_each_other_or_a_photograph(save, tmp_path):
    (tmp_path / 'more').mkdir()
    first, second = save(PIXELS, 'a.png'), save(PIXELS, 'more/a.jpg')
    with pytest.raises(UserError, match=r'a\.png and .*more/a\.jpg would have pictures of the same names'):
        require_apart([first, second], str(tmp_path / 'out'))
    with pytest.raises(UserError, match=r'is the folder of a\.png'):
        require_apart([first], str(tmp_path))
    with pytest.raises(UserError, match='cannot be made: Not a directory'):
        require_apart([second], str(first / 'out'))
    assert require_apart([first], str(tmp_path / 'out')).is_dir()
