"""Photographs as users have them: finding the files, and reading any JPEG or PNG as RGB."""

import glob
import io
import pathlib
from collections.abc import Iterable, Iterator

import numpy as np
from PIL import Image, ImageOps

from deeplab_load.data.image_files import opened, read_bytes
from deeplab_load.errors import UserError
from deeplab_load.reporting.folders import writable_folder

SUFFIXES = ('.jpg', '.jpeg', '.png')


def find_photographs(arguments: Iterable[str]) -> list[pathlib.Path]:
    """The files that arguments name: files, folders of JPEG and PNG files, and patterns such as 'x/*.jpg'.

    A file named twice is listed once.

    Raises:
        UserError: an argument names nothing, or there is none.
    """
    found = dict.fromkeys(path for argument in arguments for path in _named(argument))
    if not found:
        raise UserError('There are no images: name files, folders, or patterns in quotes.')
    return list(found)


def _named(argument: str) -> Iterator[pathlib.Path]:
    path = pathlib.Path(argument).expanduser()
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
        if not files:
            raise UserError(f'The folder {argument} holds no JPEG or PNG files: name another one.')
        yield from files
    elif path.exists():
        yield path
    else:
        files = [pathlib.Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
        if not files:
            raise UserError(f'There is no file, folder or match of {argument}: name another one.')
        yield from files


def require_apart(photographs: Iterable[pathlib.Path], output_dir: str) -> pathlib.Path:
    """Makes the folder of the pictures, whose names begin as those of the photographs do without their endings.

    Raises:
        UserError: two photographs would have pictures of the same names, the folder holds one of the photographs, so
            that pictures would be taken for photographs the next time, or it cannot be made.
    """
    folder = pathlib.Path(output_dir).expanduser()
    seen: dict[str, pathlib.Path] = {}
    for path in photographs:
        other = seen.setdefault(path.stem, path)
        if other is not path:
            raise UserError(f'{other} and {path} would have pictures of the same names: predict them into two folders.')
        if path.absolute().parent == folder.absolute():
            raise UserError(
                f'--output_dir={output_dir} is the folder of {path.name}: give another one for the pictures.'
            )
    return writable_folder(folder, '--output_dir')


def read_photograph(path: pathlib.Path) -> np.ndarray:
    """The picture in a JPEG or PNG file, as it is to be seen: uint8 [height, width, 3].

    It is turned as its EXIF orientation says; grey, palette, CMYK and 16-bit pictures become RGB of 8 bits, transparent
    ones are laid on white.

    Raises:
        UserError: as `read_bytes` and `opened`.
    """
    with opened(io.BytesIO(read_bytes(path)), path) as picture:
        return np.asarray(_rgb(ImageOps.exif_transpose(picture)))


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith('I'):  # 16-bit grey, which `convert` would cut off at 255.
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if not picture.has_transparency_data:
        return picture.convert('RGB')
    layer = picture.convert('RGBA')
    return Image.alpha_composite(Image.new('RGBA', layer.size, 'white'), layer).convert('RGB')
