"""The tables of one experiment: the baseline, Luc et al. and LoAd beside each other."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from deeplab_load.errors import UserError
from deeplab_load.files import read_json
from deeplab_load.metrics import Metrics, summarise
from deeplab_load.reporting import paper
from deeplab_load.reporting.confusion import AXES, largest_changes, normalised, total
from deeplab_load.reporting.runs import Arm, Experiment, Run, differing, shown, symbol
from deeplab_load.reporting.statistics import (
    PHASES,
    adversarial_seconds,
    cost_ratio,
    percent,
    phase_seconds,
    shares,
    spread,
    stability,
    success_share,
)
from deeplab_load.reporting.tables import MEANS, Table

CHANGES = 6
SEEDS = 'Mean ± sample standard deviation over seeds, where there is more than one.'


def overview(experiment: Experiment) -> Table:
    """mIoU of each arm, its gain over the baseline of the same seed, and the share of successful runs."""
    rows = []
    for arm in experiment.arms:
        results = [run.result for run in arm.runs if run.result]
        baselines = [event['val_miou'] for run in arm.runs if run.over for event in run.of('baseline')]
        gains = [r['val_miou'] - r['baseline_val_miou'] for r in results]
        rows.append((
            arm.label, _seeds(arm), percent(baselines),
            percent([r['val_miou'] for r in results]), _signed(percent(gains)), success_share(arm.runs),
        ))  # fmt: skip
    return Table(
        'overview', 'Results on the reported split, in %',
        ('arm', 'seeds', 'baseline mIoU', 'mIoU', 'gain, points', 'successful'), tuple(rows),
        note=f'{SEEDS} The gain is over the baseline of the same seed; a run succeeds that gains at least 0.1 point.',
    )  # fmt: skip


def _seeds(arm: Arm) -> str:
    over = [str(run.seed) for run in arm.runs if run.over]
    unfinished = len(arm.runs) - len(over)
    return ', '.join(over) + (f' ({unfinished} not finished)' if unfinished else '')


def _signed(words: str) -> str:
    return words if words[0] in '–-' else f'+{words}'


Column = tuple[str, list[Metrics]]


def columns(experiment: Experiment) -> list[Column]:
    """The metrics of every seed: of the baseline, and of the best model of each arm that has finished runs."""
    found = [('baseline', [summarise(run.confusion('baseline')) for run in experiment.baselines])]
    found += [(arm.label, [summarise(run.confusion('best')) for run in arm.finished]) for arm in experiment.arms]
    return [column for column in found if column[1]]


def per_class(experiment: Experiment, *, with_paper: bool) -> Table:
    """IoU by class and the means (the article's Tables 1, 3 and 5), the best of our columns in bold."""
    ours = columns(experiment)
    rows = [
        (name, [[m.per_class[i] for m in metrics] for _, metrics in ours]) for i, name in enumerate(experiment.classes)
    ]
    rows += [(title, [[getattr(m, name) for m in metrics] for _, metrics in ours]) for title, name in MEANS.items()]
    cells = [(title, *map(percent, values)) for title, values in rows]
    header, note = (
        ['IoU in %', *(f'{label} ({len(m)})' for label, m in ours)],
        f'In brackets the number of seeds. {SEEDS}',
    )
    published = _published(experiment) if with_paper else None
    if published:
        header += [f'article: {method}' for method in paper.METHODS]
        cells = [(*row, *more) for row, more in zip(cells, _published_cells(published, len(cells)), strict=True)]
        note += f' The article: {published.title}.'
    best = frozenset((r, c) for r, (_, values) in enumerate(rows) for c in _best(values))
    return Table('per-class', 'IoU by class', tuple(header), tuple(cells), best, note)


def _best(values: Sequence[Sequence[float | None]]) -> list[int]:
    """The columns of the highest mean; none where there is nothing to choose from."""
    means = [np.mean(known) if (known := [v for v in seeds if v is not None]) else -1 for seeds in values]
    return [i + 1 for i, mean in enumerate(means) if mean == max(means) >= 0] if len(means) > 1 else []


def _published(experiment: Experiment) -> paper.PerClass | None:
    tables = paper.PER_CLASS.get(experiment.options['dataset'])
    return tables[0] if tables and len(tables[0].values[0]) == len(experiment.classes) + 1 else None


def _published_cells(published: paper.PerClass, rows: int) -> list[tuple[str, ...]]:
    """The article's values by class and its mean; it has no other means."""
    deviations = [(None,) * len(published.values[0]), *published.deviations]
    cells = [
        tuple(
            f'{value:.2f}' + (f' ± {deviation:.2f}' if deviation is not None else '')
            for value, deviation in zip(by_method, by_deviation, strict=True)
        )
        for by_method, by_deviation in zip(
            zip(*published.values, strict=True), zip(*deviations, strict=True), strict=True
        )
    ]
    return cells + [('',) * len(paper.METHODS)] * (rows - len(cells))


def changes(experiment: Experiment, arm: Arm) -> tuple[Table, ...]:
    """The pairs of classes whose confusion changed most from the baseline to an arm, by row and by column."""
    return tuple(_changes(experiment, arm, by) for by in AXES)


def confusions(experiment: Experiment, arm: Arm) -> dict[str, np.ndarray]:
    """The counts over all finished seeds of an arm: of their baselines and of their best models."""
    names = {'baseline': 'baseline', arm.label: 'best'}
    return {label: total([run.confusion(name) for run in arm.finished]) for label, name in names.items()}


def _changes(experiment: Experiment, arm: Arm, by: str) -> Table:
    before, after = (normalised(counts, by) for counts in confusions(experiment, arm).values())
    names = experiment.classes
    rows = tuple(
        (
            f'{names[c.label]} → {names[c.prediction]}',
            f'{100 * c.before:.2f}', f'{100 * c.after:.2f}', f'{100 * (c.after - c.before):+.2f}',
        )
        for c in largest_changes(before, after, CHANGES)
    )  # fmt: skip
    share = {'rows': "the label's pixels", 'columns': 'the pixels predicted so'}[by]
    return Table(
        f'changes-{by}', f'Pairs that changed most, in % of {share}',
        ('label → prediction', 'baseline', arm.label, 'change'), rows,
    )  # fmt: skip


def stability_table(experiment: Experiment) -> Table:
    """The measures of stability of each arm."""
    rows = [
        (name, *(spread([measure(run) for run in arm.counted]) for arm in experiment.arms))
        for name, measure in stability().items()
    ]
    rows.append(('successful runs', *(success_share(arm.runs) for arm in experiment.arms)))
    return Table('stability', 'Stability', ('', *_labels(experiment)), tuple(rows), note=SEEDS)


def _labels(experiment: Experiment) -> tuple[str, ...]:
    return tuple(arm.label for arm in experiment.arms)


def cost_table(experiment: Experiment, *, with_paper: bool) -> Table:
    """Seconds of each phase of each arm, and the time of all in multiples of stage 1."""
    phases = {'stage 1': 'stage 1', **PHASES}
    rows = [
        (words, *(spread([phase_seconds(run)[phase] for run in arm.counted], 1) for arm in experiment.arms))
        for phase, words in phases.items()
    ]
    rows.append(
        ('adversarial stage', *(spread([adversarial_seconds(r) for r in a.counted], 1) for a in experiment.arms))
    )
    for to_best, words in ((True, 'until the best model'), (False, 'in all')):
        ratios = [spread([cost_ratio(run, to_best=to_best) for run in arm.counted]) for arm in experiment.arms]
        rows.append((f'time {words}, stage 1 = 1', *ratios))
    hours = paper.HOURS
    note = (
        'Seconds between the events of a run, without what was under way at a stop. A dash: no uninterrupted stage 1.'
    )
    if with_paper:
        ratio = hours['DLv3+ & LoAd'] / hours['DLv3+']
        note += f' The article: about 2.5 ({ratio:.2f} by its hours) until the best model, on PASCAL VOC 2012.'
    return Table('cost', 'Cost, in seconds', ('', *_labels(experiment)), tuple(rows), note=note)


def shares_table(experiment: Experiment) -> Table:
    """Where the time of each arm went, in percent."""
    by_arm = [[shares(run) for run in arm.counted] for arm in experiment.arms]
    rows = tuple((words, *(percent([run[words] for run in runs]) for runs in by_arm)) for words in by_arm[0][0])
    note = 'Of stage 1 and the adversarial stage together, as timed by the run; work that a kill undid is not counted.'
    return Table('shares', 'Where the time goes, in %', ('', *_labels(experiment)), rows, note=note)


def discriminator_table(experiment: Experiment) -> Table:
    """Balanced accuracy of D on the hold-out: at its first and last training, and its mean, lowest and highest."""
    measures: dict[str, Any] = {
        'first': lambda v: v[0], 'last': lambda v: v[-1], 'mean': np.mean, 'lowest': min, 'highest': max,
    }  # fmt: skip
    rows = tuple(
        (
            arm.label,
            *(percent([float(f(v)) for run in arm.counted if (v := accuracies(run))]) for f in measures.values()),
        )
        for arm in experiment.arms
    )
    note = '50 % is chance: a discriminator at chance makes the adversarial loss noise.'
    return Table(
        'discriminator',
        'Balanced accuracy of the discriminator on the hold-out, in %',
        ('', *measures),
        rows,
        note=note,
    )


def accuracies(run: Run) -> list[float]:
    """The balanced accuracy of D on the hold-out after each of its trainings."""
    return [event['holdout_accuracy'] for event in run.of('discriminator')]


def multi_scale(experiment: Experiment, *, with_paper: bool) -> Table | None:
    """mIoU at a single scale and with several scales and mirrored images (Table 10), where a run was evaluated so.

    `<run_dir>/report/msf-g0.json` and `msf-best.json` are what `deeplab_load.evaluate --json` wrote.
    """
    # A seed's baseline is that of all its arms.
    of_seeds = {
        run.seed: run for arm in reversed(experiment.arms) for run in arm.runs if _report(run, 'msf-g0').exists()
    }
    rows: list[tuple[str, ...]] = [_multi_scale_row('baseline', tuple(of_seeds.values()), 'baseline', 'msf-g0')]
    rows += [_multi_scale_row(arm.label, arm.finished, 'best', 'msf-best') for arm in experiment.arms]
    if all(row[2] == '–' for row in rows):
        return None
    if with_paper:
        published = paper.TABLE_10.get(experiment.options['dataset'], ())
        rows += [
            (f'article: {m}', *(f'{v:.2f}' for v in pair)) for m, pair in zip(paper.METHODS, published, strict=False)
        ]
    title = 'Several scales and mirrored images (Table 10), mIoU in %'
    return Table('multi-scale', title, ('', 'single scale', 'MS&F'), tuple(rows), note=SEEDS)


def _multi_scale_row(label: str, runs: Sequence[Run], model: str, file: str) -> tuple[str, str, str]:
    files = {_report(run, file): run for run in runs}
    known = {file: run for file, run in files.items() if file.exists()}
    single = [summarise(run.confusion(model)).miou for run in known.values()]
    return label, percent(single), percent([_miou(file) for file in known])


def _report(run: Run, file: str) -> pathlib.Path:
    return run.path / 'report' / f'{file}.json'


def _miou(file: Any) -> float:
    miou = read_json(file, 'write it again by `evaluate --json`').get('miou')
    if not isinstance(miou, float):
        raise UserError(f'{file} is not what `evaluate --json` writes; write it again.')
    return miou


def options_table(experiment: Experiment, ignored: Sequence[str]) -> Table:
    """Every option of every arm; those that differ stand out."""
    options = [arm.options for arm in experiment.arms]
    names = list(dict.fromkeys(name for one in options for name in one if name not in ignored))
    rows = tuple((_named(name), *(shown(one.get(name)) for one in options)) for name in names)
    changed = differing(options, ignored)
    best = frozenset((names.index(n), c) for n in changed for c in range(1, len(options) + 1))
    return Table('options', 'Options', ('option', *_labels(experiment)), rows, best, 'In bold those that differ.')


def _named(name: str) -> str:
    return name if symbol(name) == name else f'{name} ({symbol(name)})'
