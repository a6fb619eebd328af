"""What the events of a run add up to: stability and cost; and means over seeds."""

import itertools
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from deeplab_load.reporting.runs import Run

# The article, section 7: LoAd took about 2.5 times as long as DeepLabv3+ to reach its best performance.
PHASES = {
    'discriminator': 'training of the discriminator',
    'propagation': 'propagations of the segmentor, with their evaluation',
    'cycle_end': 'label maps at the end of cycles',
    'result': 'evaluation of the best model',
}


def spread(values: Sequence[float | None], digits: int = 2, factor: float = 1) -> str:
    """Mean ± sample standard deviation of the values that are known; a dash where there is none."""
    known = [factor * value for value in values if value is not None]
    if not known:
        return '–'
    mean = f'{statistics.mean(known):.{digits}f}'
    return f'{mean} ± {statistics.stdev(known):.{digits}f}' if len(known) > 1 else mean


def percent(values: Sequence[float | None]) -> str:
    """`spread` of fractions, in percent."""
    return spread(values, factor=100)


Measure = Callable[[Run], float | None]


def stability() -> dict[str, Measure]:
    """The measures of stability of a run, by their names."""
    return {
        'cycles = step-backs': lambda run: len(run.of('cycle_end')),
        'divergences treated': lambda run: len(_ends(run, reason='diverged')),
        'peaks': lambda run: len(_ends(run, peak=True)),
        'cycles per peak': cycles_per_peak,
        'raised starts': lambda run: sum(event['raised'] for event in run.of('propagation')),
        'propagations': lambda run: len(run.of('propagation')),
        'propagations that were not finite': lambda run: sum(e['miou'] is None for e in run.of('propagation')),
        'std of μ over the propagations, points': mu_deviation,
        'mean fall of a cycle below g0, points': mean_fall,
    }


def _ends(run: Run, **values: Any) -> list[dict[str, Any]]:
    return [event for event in run.of('cycle_end') if all(event[k] == v for k, v in values.items())]


def cycles_per_peak(run: Run) -> float | None:
    """Cycles for each one that found a peak; None without a peak."""
    peaks = len(_ends(run, peak=True))
    return len(run.of('cycle_end')) / peaks if peaks else None


def mu_deviation(run: Run) -> float | None:
    """Standard deviation of μ over the propagations, in points; None where there are fewer than two."""
    values = [100 * event['miou'] for event in run.of('propagation') if event['miou'] is not None]
    return statistics.stdev(values) if len(values) > 1 else None


def mean_fall(run: Run) -> float | None:
    """How far below g0 the cycles end on average, in points; None without a cycle."""
    ends = run.of('cycle_end')
    baseline = run.of('baseline')[0]['miou']
    return statistics.mean(100 * (baseline - event['end_miou']) for event in ends) if ends else None


# What the adversarial stage does, under the names of `state.json`.
WORK = {
    'steps': "g's steps",
    'evaluation': 'evaluation of the hold-out',
    'maps': 'label maps',
    'discriminator': 'training of the discriminator',
    'saving': 'saving',
}


def shares(run: Run) -> dict[str, float | None]:
    """Where the time of stage 1 and the adversarial stage went, as fractions by words; None where it is not known.

    What is left is the evaluation of the best model, samples for the report and the like.
    """
    stage_1, seconds = run.state.get('stage_1_seconds', 0.0), run.state.get('seconds', {})
    parts = {'stage 1': stage_1 or 0.0, **{words: seconds.get(name, 0.0) for name, words in WORK.items()}}
    whole = max((stage_1 or 0.0) + adversarial_seconds(run), sum(parts.values()))
    parts['all else'] = whole - sum(parts.values())
    known = stage_1 is not None and seconds and whole
    return {words: part / whole if known else None for words, part in parts.items()}


def phase_seconds(run: Run) -> dict[str, float | None]:
    """Seconds that went into each phase: stage 1, None if it was interrupted, and what led to each kind of event.

    The time between an event and a stop or a kill after it counts nowhere.
    """
    return {'stage 1': run.state.get('stage_1_seconds', 0.0), **_seconds(run.events)}


def _seconds(events: Sequence[dict[str, Any]]) -> dict[str, float]:
    seconds = dict.fromkeys(PHASES, 0.0)
    for before, event in itertools.pairwise(events):
        if event['event'] in seconds:
            seconds[event['event']] += event['time'] - before['time']
    return seconds


def adversarial_seconds(run: Run, *, to_best: bool = False) -> float:
    """Seconds of the adversarial stage: all, or those until its best model was found."""
    last = _best_time(run) if to_best else math.inf
    return sum(_seconds([event for event in run.events if event['time'] <= last]).values())


def _best_time(run: Run) -> float:
    """When μ* was reached; the baseline's time where g0 stayed the best."""
    best, when = run.of('baseline')[0]['miou'], run.of('baseline')[0]['time']
    for event in run.of('propagation'):
        if event['best_miou'] > best:
            best, when = event['best_miou'], event['time']
    return when


def cost_ratio(run: Run, *, to_best: bool) -> float | None:
    """Time of stage 1 and the adversarial stage together over that of stage 1; None without the latter."""
    stage_1 = phase_seconds(run)['stage 1']
    return (stage_1 + adversarial_seconds(run, to_best=to_best)) / stage_1 if stage_1 else None


def success_share(runs: Iterable[Run]) -> str:
    """Share of finished runs that gained at least 0.1 point of mIoU (the article's Table 9)."""
    results = [run.result['success'] for run in runs if run.result]
    return f'{100 * sum(results) / len(results):.1f}% of {len(results)}' if results else '–'
