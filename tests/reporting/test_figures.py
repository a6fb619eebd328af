"""Where the convergence graph puts its marks, and that figures can stand together on a page."""

import numpy as np
import pytest

from deeplab_load.reporting import figures


def propagation(miou, best, raised=False):
    return {'event': 'propagation', 'miou': miou, 'best_miou': best, 'raised': raised}


def end(reason, start, peak, best=0.53):
    return {'event': 'cycle_end', 'reason': reason, 'start_miou': start, 'peak': peak, 'best_miou': best}


EVENTS = [
    {'event': 'run_start'},
    {'event': 'baseline', 'miou': 0.5},
    propagation(0.52, 0.52),
    propagation(0.53, 0.53, raised=True),
    propagation(0.46, 0.53),
    end('diverged', 0.53, True),
    {'event': 'discriminator'},
    propagation(0.52, 0.53),
    propagation(None, 0.53),
    end('diverged', 0.53, False),
    propagation(0.535, 0.535),
]


def test_the_cycles_of_the_graph():
    first, second, last = figures.cycles(EVENTS)
    assert (first.origin, first.values, first.raised) == (0, [0.5, 0.52, 0.53, 0.46], [2])
    assert (second.origin, second.values, second.broken) == (3, [0.53, 0.52, 0.52], [2])
    assert (last.origin, last.values, last.end) == (5, [0.53, 0.535], None)


def marks(figure, marker):
    lines = [line for line in figure.axes[0].get_lines() if line.get_marker() == marker]
    return [(float(x), pytest.approx(float(y))) for line in lines for x, y in zip(*line.get_data(), strict=True)]


def test_peaks_divergences_raised_starts_and_step_backs_are_marked():
    figure = figures.convergence_figure(EVENTS, 'a run')
    assert marks(figure, '^') == [(2, 53)]
    assert marks(figure, 'v') == [(3, 46), (5, 52)]
    assert marks(figure, 'o') == [(2, 53)]
    assert marks(figure, 'x') == [(5, 52)]
    dotted = [line for line in figure.axes[0].get_lines() if line.get_linestyle() == ':' and len(line.get_xdata())]
    assert [list(line.get_xdata()) for line in dotted] == [[3, 3], [5, 5]]
    assert [list(line.get_ydata()) for line in dotted] == [[46, 53], [52, 53]]


def test_a_run_without_cycles_is_one_line():
    alternating = [EVENTS[1], *[propagation(0.5 + 0.01 * n, 0.5 + 0.01 * n) for n in range(4)]]
    assert [len(cycle.values) for cycle in figures.cycles(alternating)] == [5]


def test_a_run_that_ends_with_its_baseline_is_drawn():
    axes = figures.convergence_figure(EVENTS[:2], 'stage 1').axes[0]
    assert [list(line.get_ydata()) for line in axes.get_lines() if line.get_label() == 'g0'] == [[50, 50]]


def test_the_confusion_matrix_says_its_shares_in_percent():
    shares = np.array([[0.6, 0.4], [np.nan, np.nan]])
    words = {text.get_text() for text in figures.confusion_figure(shares, ['a', 'b'], 'title').axes[0].texts}
    assert words == {'60.0', '40.0'}


def test_the_peak_is_the_best_model_and_not_a_later_one_that_is_higher_by_less_than_asked_for():
    events = [*EVENTS[:2], propagation(0.52, 0.52), propagation(0.521, 0.52), end('patience', 0.5, True, best=0.52)]
    assert marks(figures.convergence_figure(events, 'a run'), '^') == [(1, 52)]


def test_a_saved_figure_has_no_size_and_no_name_that_another_has(tmp_path):
    texts = [figures.save(figures.convergence_figure(EVENTS, name), tmp_path, name) for name in ('one', 'two')]
    ids = [{part.split('"')[0] for part in text.split(' id="')[1:]} for text in texts]
    assert ids[0]
    assert not ids[0] & ids[1]
    assert not any(' width="' in text.split('>')[0] or ' height="' in text.split('>')[0] for text in texts)
    assert (tmp_path / 'one.png').read_bytes().startswith(b'\x89PNG')
    again = figures.save(figures.convergence_figure(EVENTS, 'one'), tmp_path, 'one')
    assert again == texts[0]
