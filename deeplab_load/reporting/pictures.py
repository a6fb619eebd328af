"""Pictures of label maps: palette PNGs, overlays, legends and pictures side by side."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from deeplab_load.data.specs import Colour, pascal_colours

VOID_COLOUR = (224, 224, 192)  # PASCAL VOC's
OPACITY = 0.6
TITLE_HEIGHT = 28


def palette(classes: Sequence[Colour]) -> np.ndarray:
    """The colour of each of the 256 labels, uint8 `[256, 3]`: those of the classes, then PASCAL VOC's."""
    colours = [*classes, *pascal_colours(256)[len(classes) :]]
    colours[255] = VOID_COLOUR
    return np.array(colours, np.uint8)


def index_picture(label_map: np.ndarray, colours: np.ndarray) -> Image.Image:
    """A uint8 `[height, width]` label map as a picture of indices that shows in its colours."""
    picture = Image.frombytes('P', label_map.shape[::-1], np.ascontiguousarray(label_map).tobytes())
    picture.putpalette(colours.ravel().tolist())
    return picture


def overlay(image: np.ndarray, label_map: np.ndarray, colours: np.ndarray) -> Image.Image:
    """The label map's colours over the image, uint8 `[height, width, 3]`."""
    mixed = (1 - OPACITY) * image + OPACITY * colours[label_map]
    return Image.fromarray(np.round(mixed).astype(np.uint8))


def legend(names: Sequence[str], colours: np.ndarray) -> Image.Image:
    """A line for each class: its colour, number and name."""
    font, step = ImageFont.load_default(16), 24
    lines = [f'{number}  {name}' for number, name in enumerate(names)]
    width = 48 + max(round(font.getlength(line)) for line in lines)
    picture = Image.new('RGB', (width, step * len(lines) + 8), 'white')
    draw = ImageDraw.Draw(picture)
    for number, line in enumerate(lines):
        top = 4 + step * number
        draw.rectangle([6, top + 2, 32, top + step - 3], fill=tuple(map(int, colours[number])), outline='black')
        draw.text((40, top + 3), line, fill='black', font=font)
    return picture


def side_by_side(pictures: Sequence[tuple[str, Image.Image]]) -> Image.Image:
    """Pictures of one size in a row, each under its title."""
    width, height = pictures[0][1].size
    row = Image.new('RGB', (width * len(pictures), height + TITLE_HEIGHT), 'white')
    draw, font = ImageDraw.Draw(row), ImageFont.load_default(14)
    for number, (title, picture) in enumerate(pictures):
        draw.text((number * width + 6, 6), _fitted(title, font, width - 12), fill='black', font=font)
        row.paste(picture.convert('RGB'), (number * width, TITLE_HEIGHT))
    return row


def _fitted(title: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """The end of a title that is too long, where paths differ."""
    while len(title) > 1 and font.getlength(title) > width:
        title = title[1:]
    return title
