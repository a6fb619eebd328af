"""What both clients do around their requests: options, the images of a folder, label maps as PNG files."""

import argparse
import json
import pathlib
import sys
from collections.abc import Callable

import numpy as np
from PIL import Image

ENDINGS = ('.jpg', '.jpeg', '.png')


class RequestError(Exception):
    """The server refused a file, or there is no server; the words are its own."""


def options(description: str, server: str) -> argparse.Namespace:
    """The command line that both clients share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument('images', type=pathlib.Path, help='folder of JPEG and PNG files')
    parser.add_argument('maps', type=pathlib.Path, help='folder for the label maps, PNG')
    parser.add_argument('--server', default=server, help='%(default)s by default')
    parser.add_argument('--model', default='segmentor', help="the model's name, %(default)s by default")
    parser.add_argument('--classes', type=pathlib.Path, help='assets/classes.json of the SavedModel, for colours')
    parser.add_argument('--timeout', type=float, default=60, help='seconds for one image, %(default)s by default')
    return parser.parse_args()


def segment_folder(given: argparse.Namespace, segment: Callable[[bytes], np.ndarray]) -> int:
    """Segments every image of the folder; returns the exit status: 1 if any was refused, 2 for a mistake.

    `segment` takes an encoded image to its label map, uint8 [height, width], or raises RequestError.
    """
    try:
        files, palette = _files(given.images, given.maps), _palette(given.classes)
        given.maps.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        print(f'Nothing is segmented: {error}', file=sys.stderr)
        return 2
    refused = 0
    for path in files:
        try:
            label_map = segment(path.read_bytes())
        except RequestError as error:
            print(f'{path}: {error}', file=sys.stderr)
            refused += 1
            continue
        target = given.maps / f'{path.stem}.png'
        coloured(label_map, palette).save(target)
        print(f'{path} -> {target}')
    print(f'{len(files) - refused} of {len(files)} images segmented')
    return 1 if refused or not files else 0


def _files(images: pathlib.Path, maps: pathlib.Path) -> list[pathlib.Path]:
    """The images of a folder; raises ValueError where a label map would overwrite an image or another label map."""
    if maps.resolve() == images.resolve():
        raise ValueError(f'{maps} is the folder of the images: give another one for the label maps')
    files = sorted(path for path in images.iterdir() if path.suffix.lower() in ENDINGS)
    of_stems: dict[str, pathlib.Path] = {}
    for path in files:
        if other := of_stems.get(path.stem):
            raise ValueError(f'{other} and {path} would have label maps of the same name: rename one of them')
        of_stems[path.stem] = path
    return files


def _palette(classes: pathlib.Path | None) -> list[int]:
    """The classes' colours; none without a file."""
    if classes is None:
        return []
    try:
        return [int(channel) for colour in json.loads(classes.read_text())['colours'] for channel in colour]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f'{classes} is no classes.json of a SavedModel') from error


def coloured(label_map: np.ndarray, palette: list[int]) -> Image.Image:
    """The label map as a grey image, or with the classes' colours as its palette."""
    image = Image.fromarray(label_map)
    if palette:
        image.putpalette(palette)
    return image
