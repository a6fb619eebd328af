"""Figures of a run."""

import json
import os
import pathlib
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np

mpl.use('Agg')
from matplotlib import pyplot as plt


def read_events(file: str | os.PathLike) -> list[dict]:
    """The events of a run, in order."""
    return [json.loads(line) for line in pathlib.Path(file).read_text().splitlines()]


def convergence_figure(events: list[dict], file: str | os.PathLike) -> None:
    """Draws the hold-out mIoU over the propagations (the article's Fig. 3) and writes it as PNG.

    Every cycle starts again from its start model; divergences, peaks and ends by patience are marked.
    """
    baseline = next(e['miou'] for e in events if e['event'] == 'baseline')
    figure, axes = plt.subplots(figsize=(9, 5))
    axes.axhline(100 * baseline, color='0.6', linestyle='--', label='g0')
    origin, points = 0, [baseline]
    for event in events:
        if event['event'] == 'propagation':
            points.append(points[-1] if event['miou'] is None else event['miou'])
        if event['event'] == 'cycle_end':
            steps = range(origin, origin + len(points))
            axes.plot(steps, [100 * p for p in points], color='C0', linewidth=1.2)
            axes.plot(steps[-1], 100 * points[-1], 'rv' if event['reason'] == 'diverged' else 'ks', markersize=5)
            if event['peak']:
                best = max(range(len(points)), key=points.__getitem__)
                axes.plot(steps[best], 100 * points[best], 'g^', markersize=8)
            origin, points = steps[-1], [event['start_miou']]
    if len(points) > 1:  # There are no cycles where steps alternate.
        axes.plot(range(origin, origin + len(points)), [100 * p for p in points], color='C0', linewidth=1.2)
    for style, label in (('g^', 'peak'), ('rv', 'diverged'), ('ks', 'other end')):
        axes.plot([], [], style, label=label)
    axes.set_xlabel('propagation')
    axes.set_ylabel('hold-out mIoU in %')
    axes.set_title('Lookahead adversarial learning')
    axes.legend()
    axes.grid(alpha=0.3)
    pathlib.Path(file).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=120, bbox_inches='tight')
    plt.close(figure)


def confusion_figure(matrix: np.ndarray, classes: Sequence[str], file: str | os.PathLike, *, title: str) -> None:
    """Draws a confusion matrix, counts or shares, and writes it as PNG; cells without a value are grey.

    Counts are drawn on a logarithmic scale, which has no place for 0.
    """
    counts = matrix.dtype.kind == 'i'
    side = max(6.0, 0.28 * len(classes))
    figure, axes = plt.subplots(figsize=(side + 1.5, side))
    scale = mpl.colors.LogNorm(vmin=1, vmax=max(2, matrix.max())) if counts else mpl.colors.Normalize(0, 1)
    shown = np.ma.masked_less(matrix, 1) if counts else np.ma.masked_invalid(matrix)
    colours = mpl.colormaps['Blues'].with_extremes(bad='0.9')
    figure.colorbar(axes.imshow(shown, norm=scale, cmap=colours), ax=axes, fraction=0.046)
    axes.set_xticks(range(len(classes)), classes, rotation=90, fontsize=8)
    axes.set_yticks(range(len(classes)), classes, fontsize=8)
    axes.set_xlabel('prediction')
    axes.set_ylabel('label')
    axes.set_title(title)
    figure.savefig(file, dpi=120, bbox_inches='tight')
    plt.close(figure)
