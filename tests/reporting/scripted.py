"""Run directories whose μ is scripted and whose decisions are Algorithm 3's own."""

import json
import random

import numpy as np
from PIL import Image

from deeplab_load.config import Config, to_json
from deeplab_load.data.specs import get_spec
from deeplab_load.lookahead import events
from deeplab_load.lookahead.algorithm import load
from deeplab_load.lookahead.state import LoadState
from deeplab_load.metrics import summarise

from ..lookahead.test_algorithm import ScriptedPlayers

STAGE_1_SECONDS, SECONDS_A_STEP = 100.0, 10.0


def confusion(classes, quality, seed):
    """Counts of which about `quality` are right; the rest are confused at random."""
    draw = np.random.default_rng(seed)
    wrong = draw.integers(0, 60, (classes, classes))
    np.fill_diagonal(wrong, 0)
    right = wrong.sum(axis=1) * quality / (1 - quality)
    return wrong + np.diag(right.astype(int))


def script(seed, peak=0.53):
    """μ for 200 propagations: a rise to about `peak`, then a fall; now and then a propagation that is not finite."""
    draw, mu, values = random.Random(seed), 0.5, []
    for number in range(200):
        mu += draw.gauss(0.004 if number % 25 < 12 and mu < peak else -0.005, 0.004)
        values.append('nan' if number == 60 else min(max(mu, 0.01), 0.99))
        mu = 0.5 if number % 25 == 24 else mu
    return values


def write_run(folder, *, seed=0, gain=0.01, finished=True, samples=True, mus=None, source=None, **options):
    """Writes a run of Algorithm 3 on the scripted values, a fork of `source` if given; returns its folder."""
    options = {'dataset': 'stanford_background', 'total_cycles': 4, 'patience': 12, 'peak_patience': 3, **options}
    config = Config(seed=seed, **options)
    spec = get_spec(config.dataset)
    steps = list(load(ScriptedPlayers(mus or script(seed)), LoadState.initial(0.5), config.limits()))
    matrices = [confusion(spec.num_classes, quality, seed) for quality in (0.8, 0.8 + gain)]
    baseline, best = map(summarise, matrices)
    state = steps[-1][0]
    log = [events.RunStart('digest', {}), events.Baseline(miou=0.5, val_miou=baseline.miou), *(e for _, e in steps)]
    record = {'load': state.to_json(), 'stage_1_seconds': STAGE_1_SECONDS, 'classes': spec.classes}
    record['network'] = config.model_variant or 'mobilenet_v2'
    record['baseline'] = matrices[0].tolist()
    if finished:
        per_class = dict(zip(spec.classes, best.per_class, strict=True))
        result = events.Result(
            holdout_miou=state.mu_best, val_miou=best.miou, per_class=per_class, baseline_val_miou=baseline.miou,
            divergences=state.divergences, step_backs=state.cycle, cycles=state.cycle,
            success=best.miou - baseline.miou >= 0.001, stopped_by='total_cycles',
        )  # fmt: skip
        log.append(result)
        record |= {'result': result.record(), 'best': matrices[1].tolist(), 'exported': {}}
    folder.mkdir(parents=True)
    lines = [json.dumps({**e.record(), 'time': 1000 + SECONDS_A_STEP * n}) for n, e in enumerate(log)]
    (folder / 'events.jsonl').write_text('\n'.join(lines) + '\n')
    record['events_bytes'] = (folder / 'events.jsonl').stat().st_size
    (folder / 'state.json').write_text(json.dumps(record))
    origin = {'forked_from': source} if source else {}
    (folder / 'config.json').write_text(json.dumps({**to_json(config), 'versions': {}, **origin}))
    if samples:
        write_samples(folder, spec, state.cycle, finished)
    return folder


def write_samples(folder, spec, cycles, finished):
    """Two images of each part with maps of stripes."""
    through = ['g0', *(f'{kind}-{cycle}' for cycle in range(cycles) for kind in ('peak', 'end'))]
    for part, names in (('evaluation', ['g0', *(['best'] if finished else [])]), ('holdout', through)):
        for image_id in ('first', 'second%2Fhalf'):
            home = folder / 'report' / 'samples' / part / image_id
            home.mkdir(parents=True)
            Image.fromarray(np.full((40, 60, 3), 120, np.uint8)).save(home / 'image.jpg')
            for number, name in enumerate(['truth', *names]):
                label_map = np.add.outer(np.arange(40) // 10, np.arange(60) // 10 + number) % spec.num_classes
                picture = Image.fromarray(label_map.astype(np.uint8))
                picture.putpalette([level for colour in spec.colours for level in colour])
                picture.save(home / f'{name}.png')
