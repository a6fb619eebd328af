"""The article's Tables 6 to 9, filled from runs: backbones, hyperparameters of LoAd, λ, and stability."""

import dataclasses
import statistics
from collections.abc import Collection, Sequence

from deeplab_load.catalog import Architecture
from deeplab_load.reporting import paper
from deeplab_load.reporting.runs import Arm, Experiment, Run, differing, shown, symbol
from deeplab_load.reporting.statistics import percent, success_share
from deeplab_load.reporting.tables import Table

# With the backbone change its checkpoint and what else is said of the network.
NETWORK = ('checkpoint', *(field.name for field in dataclasses.fields(Architecture)))
HYPERPARAMETERS = ('beta_l', 'beta_u', 'patience', 'buffer_size')
WEIGHT = ('adversarial_weight',)
DATASET = ('dataset',)
BASELINE, LOAD = 'DLv3+', 'DLv3+ & LoAd'


def ablations(experiments: Sequence[Experiment], *, ignored: Collection[str], with_paper: bool) -> list[Table]:
    """Tables 6, 7 and 8 as far as the runs vary what they are about, and Table 9; mIoU on the reported split.

    λ = 0, which is no adversary, counts in Table 8 alone.
    """
    arms = [arm for e in experiments for arm in e.arms if arm.finished and arm.options['algorithm'] == 'load']
    if not arms:
        return []
    adversarial = [arm for arm in arms if arm.options['adversarial_weight']]
    found = []
    if len({arm.network for arm in adversarial}) > 1:
        found.append(backbones(adversarial, ignored, with_paper))
    if _vary(adversarial, HYPERPARAMETERS):
        found.append(hyperparameters(adversarial, ignored, with_paper))
    if _vary(arms, WEIGHT):
        found.append(weights(arms, ignored, with_paper))
    if adversarial:
        found.append(stability_metrics(adversarial, with_paper=with_paper))
    return found


def _vary(arms: Sequence[Arm], names: Collection[str]) -> bool:
    return any(name in names for name in differing([arm.options for arm in arms]))


def _rest(arms: Sequence[Arm], ignored: Collection[str], own: Collection[str]) -> list[str]:
    """What each arm has beside a table's own options, as far as it differs between the arms."""
    options = [{**arm.options, 'dataset': arm.dataset} for arm in arms]
    names = differing(options, {*ignored, *own})
    return [', '.join(f'{symbol(n)} = {shown(one.get(n))}' for n in names) for one in options]


def _miou(arm: Arm, key: str = 'val_miou') -> str:
    return f'{percent([run.result[key] for run in arm.finished if run.result])} ({len(arm.finished)})'


def backbones(arms: Sequence[Arm], ignored: Collection[str], with_paper: bool) -> Table:
    """Table 6: baseline and LoAd for each backbone."""
    rows = []
    for arm, rest in zip(arms, _rest(arms, ignored, NETWORK), strict=True):
        for method, key in ((BASELINE, 'baseline_val_miou'), (LOAD, 'val_miou')):
            rows.append((method, arm.network, rest, _miou(arm, key)))
    if with_paper:
        rows += [(f'article: {method}', name, 'VOC 2012', f'{val:.2f}') for method, name, val, _ in paper.TABLE_6]
    return _table('table-6', 'Backbones (Table 6)', ('method', 'backbone', 'else', 'mIoU (seeds)'), rows)


def hyperparameters(arms: Sequence[Arm], ignored: Collection[str], with_paper: bool) -> Table:
    """Table 7: β_l, β_u, Γ and B_max."""
    rests = _rest(arms, ignored, HYPERPARAMETERS)
    baselines = {_miou(arm, 'baseline_val_miou'): rest for rest, arm in zip(rests, arms, strict=True)}
    rows = [(BASELINE, *'––––', rest if len(baselines) > 1 else '', words) for words, rest in baselines.items()]
    for arm, rest in zip(arms, rests, strict=True):
        o = arm.options
        values = (f'{100 * o["beta_l"]:g}', f'{100 * o["beta_u"]:g}', str(o['patience']), str(o['buffer_size']))
        rows.append((LOAD, *values, rest, _miou(arm)))
    if with_paper:
        rows += [(f'article: {LOAD}', *map(str, row[:4]), 'VOC 2012', f'{row[4]:.2f}') for row in paper.TABLE_7]
    header = ('method', 'β_l (%)', 'β_u (%)', 'Γ', 'B_max', 'else', 'mIoU (seeds)')
    return _table('table-7', 'Hyperparameters of LoAd (Table 7)', header, rows)


def weights(arms: Sequence[Arm], ignored: Collection[str], with_paper: bool) -> Table:
    """Table 8: λ, one column a value."""
    published = paper.TABLE_8 if with_paper else {}
    ours = {float(arm.options['adversarial_weight']) for arm in arms}
    values = sorted(ours.union(*published.values()))
    lines: dict[tuple[str, str], dict[float, str]] = {}
    for arm, rest in zip(arms, _rest(arms, ignored, (*WEIGHT, *DATASET)), strict=True):
        lines.setdefault((arm.dataset, rest), {})[arm.options['adversarial_weight']] = _miou(arm)
    lines |= {(f'article: {name}', ''): {k: f'{v:.2f}' for k, v in row.items()} for name, row in published.items()}
    rows = [(*names, *(cells.get(value, '–') for value in values)) for names, cells in lines.items()]
    header = ('data set', 'else', *(f'λ = {value:g}' for value in values))
    return _table('table-8', 'mIoU (seeds) by λ (Table 8)', header, rows)


def stability_metrics(arms: Sequence[Arm], *, with_paper: bool) -> Table:
    """Table 9: divergences treated and successful runs, of all runs with an adversary."""
    groups: dict[tuple[str, str], list[Run]] = {}
    for arm in arms:
        groups.setdefault((arm.dataset, arm.network), []).extend(arm.finished)
    if len(groups) > 1:
        groups['overall', 'any'] = [run for runs in groups.values() for run in runs]
    rows = [(*names, *_divergences(runs), success_share(runs)) for names, runs in groups.items()]
    if with_paper:
        for name, net, mean, deviation in paper.TABLE_9:
            share = f'{paper.TABLE_9_SUCCESS[name]:.1f}% of both backbones'
            rows.append((f'article: {name}', net, str(mean), str(deviation), share))
    header = ('data set', 'backbone', 'avg. div.', 'std.', 'succ. exps.')
    return _table('table-9', 'Stability metrics (Table 9)', header, rows)


def _divergences(runs: Sequence[Run]) -> tuple[str, str]:
    counts = [run.result['divergences'] for run in runs if run.result]
    return f'{statistics.mean(counts):.1f}', f'{statistics.stdev(counts):.1f}' if len(counts) > 1 else '–'


def _table(name: str, title: str, header: Sequence[str], rows: Sequence[tuple[str, ...]]) -> Table:
    """A table without its column `else` where that says nothing."""
    keep = [c for c, words in enumerate(header) if words != 'else' or any(row[c] for row in rows)]
    rows = [tuple(row[c] for c in keep) for row in rows]
    return Table(name, title, tuple(header[c] for c in keep), tuple(rows))
