"""The tables of an experiment, against numbers made by hand."""

import dataclasses
import json
import re

import numpy as np
import pytest

from deeplab_load.errors import UserError
from deeplab_load.metrics import summarise
from deeplab_load.reporting import comparisons, paper
from deeplab_load.reporting.confusion import largest_changes, normalised

from .scripted import confusion


def row(table, name):
    return next(cells for cells in table.rows if cells[0] == name)


def test_iou_by_class_is_the_mean_over_seeds_and_the_best_stands_out(experiments):
    (experiment,) = experiments({'seed': 0, 'gain': 0.05}, {'seed': 1, 'gain': 0.05}, {'adversarial_weight': 0.0})
    table = comparisons.per_class(experiment, with_paper=False)
    assert table.header == ('IoU in %', 'baseline (2)', 'LoAd, λ = 0 (1)', 'LoAd, λ = 1 (2)')
    ious = [100 * summarise(confusion(8, 0.8 + 0.05, seed)).per_class[1] for seed in (0, 1)]
    assert row(table, 'tree')[3] == f'{np.mean(ious):.2f} ± {np.std(ious, ddof=1):.2f}'
    assert (table.rows.index(row(table, 'mIoU')), 3) in table.best
    assert not any(column == 1 for _, column in table.best)


def test_the_gain_is_over_the_baseline_of_the_same_seed(experiments):
    (experiment,) = experiments({'seed': 0, 'gain': 0.02}, {'seed': 1, 'gain': 0.04}, {'seed': 2, 'finished': False})
    _, seeds, baseline, miou, gain, share = comparisons.overview(experiment).rows[0]
    mious = [[summarise(confusion(8, q, s)).miou for q in (0.8, 0.8 + g)] for s, g in ((0, 0.02), (1, 0.04))]
    gains = [100 * (best - before) for before, best in mious]
    assert gain == f'+{np.mean(gains):.2f} ± {np.std(gains, ddof=1):.2f}'
    assert (seeds, share) == ('0, 1 (1 not finished)', '100.0% of 2')
    assert (baseline, miou) == tuple(
        f'{100 * np.mean(v):.2f} ± {100 * np.std(v, ddof=1):.2f}' for v in zip(*mious, strict=True)
    )


def test_a_run_of_stage_1_alone_is_over_with_its_baseline(experiments):
    (experiment,) = experiments({'algorithm': 'pixelwise', 'finished': False})
    baseline = f'{100 * summarise(confusion(8, 0.8, 0)).miou:.2f}'
    assert comparisons.overview(experiment).rows[0][1:4] == ('0', baseline, '–')


def test_stability_and_cost_are_those_of_the_runs_that_are_over(experiments):
    both, alone = {'seed': 0}, {'seed': 1, 'finished': False, 'total_cycles': 4}
    (experiment,), (finished,) = experiments(both, alone), experiments(both)
    for table in (comparisons.stability_table, comparisons.shares_table, comparisons.discriminator_table):
        assert table(experiment).rows == table(finished).rows
    costs = [comparisons.cost_table(e, with_paper=False).rows for e in (experiment, finished)]
    assert costs[0] == costs[1]


def test_the_pairs_that_changed_most():
    before, after = np.array([[8, 2, 0], [5, 5, 0], [0, 0, 0]]), np.array([[6, 4, 0], [1, 9, 0], [0, 0, 0]])
    rows = [normalised(matrix, 'rows') for matrix in (before, after)]
    assert np.isnan(rows[0][2]).all()
    found = [(c.label, c.prediction, c.before, c.after) for c in largest_changes(*rows, 5)]
    assert found == [(1, 0, 0.5, 0.1), (0, 1, 0.2, 0.4)]
    columns = [normalised(matrix, 'columns') for matrix in (before, after)]
    assert columns[0][:2, 0].tolist() == pytest.approx([8 / 13, 5 / 13])


def test_confusion_adds_up_the_seeds(experiments):
    (experiment,) = experiments({'seed': 0}, {'seed': 1})
    counts = comparisons.confusions(experiment, experiment.main_arm)
    assert counts['baseline'].tolist() == (confusion(8, 0.8, 0) + confusion(8, 0.8, 1)).tolist()
    assert [len(table.rows) for table in comparisons.changes(experiment, experiment.main_arm)] == [6, 6]


def test_several_scales_where_a_run_was_evaluated_so(experiments):
    (experiment,) = experiments({'seed': 0}, {'seed': 1})
    assert comparisons.multi_scale(experiment, with_paper=False) is None
    file = experiment.main_arm.runs[0].path / 'report' / 'msf-best.json'
    file.write_text(json.dumps({'miou': 0.75}))
    table = comparisons.multi_scale(experiment, with_paper=True)
    single = 100 * summarise(confusion(8, 0.8 + 0.01, 0)).miou
    assert table.rows[:2] == (('baseline', '–', '–'), ('LoAd', f'{single:.2f}', '75.00'))
    assert table.rows[-1] == ('article: DLv3+ & LoAd', '75.05', '76.78')
    # An arm may have the baseline's where the first one has not.
    first, second = experiments({'adversarial_weight': 0.0}, {})[0].arms
    (second.runs[0].path / 'report' / 'msf-g0.json').write_text(json.dumps({'miou': 0.7}))
    both = dataclasses.replace(experiment, arms=(first, second))
    assert comparisons.multi_scale(both, with_paper=False).rows[0][2] == '70.00'
    file.write_text('{}')
    with pytest.raises(UserError, match='is not what `evaluate --json` writes'):
        comparisons.multi_scale(experiment, with_paper=False)


def test_every_option_is_told_and_those_that_differ_stand_out(experiments):
    (experiment,) = experiments({}, {'patience': 80})
    table = comparisons.options_table(experiment, ['seed', 'versions'])
    assert row(table, 'patience (Γ)')[1:] == ('12', '80')
    assert {table.rows[r][0] for r, _ in table.best} == {'patience (Γ)'}
    assert len(table.rows) == len(experiment.options) - 2


def test_the_accuracy_of_the_discriminator_and_the_cost(experiments):
    (experiment,) = experiments({})
    assert comparisons.discriminator_table(experiment).rows == (('LoAd', '60.00', '60.00', '60.00', '60.00', '60.00'),)
    assert row(comparisons.shares_table(experiment), 'saving')[1] == '–'
    cost = comparisons.cost_table(experiment, with_paper=True)
    assert row(cost, 'stage 1') == ('stage 1', '100.0')
    assert 'about 2.5 (2.69 by its hours)' in cost.note


PUBLISHED = [table for tables in paper.PER_CLASS.values() for table in tables]


@pytest.mark.parametrize('table', PUBLISHED, ids=lambda table: table.title)
def test_the_articles_tables_were_copied_without_a_slip(table):
    """A slip in a class would move the mean away from the published one, which is rounded like its terms."""
    assert len(table.values) == len(paper.METHODS)
    for *classes, mean in table.values:
        assert np.mean(classes) == pytest.approx(mean, abs=0.016)
    assert all(len(d) == len(table.values[0]) for d in table.deviations)


def test_the_articles_figures_stand_beside_ours(experiments):
    (experiment,) = experiments({})
    table = comparisons.per_class(experiment, with_paper=True)
    assert table.header[-3:] == ('article: DLv3+', 'article: Luc et al.', 'article: DLv3+ & LoAd')
    assert row(table, 'mountain')[-3:] == ('48.64', '49.18 ± 0.48', '50.11 ± 0.48')
    assert row(table, 'mIoU')[-1] == '75.05 ± 0.16'
    assert row(table, 'pixel accuracy')[-3:] == ('', '', '')
    assert all(re.fullmatch(r'[\d.]+( ± [\d.]+)?', cells[-1]) for cells in table.rows[:8])
