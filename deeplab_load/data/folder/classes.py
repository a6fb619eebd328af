"""classes.txt of a user's own data: the classes, the labels that are void, and the colours of RGB masks."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deeplab_load.data.pairs import decode_indices, decode_png, holds_indices, png_palette, read_lines
from deeplab_load.data.specs import Colour, pascal_colours
from deeplab_load.errors import UserError

FILE = 'classes.txt'
VOID_NAME, VOID = 'void', 255
LINE = re.compile(r'(?P<name>.*?\S)(?:\s+(?P<red>\d{1,9})\s+(?P<green>\d{1,9})\s+(?P<blue>\d{1,9}))?')


@dataclass(frozen=True)
class ClassTable:
    """One line for each label of the masks from 0 on: `name`, or `name red green blue`; `void` is no class."""

    path: Path
    names: tuple[str, ...]
    colours: tuple[Colour, ...] | None

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the lines."""
        return tuple(name for name in self.names if name != VOID_NAME)

    @property
    def class_colours(self) -> tuple[Colour, ...]:
        """The colours of the classes; PASCAL VOC's where the file has none."""
        if self.colours is None:
            return pascal_colours(len(self.classes))
        return tuple(colour for name, colour in zip(self.names, self.colours, strict=True) if name != VOID_NAME)

    def class_of_label(self) -> np.ndarray:
        """The class of each label, uint8 [labels], void as 255."""
        is_class = np.array([name != VOID_NAME for name in self.names])
        return np.where(is_class, np.cumsum(is_class) - 1, VOID).astype(np.uint8)

    def decode(self, data: bytes, path: Path) -> np.ndarray:
        """The classes, uint8 [height, width], in an index PNG or, where the table has colours, an RGB one.

        Raises UserError naming the file and the first label or colour that the table lacks.
        """
        if holds_indices(data, path):
            labels = decode_indices(data, path)
            self._check_palette(png_palette(data, path), labels, path)
            return self._from_labels(labels, path)
        if self.colours is None:
            raise UserError(
                f'{path} holds colours, not class indices: give each line of {self.path} its colour (`name red green '
                'blue`), or save the mask as a palette or grey 8-bit PNG.'
            )
        return self._from_colours(decode_png(data, path, 'RGB'), path)

    def _from_labels(self, labels: np.ndarray, path: Path) -> np.ndarray:
        strange = sorted(set(np.unique(labels).tolist()) - {*range(len(self.names)), VOID})
        if strange:
            raise UserError(
                f'{path} holds the labels {strange}, but {self.path} has {len(self.names)} lines, for the labels 0 to '
                f'{len(self.names) - 1} (255 is void): correct the mask or add a line for each label.'
            )
        table = np.full(256, VOID, np.uint8)
        table[: len(self.names)] = self.class_of_label()
        return table[labels]

    def _check_palette(self, palette: np.ndarray, labels: np.ndarray, path: Path) -> None:
        """Refuses a label that the mask shows in the colour of another line: which of the two counts is not known."""
        lines = {colour: line for line, colour in enumerate(self.colours or ())}
        for label in np.unique(labels[labels < len(palette)]).tolist():
            line = lines.get(tuple(palette[label].tolist()), label)
            if line != label:
                raise UserError(
                    f'{path} shows its label {label} in the colour that {self.path} gives to the label {line}: save '
                    'the mask as RGB if its colours count, as a grey 8-bit PNG if its labels do.'
                )

    def _from_colours(self, pixels: np.ndarray, path: Path) -> np.ndarray:
        packed = _packed(pixels)
        found, inverse = np.unique(packed, return_inverse=True)
        classes = dict(zip(_packed(np.array(self.colours)).tolist(), self.class_of_label().tolist(), strict=True))
        for colour in found.tolist():
            if colour not in classes:
                raise UserError(
                    f'{path} has pixels of the colour {colour >> 16} {colour >> 8 & 255} {colour & 255}, which is not '
                    f'in {self.path}: add a line for it (`void` if it is no class) or correct the mask.'
                )
        return np.array([classes[c] for c in found.tolist()], np.uint8)[inverse].reshape(packed.shape)


def _packed(colours: np.ndarray) -> np.ndarray:
    """[..., 3] -> one number each."""
    red, green, blue = np.moveaxis(colours.astype(np.int64), -1, 0)
    return (red << 16) + (green << 8) + blue


def read_classes(path: Path) -> ClassTable:
    """Reads classes.txt; raises UserError naming the file and what is wrong with it."""
    matches = [LINE.fullmatch(line) for line in read_lines(path)]
    lines = [match.groups() for match in matches if match]
    colours = [tuple(int(part) for part in parts) for _, *parts in lines if parts[0]]
    table = ClassTable(path, tuple(name for name, *_ in lines), tuple(colours) if colours else None)  # type: ignore[arg-type]
    if not 1 <= len(table.classes) <= VOID or len(table.names) > VOID:
        raise UserError(f'{path} has {len(table.classes)} classes; give one a line, 1 to 255 of them.')
    if len(set(table.classes)) < len(table.classes):
        twice = next(name for name in table.classes if table.classes.count(name) > 1)
        raise UserError(f'{path} names the class {twice!r} twice: every class needs a name of its own.')
    if colours and len(colours) < len(lines):
        raise UserError(f'{path} gives colours (`name red green blue`) for some lines only: give all of them, or none.')
    if len(set(colours)) < len(colours) or any(part > 255 for colour in colours for part in colour):
        raise UserError(f'{path} has a colour twice, or one outside 0 to 255: every line needs a colour of its own.')
    return table
