"""One table of mistakes in a user's own data: what is spoilt, and the sentence that comes back."""

import os
import pathlib
import shutil

import numpy as np
import pytest
from PIL import Image

from deeplab_load.data.preparation import prepare
from deeplab_load.errors import UserError


def save(path: pathlib.Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(path)


def no_classes(root):
    (root / 'classes.txt').unlink()


def level_below(root):
    return root / 'images'


def nowhere(root):
    return root / 'nowhere'


def no_masks(root):
    shutil.rmtree(root / 'masks')


def no_images(root):
    for path in (root / 'images').iterdir():
        path.unlink()


def one_image(root):
    for number in range(1, 10):
        next((root / 'images').glob(f'im {number}.*')).unlink()


def missing_mask(root):
    (root / 'masks/im 3.png').unlink()


def other_size(root):
    save(root / 'masks/im 3.png', np.zeros((46, 36), np.uint8))


def out_of_range(root):
    save(root / 'masks/im 3.png', np.full((36, 46), 3, np.uint8))


def rgb_mask_without_colours(root):
    save(root / 'masks/im 3.png', np.zeros((36, 46, 3), np.uint8))


def unknown_colour(root):
    (root / 'classes.txt').write_text('ground 0 0 0\nthing 255 0 0\nsky 0 0 255\n')
    save(root / 'masks/im 3.png', np.full((36, 46, 3), 9, np.uint8))


def palette_of_its_own(root):
    (root / 'classes.txt').write_text('ground 0 0 0\nthing 255 0 0\nsky 0 0 255\n')
    mask = Image.new('P', (46, 36), 1)
    mask.putpalette([0, 0, 0, 0, 0, 255, 255, 0, 0])
    mask.save(root / 'masks/im 3.png')


def jpeg_mask(root):
    Image.new('L', (46, 36)).save(root / 'masks/im 3.png', format='JPEG')


def cut_mask(root):
    path = root / 'masks/im 3.png'
    path.write_bytes(path.read_bytes()[:-40])


def cut_jpeg(root):
    path = root / 'images/im 4.jpg'
    path.write_bytes(path.read_bytes()[:-60])


def empty_image(root):
    (root / 'images/im 4.jpg').write_bytes(b'')


def text_as_image(root):
    (root / 'images/im 4.jpg').write_text('not an image')


def two_of_a_name(root):
    shutil.copy(root / 'images/im 4.jpg', root / 'images/im 4.png')


def name_not_utf8(root):
    source = os.fsencode(root / 'images/im 4.jpg')
    os.rename(source, source.replace(b'im 4', b'im \xff'))


def name_of_dots(root):
    (root / 'images/im 4.jpg').rename(root / 'images/...jpg')


def empty_list(root):
    (root / 'train.txt').write_text('\n')


def name_without_file(root):
    (root / 'train.txt').write_text('im 0\nim 77\n')
    (root / 'val.txt').write_text('im 1\n')


def name_that_leads_outside(root):
    (root / 'train.txt').write_text('im 0\nx/../../../im 4\n')


def name_twice(root):
    (root / 'train.txt').write_text('im 0\nim 1\nim 0.jpg\n')


def no_val(root):
    (root / 'train.txt').write_text('im 0\nim 1\n')


def list_not_utf8(root):
    (root / 'train.txt').write_bytes(b'im 0\nim \xff\n')


def classes_not_utf8(root):
    (root / 'classes.txt').write_bytes('ground\nciel\xe9\n'.encode('latin-1'))


def no_class(root):
    (root / 'classes.txt').write_text('void\n')


def class_twice(root):
    (root / 'classes.txt').write_text('ground\nthing\nground\n')


def too_few_classes(root):
    (root / 'classes.txt').write_text('ground\nthing\n')


def colours_for_some(root):
    (root / 'classes.txt').write_text('ground 0 0 0\nthing\nsky 0 0 255\n')


def colour_twice(root):
    (root / 'classes.txt').write_text('ground 0 0 0\nthing 0 0 0\nsky 0 0 255\n')


BAD_INPUT = {
    no_classes: r'mine has no classes\.txt: name a folder with images/, masks/ and classes\.txt with --manual_dir\.',
    level_below: r'mine/images has no classes\.txt: name a folder with',
    nowhere: r'nowhere does not exist: name a folder with images/, masks/ and classes\.txt with --manual_dir\.',
    no_masks: r'mine has no masks: name a folder with',
    no_images: r'images holds no images \(\.jpg, \.jpeg, \.png\): put them there\.',
    one_image: r'images holds too few images for two splits: add some, or give train\.txt and val\.txt\.',
    missing_mask: r"masks/im 3\.png is missing, although split 'train' has the image 'im 3'",
    other_size: r'masks/im 3\.png is 36x46 pixels but its image .*images/im 3\.png is 46x36',
    out_of_range: r'masks/im 3\.png holds the labels \[3\], but .*classes\.txt has 3 lines, for the labels 0 to 2',
    rgb_mask_without_colours: r'masks/im 3\.png holds colours, not class indices: give each line of .* its colour',
    unknown_colour: r'masks/im 3\.png has pixels of the colour 9 9 9, which is not in .*classes\.txt: add a line',
    palette_of_its_own: r'im 3\.png shows its label 1 in the colour that .*classes\.txt gives to the label 2: save',
    jpeg_mask: r'masks/im 3\.png is not a PNG file',
    cut_mask: r'masks/im 3\.png cannot be read: it is no whole PNG file',
    cut_jpeg: r'images/im 4\.jpg cannot be read: it is cut or damaged; give a whole file\.',
    empty_image: r'images/im 4\.jpg cannot be read: it is no whole JPEG or PNG file',
    text_as_image: r'images/im 4\.jpg cannot be read: it is no whole JPEG or PNG file',
    two_of_a_name: r'images has both im 4\.jpg and im 4\.png: give one of them another name\.',
    name_not_utf8: r"images has a file whose name is not UTF-8, b'im \\xff\.jpg': rename it\.",
    name_of_dots: r'images has an image without a name, \.\.\.jpg: rename it\.',
    empty_list: r"train\.txt lists no images: complete it, or remove it so that 'train' is not offered\.",
    name_without_file: r"train\.txt lists 'im 77', but .*images has no im 77\.jpg or \.png: add the image or take",
    name_that_leads_outside: r"train\.txt lists 'x/\.\./\.\./\.\./im 4', which is no name of an image: take",
    name_twice: r"train\.txt lists 'im 0' more than once: take the second entry off the list\.",
    no_val: r'mine has train\.txt but no val\.txt: add it\.',
    list_not_utf8: r'train\.txt is not UTF-8 text \(byte 8\): save it as UTF-8\.',
    classes_not_utf8: r'classes\.txt is not UTF-8 text \(byte 11\): save it as UTF-8\.',
    no_class: r'classes\.txt has 0 classes; give one a line, 1 to 255 of them\.',
    class_twice: r"classes\.txt names the class 'ground' twice: every class needs a name of its own\.",
    too_few_classes: r'im \d\.png holds the labels \[2\], but .*classes\.txt has 2 lines',
    colours_for_some: r'classes\.txt gives colours .* for some lines only: give all of them, or none\.',
    colour_twice: r'classes\.txt has a colour twice, or one outside 0 to 255',
}


@pytest.mark.parametrize('spoil', BAD_INPUT, ids=lambda spoil: spoil.__name__)
def test_a_mistake_is_told_in_plain_words_that_name_the_file(make_folder, tmp_path, spoil, record_property):
    root = make_folder()
    given = spoil(root) or root
    with pytest.raises(UserError, match=BAD_INPUT[spoil]) as error:
        prepare('folder', data_dir=tmp_path / 'data', manual_dir=given, progress=False)
    record_property('sentence', str(error.value).replace(str(tmp_path), ''))
    assert '\n' not in str(error.value)
    assert str(error.value).endswith('.')
    assert not list((tmp_path / 'data').glob('folder/*'))
