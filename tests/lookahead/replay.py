"""An independent reading of Algorithm 3: decides again from the mIoU values of events.jsonl alone.

Written from the article's listing and lookahead rules, not from the package: it imports nothing of it.
"""

import json
import pathlib


def replay(events: list[dict], options: dict) -> list[str]:
    """Returns a line for every decision that the events report otherwise than the algorithm takes it."""
    lines = []
    try:
        decisions = _alternations if options.get('algorithm') == 'luc' else _disagreements
        for line in decisions(events, options):
            lines.append(line)
    except LogEnds:
        lines.append('the log ends before the result')
    return lines


class LogEnds(Exception):
    """There are fewer events than the algorithm takes decisions."""


def _disagreements(events, o):
    baseline = next(e for e in events if e['event'] == 'baseline')
    mu_s = mu_star = baseline['miou']
    psi, peaks, endings, cycle, divergences, total = 0, ['g0'], [], 0, 0, 0
    peaks_kept = o['retain'] if o['buffer_policy'] == 'retain' else 1
    budget = o['total_propagations'] or float('inf')
    log = _log(events)
    yield from _compare(next(log, {}), {'event': 'discriminator', 'cycle': 0, 'sets': peaks})
    while psi < o['max_cycles'] and not (o['total_cycles'] and cycle == o['total_cycles']) and total < budget:
        mu_0, mu, gamma, omega, count, end, failed = mu_s, mu_s, 0, 0, 0, mu_s, False
        while not failed and mu_s - o['beta_l'] < mu and gamma < o['patience'] and total < budget:
            event = next(log, {})
            count, total, raised = count + 1, total + 1, False
            failed = event.get('miou') is None
            if not failed:
                end = mu = event['miou']
                if mu > mu_s + o['beta_u']:
                    mu_star = max(mu_star, mu)
                    if omega > o['peak_patience']:
                        mu_s, omega, gamma, raised = mu, 0, 0, True
                    omega += 1
            gamma += 1
            yield from _compare(event, {
                'event': 'propagation', 'cycle': cycle, 'gamma': gamma, 'omega': omega, 'start_miou': mu_s,
                'best_miou': mu_star, 'raised': raised,
            })  # fmt: skip
        diverged = failed or not mu_s - o['beta_l'] < mu
        divergences += diverged
        ended_by = 'diverged' if diverged else 'patience' if gamma == o['patience'] else 'total_propagations'
        peak = mu_star > mu_0
        if peak:
            mu_s, psi, endings = mu_star, 0, []
            peaks.append(f'peak-{cycle}')
            while len(peaks) > peaks_kept:
                peaks.pop(0)
        else:
            if len(peaks) + len(endings) == o['buffer_size']:
                endings.pop(0)
            psi += 1
        endings.append(f'end-{cycle}')
        yield from _compare(next(log, {}), {
            'event': 'cycle_end', 'cycle': cycle, 'reason': ended_by,
            'propagations': count, 'end_miou': end, 'peak': peak, 'psi': psi, 'start_miou': mu_s,
            'best_miou': mu_star, 'buffer': peaks + endings,
        })  # fmt: skip
        cycle += 1
        yield from _compare(next(log, {}), {'event': 'discriminator', 'cycle': cycle, 'sets': peaks + endings})
    result = next(log, {})
    stopped_by = 'total_cycles' if o['total_cycles'] and cycle == o['total_cycles'] else 'total_propagations'
    if psi >= o['max_cycles']:
        stopped_by = 'max_cycles'
    yield from _compare(result, {
        'event': 'result', 'holdout_miou': mu_star, 'cycles': cycle, 'step_backs': cycle, 'divergences': divergences,
        'stopped_by': stopped_by,
    })  # fmt: skip
    for event in log:
        yield f'after the end: {event}'


def _log(events):
    """The events that decisions write. A run that ended may go on under a higher bound: its last result counts."""
    kinds = ('discriminator', 'propagation', 'cycle_end', 'result')
    last = [e for e in events if e['event'] in kinds][-1]
    return iter([e for e in events if e['event'] in kinds and (e['event'] != 'result' or e is last)])


def _alternations(events, o):
    """The baseline's decisions: a fixed number of propagations, the best model kept, an end where one is not finite."""
    mu_0 = mu_star = next(e for e in events if e['event'] == 'baseline')['miou']
    log = _log(events)
    if o['adversarial_weight']:
        yield from _compare(next(log, {}), {'event': 'discriminator', 'cycle': 0, 'sets': ['g0']})
    failed, number = False, 0
    while number < o['total_propagations'] and not failed:
        event, number = next(log, {}), number + 1
        failed = event.get('miou') is None
        mu_star = mu_star if failed else max(mu_star, event['miou'])
        yield from _compare(event, {
            'event': 'propagation', 'cycle': 0, 'gamma': number, 'omega': 0, 'start_miou': mu_0,
            'best_miou': mu_star, 'raised': False,
        })  # fmt: skip
    yield from _compare(next(log, {}), {
        'event': 'result', 'holdout_miou': mu_star, 'cycles': 0, 'step_backs': 0, 'divergences': int(failed),
        'stopped_by': 'total_propagations' if number == o['total_propagations'] else 'diverged',
    })  # fmt: skip
    for event in log:
        yield f'after the end: {event}'


def _compare(event, expected):
    if not event:
        raise LogEnds
    for key, value in expected.items():
        if event.get(key) != value:
            yield f'{event}: {key} should be {value}'


def replay_run(folder: str | pathlib.Path) -> list[str]:
    """Replays a run directory."""
    folder = pathlib.Path(folder)
    events = [json.loads(line) for line in (folder / 'events.jsonl').read_text().splitlines()]
    return replay(events, json.loads((folder / 'config.json').read_text()))


if __name__ == '__main__':
    import sys

    if len(sys.argv) != 2 or not (pathlib.Path(sys.argv[1]) / 'events.jsonl').exists():
        sys.exit('Give a run directory: one that holds events.jsonl.')
    problems = replay_run(sys.argv[1])
    print('\n'.join(problems) or 'every decision agrees')
    sys.exit(bool(problems))
