"""The report on one or more runs: an HTML page, and its tables and figures in files beside it."""

import dataclasses
import pathlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from deeplab_load import files
from deeplab_load.reporting import comparisons, figures, image_rows, page, paper
from deeplab_load.reporting.ablations import ablations
from deeplab_load.reporting.confusion import AXES, largest_changes, normalised
from deeplab_load.reporting.runs import IDENTITY, Arm, Experiment, Run, differing, gather, shown, symbol
from deeplab_load.reporting.tables import Table

PAGE = 'report.html'
EXPLANATIONS = {
    'convergence': (
        'Each cycle begins at the model that training stepped back to. It ends when μ has fallen by β_l (diverged) or '
        'when the patience Γ is over; its best model is a peak.'
    ),
    'images': 'The same images for every run, taken by chance and not for what the models make of them.',
    'cycles': 'Hold-out images through the cycles: what the peaks and the ends of cycles made of them.',
    'confusion': (
        'Counted over the reported split and all seeds. By row the diagonal is the recall, by column the precision.'
    ),
}


@dataclass
class _Writer:
    """Saves tables and figures into the report's folder, and gives their HTML; names get a suffix of the experiment."""

    folder: pathlib.Path
    suffix: str = ''

    def table(self, table: Table) -> str:
        files.write_text(self.folder / f'{table.name}{self.suffix}.csv', table.csv())
        return page.table(table)

    def figure(self, figure: Any, name: str, label: str, *, least: int = 36) -> str:
        return page.figure(figures.save(figure, self.folder, f'{name}{self.suffix}'), label, least=least)

    def images(self, rows: Sequence[image_rows.ImageRow], name: str) -> str:
        with files.replacing(self.folder / f'{name}{self.suffix}.png') as part:
            image_rows.contact_sheet(rows).save(part)
        return '\n'.join(map(page.image_row, rows))


def write_report(
    runs: Sequence[Run],
    folder: pathlib.Path,
    *,
    unbound: Collection[str],
    arm_options: Collection[str],
    with_paper: bool = False,
) -> tuple[pathlib.Path, list[Table]]:
    """Writes the page, and each table as CSV and each figure as PNG and SVG beside it.

    Args:
      runs: of any data sets; those that have not evaluated their baseline yet are left out.
      folder: where the files go.
      unbound: options that no result depends on.
      arm_options: options in which runs may differ that stand beside each other as arms of one experiment.
      with_paper: put the article's published figures beside ours.

    Returns:
      The page, and the tables that compare all runs: one overview an experiment, and the article's Tables 6 to 9.

    Raises:
      UserError: the disk is full, or the folder cannot be written.
    """
    with files.writing(folder):
        return _write_report(runs, folder, unbound, arm_options, with_paper)


def _write_report(
    runs: Sequence[Run],
    folder: pathlib.Path,
    unbound: Collection[str],
    arm_options: Collection[str],
    with_paper: bool,
) -> tuple[pathlib.Path, list[Table]]:
    folder.mkdir(parents=True, exist_ok=True)
    ignored = {*unbound, *IDENTITY}
    experiments = gather(runs, unbound=unbound, arm_options=arm_options)
    tables = ablations(experiments, ignored=ignored, with_paper=with_paper)
    titles = _titles(experiments, {*ignored, *arm_options})
    blocks = [page.links({f'experiment-{n}': title for n, title in enumerate(titles, 1)})] if len(titles) > 1 else []
    for number, (title, experiment) in enumerate(zip(titles, experiments, strict=True), 1):
        writer = _Writer(folder, f'-{number}' if len(experiments) > 1 else '')
        blocks.append(page.heading(2, title, f'experiment-{number}'))
        blocks += _experiment(experiment, writer, sorted(ignored), with_paper)
    if tables:
        blocks += [page.heading(2, 'Over all runs'), *map(_Writer(folder).table, tables)]
    words = f'deeplab_load: report on {len(runs)} run{"s" if len(runs) > 1 else ""}'
    files.write_text(folder / PAGE, page.page(words, blocks))
    overviews = [
        dataclasses.replace(table, title=f'{title}: {table.title}') if len(titles) > 1 else table
        for title, table in zip(titles, map(comparisons.overview, experiments), strict=True)
    ]
    return folder / PAGE, [*overviews, *tables]


def _titles(experiments: Sequence[Experiment], ignored: Collection[str]) -> list[str]:
    """Data set and backbone of each experiment; where that is not enough, what else they start from."""
    titles = [f'{experiment.arms[0].dataset}, {experiment.arms[0].network}' for experiment in experiments]
    if len(set(titles)) == len(titles):
        return titles
    options = [experiment.options for experiment in experiments]
    names = differing(options, {*ignored, 'dataset', 'model_variant'})
    rests = (', '.join(f'{symbol(name)} = {shown(own.get(name))}' for name in names) for own in options)
    return [f'{title}, {rest}' for title, rest in zip(titles, rests, strict=True)]


def _experiment(experiment: Experiment, writer: _Writer, ignored: Sequence[str], with_paper: bool) -> list[str]:
    """The blocks of one experiment; those on results are left out as long as no run is over."""
    arm = experiment.main_arm
    blocks = [writer.table(comparisons.overview(experiment)), *_convergence(experiment, writer)]
    blocks.append(writer.table(comparisons.per_class(experiment, with_paper=with_paper)))
    blocks += _paper_tables(experiment, writer) if with_paper else []
    blocks += _images(experiment, writer)
    blocks += _confusion(experiment, arm, writer) if arm.finished else []
    multi_scale = comparisons.multi_scale(experiment, with_paper=with_paper)
    blocks += [writer.table(multi_scale)] if multi_scale else []
    blocks += _discriminator(experiment, writer)
    blocks.append(writer.table(comparisons.stability_table(experiment)))
    blocks.append(writer.table(comparisons.cost_table(experiment, with_paper=with_paper)))
    blocks.append(writer.table(comparisons.shares_table(experiment)))
    blocks.append(page.folded('Every option', writer.table(comparisons.options_table(experiment, ignored))))
    return blocks


def _convergence(experiment: Experiment, writer: _Writer) -> list[str]:
    """One graph a run; of an arm with several seeds all but the first are folded."""
    blocks = [page.heading(3, 'Convergence'), page.paragraph(EXPLANATIONS['convergence'])]
    several = sum(len(arm.runs) for arm in experiment.arms) > 1
    for number, arm in enumerate(experiment.arms):
        for place, run in enumerate(arm.runs):
            caption = f'{arm.label}, seed {run.seed}' + ('' if run.over else ', not finished')
            name = f'convergence-{number}-{run.seed}' if several else 'convergence'
            block = writer.figure(figures.convergence_figure(run.events, caption), name, caption)
            blocks.append(page.folded(caption, block) if place else block)
    return blocks


def _images(experiment: Experiment, writer: _Writer) -> list[str]:
    rows, through_cycles = image_rows.evaluation_rows(experiment), image_rows.cycle_rows(experiment.main_arm.runs[0])
    blocks = []
    if rows:
        colours = _legend(rows[0].pictures[1][1], experiment)
        blocks += [
            page.heading(3, 'Images'),
            page.paragraph(EXPLANATIONS['images']),
            colours,
            writer.images(rows, 'images'),
        ]
    if through_cycles:
        label = f'{experiment.main_arm.label}, seed {experiment.main_arm.runs[0].seed}'
        blocks += [page.heading(3, f'Through the cycles: {label}'), page.paragraph(EXPLANATIONS['cycles'])]
        blocks.append(writer.images(through_cycles, 'cycles'))
    return blocks


def _legend(truth: pathlib.Path, experiment: Experiment) -> str:
    levels = Image.open(truth).getpalette() or []
    colours = [tuple(levels[3 * k : 3 * k + 3]) for k in range(len(experiment.classes))]
    return page.legend(experiment.classes, colours)


def _confusion(experiment: Experiment, arm: Arm, writer: _Writer) -> list[str]:
    counts, classes = comparisons.confusions(experiment, arm), experiment.classes
    blocks = [page.heading(3, 'Confusion'), page.paragraph(EXPLANATIONS['confusion'])]
    for label, matrix in counts.items():
        name = 'baseline' if label == 'baseline' else 'best'
        table = Table(f'confusion-{name}', label, ('label', *classes), tuple(
            (own, *map(str, row)) for own, row in zip(classes, matrix.tolist(), strict=True)
        ))  # fmt: skip
        files.write_text(writer.folder / f'{table.name}{writer.suffix}.csv', table.csv())
    least = max(22, 2 * len(classes) + 6)
    for by in AXES:
        shares = {label: normalised(matrix, by) for label, matrix in counts.items()}
        before, after = shares.values()
        changed = largest_changes(before, after, comparisons.CHANGES)
        drawn = [
            writer.figure(
                figures.confusion_figure(matrix, classes, f'{label}, in % of {by}', changed),
                f'confusion-{by}-{"baseline" if label == "baseline" else "best"}',
                f'{label}, in % of {by}', least=least,
            )
            for label, matrix in shares.items()
        ]  # fmt: skip
        blocks.append(page.side_by_side(drawn, least=least))
    return [*blocks, page.side_by_side(map(writer.table, comparisons.changes(experiment, arm)), least=28)]


def _discriminator(experiment: Experiment, writer: _Writer) -> list[str]:
    """The accuracy of D after each training on the hold-out; where steps alternate, that of its turns in training."""
    runs = {f'{arm.label}, seed {run.seed}': run for arm in experiment.arms for run in arm.runs}
    trained = {k: [(e['cycle'], e['holdout_accuracy']) for e in run.of('discriminator')] for k, run in runs.items()}
    turns = {
        k: [(n, e['accuracy_d']) for n, e in enumerate(run.of('propagation'), 1) if e.get('accuracy_d') is not None]
        for k, run in runs.items()
    }
    blocks = [writer.table(comparisons.discriminator_table(experiment))]
    for name, xlabel, series in (
        ('discriminator', 'cycle that the discriminator was trained for (hold-out)', trained),
        ('discriminator-turns', 'propagation in which the discriminator was trained (its training batches)', turns),
    ):
        if any(series.values()):
            drawn = figures.accuracy_figure({k: points for k, points in series.items() if points}, xlabel)
            blocks.append(writer.figure(drawn, name, f'Balanced accuracy by {xlabel}'))
    return blocks


def _paper_tables(experiment: Experiment, writer: _Writer) -> list[str]:
    """The article's tables on a test server, whose labels are not public."""
    blocks = []
    for published in paper.PER_CLASS.get(experiment.options['dataset'], ())[1:]:
        rows = zip((*experiment.classes, 'mIoU'), zip(*published.values, strict=True), strict=True)
        cells = tuple((name, *(f'{value:.2f}' for value in values)) for name, values in rows)
        table = Table('paper-test', f'The article: {published.title}', ('IoU in %', *paper.METHODS), cells)
        blocks.append(writer.table(table))
    return blocks
