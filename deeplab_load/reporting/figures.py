"""Figures of runs, drawn without a screen; each is saved as PNG and SVG."""

import io
import itertools
import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import matplotlib as mpl
import matplotlib.patches
import matplotlib.ticker
import numpy as np
from matplotlib.figure import Figure

from deeplab_load import files
from deeplab_load.reporting.confusion import Change

STYLE: Any = {'svg.fonttype': 'none', 'font.size': 9, 'axes.spines.top': False, 'axes.spines.right': False}
CHANGE_COLOURS = ('tab:red', 'tab:purple', 'tab:green', 'tab:orange', 'tab:brown', 'black')


def save(figure: Figure, folder: pathlib.Path, name: str) -> str:
    """Writes `<name>.png` and `<name>.svg`; returns the SVG for a page."""
    with files.replacing(folder / f'{name}.png') as part:
        figure.savefig(part, dpi=120, bbox_inches='tight')
    stream = io.StringIO()
    with mpl.rc_context({**STYLE, 'svg.hashsalt': name}):
        figure.savefig(stream, format='svg', bbox_inches='tight', metadata={'Date': None})
    svg = stream.getvalue()
    files.write_text(folder / f'{name}.svg', svg)
    # A page holds many figures: their groups' ids would be the same, and their size is the page's affair.
    svg = re.sub(r' id="[A-Za-z0-9.]+_\d+"', '', svg[svg.index('<svg') :])
    return re.sub(
        r'(<svg [^>]*?) width="[^"]*"', r'\1', re.sub(r'(<svg [^>]*?) height="[^"]*"', r'\1', svg, count=1), count=1
    )


@dataclass
class Cycle:
    """A cycle in the convergence graph: the propagations done before it, and its μ, that of its start first.

    `values` repeats the last finite μ where a propagation was not finite.
    """

    origin: int
    values: list[float]
    raised: list[int] = field(default_factory=list)
    broken: list[int] = field(default_factory=list)
    end: dict[str, Any] | None = None


def cycles(events: Iterable[dict[str, Any]]) -> list[Cycle]:
    """The cycles of a run's events; the last may not have ended."""
    found: list[Cycle] = []
    for event in events:
        if event['event'] == 'baseline':
            found = [Cycle(0, [event['miou']])]
        elif event['event'] == 'propagation':
            _extend(found[-1], event)
        elif event['event'] == 'cycle_end':
            found[-1].end = event
            found.append(Cycle(found[-1].origin + len(found[-1].values) - 1, [event['start_miou']]))
    return [cycle for cycle in found if len(cycle.values) > 1]


def _extend(cycle: Cycle, event: dict[str, Any]) -> None:
    if event['raised']:
        cycle.raised.append(len(cycle.values))
    if event['miou'] is None:
        cycle.broken.append(len(cycle.values))
    cycle.values.append(cycle.values[-1] if event['miou'] is None else event['miou'])


def convergence_figure(events: Sequence[dict[str, Any]], title: str) -> Figure:
    """The hold-out mIoU over the propagations (the article's Fig. 3).

    Every cycle begins at the model that training stepped back to; peaks, raised starts and ends are marked.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 4))
        axes = figure.subplots()
        baseline = next(event['miou'] for event in events if event['event'] == 'baseline')
        axes.axhline(100 * baseline, color='0.6', linestyle='--', linewidth=1, label='g0')
        found = cycles(events)
        for cycle, following in itertools.zip_longest(found, found[1:]):
            _draw_cycle(axes, cycle, following)
        _draw_best(axes, events, baseline)
        for label, style in MARKS.items():
            axes.plot([], [], label=label, **style)
        axes.set(xlabel='propagation', ylabel='hold-out mIoU in %', title=title)
        axes.grid(alpha=0.3)
        axes.legend(loc='upper center', bbox_to_anchor=(0.5, -0.14), ncol=8, frameon=False, columnspacing=1.2)
    return figure


MARKS: dict[str, dict[str, Any]] = {
    'peak': {'color': 'tab:green', 'marker': '^', 'linestyle': '', 'markersize': 8},
    'diverged': {'color': 'tab:red', 'marker': 'v', 'linestyle': '', 'markersize': 6},
    'other end': {'color': 'black', 'marker': 's', 'linestyle': '', 'markersize': 4},
    'start raised': {'color': 'tab:blue', 'marker': 'o', 'linestyle': '', 'markersize': 5, 'markerfacecolor': 'white'},
    'not finite': {'color': 'tab:red', 'marker': 'x', 'linestyle': '', 'markersize': 7},
    'step back': {'color': '0.5', 'linestyle': ':', 'linewidth': 1},
}


def _draw_cycle(axes: Any, cycle: Cycle, following: Cycle | None) -> None:
    steps = [cycle.origin + number for number in range(len(cycle.values))]
    values = [100 * value for value in cycle.values]
    axes.plot(steps, values, color='tab:blue', linewidth=1.2)

    def mark(kind: str, numbers: Iterable[int]) -> None:
        for number in numbers:
            axes.plot(steps[number], values[number], **MARKS[kind])

    mark('start raised', cycle.raised)
    mark('not finite', cycle.broken)
    if cycle.end:
        mark('diverged' if cycle.end['reason'] == 'diverged' else 'other end', [-1])
        if cycle.end['peak']:
            mark('peak', [cycle.values.index(cycle.end['best_miou'])])
        back = 100 * cycle.end['start_miou']
        if following:
            axes.plot([steps[-1]] * 2, [values[-1], back], **MARKS['step back'])


def _draw_best(axes: Any, events: Iterable[dict[str, Any]], baseline: float) -> None:
    best = [100 * baseline, *(100 * e['best_miou'] for e in events if e['event'] == 'propagation')]
    axes.step(range(len(best)), best, where='post', color='tab:green', alpha=0.5, linewidth=1, label='best so far')


def accuracy_figure(series: Mapping[str, Sequence[tuple[int, float]]], xlabel: str) -> Figure:
    """Balanced accuracy of D, one line a run; 50 % is chance."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 3.2))
        axes = figure.subplots()
        axes.axhline(50, color='0.6', linestyle='--', linewidth=1, label='chance')
        for label, points in series.items():
            axes.plot([x for x, _ in points], [100 * value for _, value in points], '.-', label=label)
        axes.set(xlabel=xlabel, ylabel='balanced accuracy in %')
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend(loc='upper center', bbox_to_anchor=(0.5, -0.18), ncol=3, frameon=False)
    return figure


def confusion_figure(matrix: np.ndarray, classes: Sequence[str], title: str, marked: Sequence[Change] = ()) -> Figure:
    """A confusion matrix of shares, in percent in each cell, or of counts; the marked pairs are framed.

    Cells without a value are grey. Counts are drawn on a logarithmic scale, which has no place for 0.
    """
    side = max(4.0, 0.42 * len(classes)) + 1.2
    colours = mpl.colormaps['Blues'].with_extremes(bad='0.9')
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(side, side))
        axes = figure.subplots()
        if matrix.dtype.kind == 'i':
            scale = mpl.colors.LogNorm(vmin=1, vmax=max(2, matrix.max()))
            image = axes.imshow(np.ma.masked_less(matrix, 1), norm=scale, cmap=colours)
            figure.colorbar(image, ax=axes, fraction=0.046)
        else:
            axes.imshow(np.ma.masked_invalid(matrix), cmap=colours, vmin=0, vmax=1)
            _write_shares(axes, matrix)
        for change, colour in zip(marked, CHANGE_COLOURS, strict=False):
            corner = (change.prediction - 0.48, change.label - 0.48)
            axes.add_patch(mpl.patches.Rectangle(corner, 0.96, 0.96, fill=False, edgecolor=colour, linestyle='--'))
        axes.set_xticks(range(len(classes)), classes, rotation=90)
        axes.set_yticks(range(len(classes)), classes)
        axes.set(xlabel='prediction', ylabel='label', title=title)
    return figure


def _write_shares(axes: Any, shares: np.ndarray) -> None:
    for (row, column), share in np.ndenumerate(shares):
        if share >= 0.0005:
            colour = 'white' if share > 0.5 else 'black'
            axes.text(column, row, f'{100 * share:.1f}', ha='center', va='center', color=colour, fontsize=7)
