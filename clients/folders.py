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
    """Segments every image of the folder; returns the exit status, 1 if any was refused.

    `segment` takes an encoded image to its label map, uint8 [height, width], or raises RequestError.
    """
    files = sorted(path for path in given.images.iterdir() if path.suffix.lower() in ENDINGS)
    given.maps.mkdir(parents=True, exist_ok=True)
    refused = 0
    for path in files:
        try:
            label_map = segment(path.read_bytes())
        except RequestError as error:
            print(f'{path}: {error}', file=sys.stderr)
            refused += 1
            continue
        target = given.maps / f'{path.stem}.png'
        coloured(label_map, given.classes).save(target)
        print(f'{path} -> {target}')
    print(f'{len(files) - refused} of {len(files)} images segmented')
    return 1 if refused or not files else 0


def coloured(label_map: np.ndarray, classes: pathlib.Path | None) -> Image.Image:
    """The label map as a grey image, or with the classes' colours as its palette."""
    image = Image.fromarray(label_map)
    if classes:
        image.putpalette([channel for colour in json.loads(classes.read_text())['colours'] for channel in colour])
    return image
