"""Tables of results: for the terminal, as CSV, and with the best in bold."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from deeplab_load.evaluation.assessment import Assessment
from deeplab_load.metrics import Metrics


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lays out rows of words; the first column is flush left, the others flush right."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]

    def line(row: Sequence[str]) -> str:
        cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        return '  '.join([row[0].ljust(widths[0]), *cells]).rstrip()

    return '\n'.join([line(header), '  '.join('-' * w for w in widths), *map(line, rows)])


def percent(value: float | None) -> str:
    """A fraction as a percentage with two decimals; a dash for None."""
    return '-' if value is None else f'{100 * value:.2f}'


MEANS = {
    'mIoU': 'miou',
    'mIoU, classes that occur': 'miou_present',
    'pixel accuracy': 'pixel_accuracy',
    'frequency-weighted IoU': 'frequency_weighted_iou',
}


def metrics_table(classes: Sequence[str], columns: dict[str, Metrics]) -> str:
    """IoU per class, means and pixel accuracy in percent, one column a model; two columns get their difference."""
    names, values = list(columns), list(columns.values())
    rows = [(name, [m.per_class[i] for m in values]) for i, name in enumerate(classes)]
    rows += [(title, [getattr(m, field) for m in values]) for title, field in MEANS.items()]
    header = ['IoU in %', *names] + (['difference'] if len(values) == 2 else [])
    return table(header, [[title, *map(percent, cells), *_difference(cells)] for title, cells in rows])


def _difference(cells: Sequence[float | None]) -> list[str]:
    if len(cells) != 2:
        return []
    before, after = cells
    return ['-' if before is None or after is None else f'{100 * (after - before):+.2f}']


def assessment_table(classes: Sequence[str], assessment: Assessment) -> str:
    """IoU, precision, recall and boundary metrics per class in percent, then the means and the worst images."""
    metrics, boundaries = assessment.metrics, assessment.boundaries
    columns = {'IoU': metrics.per_class, 'precision': metrics.precision, 'recall': metrics.recall}
    means = [(title, getattr(metrics, name)) for title, name in MEANS.items()]
    if boundaries:
        columns |= {'boundary IoU': boundaries.per_class_iou, 'boundary F': boundaries.per_class_f}
        width = f'{100 * assessment.boundary_width:g} % of the diagonal'
        width = width if assessment.boundary_width < 1 else f'{assessment.boundary_width:g} pixels'
        means += [(f'boundary IoU, {width}', boundaries.iou), (f'boundary F, {width}', boundaries.f)]
    rows = [(name, *map(percent, cells)) for name, *cells in zip(classes, *columns.values(), strict=True)]
    parts = [table(['in %', *columns], rows), table(['in %', ''], [(title, percent(value)) for title, value in means])]
    if assessment.worst:
        worst = [(score.prediction.image_id, percent(score.miou)) for score in assessment.worst]
        parts.append(table(['worst images', 'mIoU'], worst))
    return '\n\n'.join(parts)


@dataclass(frozen=True)
class Table:
    """A table that can be printed, saved as CSV and shown on a page.

    Attributes:
      name: of its CSV file.
      title: what it shows.
      header: names of the columns.
      rows: the cells; the first of a row names it.
      best: (row, column) of the cells to stand out.
      note: what a reader must know.
    """

    name: str
    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    best: frozenset[tuple[int, int]] = frozenset()
    note: str = ''

    def text(self) -> str:
        """The table for the terminal; the best cells have a star."""
        rows = [[f'*{v}' if (r, c) in self.best else v for c, v in enumerate(row)] for r, row in enumerate(self.rows)]
        return '\n'.join([self.title, table(self.header, rows), *([self.note] if self.note else [])])

    def csv(self) -> str:
        """Header and rows as comma-separated values."""
        stream = io.StringIO()
        csv.writer(stream, lineterminator='\n').writerows((self.header, *self.rows))
        return stream.getvalue()
