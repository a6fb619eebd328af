"""Rows of pictures: what the models of an experiment make of a few images (the article's Figs 4 to 7)."""

import pathlib
import re
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from deeplab_load.data.image_files import opened
from deeplab_load.reporting.pictures import side_by_side
from deeplab_load.reporting.runs import Experiment, Run
from deeplab_load.reporting.samples import SAMPLES

COLUMNS = 10  # of maps through the cycles
HEIGHT = 160  # of a picture in the contact sheet


@dataclass(frozen=True)
class ImageRow:
    """One image: its id, and its titled pictures in their files."""

    image_id: str
    pictures: tuple[tuple[str, pathlib.Path], ...]


def evaluation_rows(experiment: Experiment) -> list[ImageRow]:
    """Input, truth, baseline and each arm's best model, of the lowest seed that every arm finished, else of its own."""
    finished = [arm for arm in experiment.arms if arm.finished]
    if not finished:
        return []
    shared = set.intersection(*({run.seed for run in arm.finished} for arm in finished))
    runs = {
        a.label: next((r for r in a.finished if r.seed == min(shared, default=-1)), a.finished[0]) for a in finished
    }
    first = next(iter(runs.values()))
    rows = []
    for home in _homes(first, 'evaluation'):
        maps = [('baseline', home / 'g0.png')]
        maps += [(label, _home(run, 'evaluation') / home.name / 'best.png') for label, run in runs.items()]
        rows.append(_row(home, maps))
    return rows


def cycle_rows(run: Run) -> list[ImageRow]:
    """Input, truth and the maps of g0, of the peaks and of the ends of cycles, in their order; evenly thinned out."""
    rows = []
    for home in _homes(run, 'holdout'):
        names = sorted((p.stem for p in home.glob('[ep]*-*.png')), key=_moment)
        rows.append(_row(home, [(_words(name), home / f'{name}.png') for name in ('g0', *_thinned(names))]))
    return rows


def _home(run: Run, part: str) -> pathlib.Path:
    return run.path / SAMPLES / part


def _homes(run: Run, part: str) -> list[pathlib.Path]:
    return sorted(path for path in _home(run, part).glob('*') if path.is_dir())


def _row(home: pathlib.Path, maps: Sequence[tuple[str, pathlib.Path]]) -> ImageRow:
    pictures = [('input', home / 'image.jpg'), ('truth', home / 'truth.png'), *maps]
    return ImageRow(urllib.parse.unquote(home.name), tuple((t, file) for t, file in pictures if file.exists()))


def _moment(name: str) -> tuple[int, bool]:
    kind, cycle = name.split('-')
    return int(cycle), kind == 'end'


def _words(name: str) -> str:
    return re.sub(r'(peak|end)-(\d+)', r'\1 of cycle \2', name)


def _thinned(names: Sequence[str]) -> list[str]:
    if len(names) <= COLUMNS:
        return list(names)
    return [names[round(i * (len(names) - 1) / (COLUMNS - 1))] for i in range(COLUMNS)]


def contact_sheet(rows: Sequence[ImageRow]) -> Image.Image:
    """All rows in one picture, each with its titles above."""
    strips = [side_by_side([(title, _read(file)) for title, file in row.pictures]) for row in rows]
    sheet = Image.new('RGB', (max(s.width for s in strips), sum(s.height for s in strips)), 'white')
    top = 0
    for strip in strips:
        sheet.paste(strip, (0, top))
        top += strip.height
    return sheet


def _read(file: pathlib.Path) -> Image.Image:
    with opened(file, file) as picture:
        return _scaled(picture)


def _scaled(picture: Image.Image) -> Image.Image:
    size = (max(1, round(picture.width * HEIGHT / picture.height)), HEIGHT)
    return picture.resize(size, Image.Resampling.NEAREST if picture.mode == 'P' else Image.Resampling.BICUBIC)
