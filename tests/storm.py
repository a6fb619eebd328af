"""Kills the main job in every phase, starts it again, and compares its end with that of a run that was left alone."""

import contextlib
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass

import numpy as np

from deeplab_load.restore.checkpoint import read_checkpoint

ROOT = pathlib.Path(__file__).parents[1]
OPTIONS = (
    '--dataset=shapes', '--train_split=val', '--depth_multiplier=0.1', '--output_stride=16', '--fine_tune_batch_norm',
    '--batch_norm_decay=0.9', '--pixelwise_epochs=4', '--pixelwise_learning_rate=0.05', '--patience=2',
    '--total_cycles=2', '--adversarial_learning_rate=0.01', '--discriminator_size=32', '--discriminator_alpha=0.25',
    '--discriminator_epochs=1', '--eval_batch_size=10', '--save_every=8',
)  # fmt: skip
LARGER = ('--train_split=train', '--pixelwise_epochs=1')  # As many steps, but sets of five shards instead of two.
PHASES = ('data', 'stage 1', 'baseline', 'maps', 'discriminator', 'adversarial', 'evaluation', 'export')
STATE = ('load', 'data', 'baseline', 'best', 'sets')  # What of the last state is the same, whatever happened.
DEADLINE = 600  # Seconds in which a phase must be reached.


def command(run_dir, data_dir, *more):
    """The command of the small run."""
    folders = (f'--run_dir={run_dir}', f'--data_dir={data_dir}')
    return [sys.executable, '-m', 'deeplab_load.main', *OPTIONS, *folders, *more]


@dataclass(frozen=True)
class Place:
    """Where a run and its data lie, and options beside those of the small run."""

    run: pathlib.Path
    data: pathlib.Path
    options: tuple[str, ...] = ()

    def start(self, *more):
        """Starts the job."""
        return subprocess.Popen(
            command(self.run, self.data, *self.options, *more),
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, *more):
        """Lets the job run to its end; returns what it printed."""
        process = self.start(*more)
        output, errors = process.communicate(timeout=DEADLINE)
        assert process.returncode == 0, errors
        return output

    def phase(self):
        """The phase that the run is in, by what is on the disk."""
        if not list(self.data.glob('shapes/[0-9]*')):
            return 'data'
        state = self.run / 'state.json'
        try:
            record = json.loads(state.read_text())
        except FileNotFoundError:
            record = {}
        if 'load' not in record:
            return 'baseline' if 'g0' in record.get('snapshots', ()) else 'stage 1'
        if 'result' in record:
            return 'over' if 'exported' in record else 'export'
        phase, cycle = record['load']['phase'], record['load']['cycle']
        if list((self.run / 'buffer').glob('.*.partial')):
            return 'maps'
        if phase == 'cycle' and cycle == 2:
            return 'evaluation'
        if phase == 'start' and not (self.run / 'buffer' / 'g0').exists():
            return 'maps'
        return 'discriminator' if phase in ('start', 'discriminator') else 'adversarial'


def _seen(*folders):
    """What lies in the folders: names, sizes and times."""
    found = []
    for place in (place for folder in folders for place in os.walk(folder)):  # os.walk bears what vanishes.
        for name in place[2]:
            with contextlib.suppress(FileNotFoundError):
                stat = os.stat(os.path.join(place[0], name))
                found.append((place[0], name, stat.st_size, stat.st_mtime_ns))
    return sorted(found)


def kill_in(place, phase, changes, pause=0.0, number=signal.SIGKILL):
    """Starts the job and kills it in a phase: `pause` seconds after so many changes on the disk since it was there.

    Returns the phase that it was in then ('over' if it was done before), its exit status and what it printed.
    """
    process = place.start()
    deadline, seen = time.monotonic() + DEADLINE, _seen(place.run, place.data)
    while process.poll() is None and changes > 0:
        assert time.monotonic() < deadline, f'the run did not reach the phase {phase}'
        before, seen = seen, _seen(place.run, place.data)
        if seen != before and PHASES.index(phase) <= [*PHASES, 'over'].index(place.phase()):
            changes -= 1
        time.sleep(0.005)
    time.sleep(pause)
    where = place.phase() if process.poll() is None else 'over'
    if process.poll() is None:
        os.kill(process.pid, number)
    output, errors = process.communicate(timeout=DEADLINE)
    assert process.returncode in (0, -number), errors
    return where, process.returncode, output


def storm(place, kills, seed, say=print):
    """Kills at random moments, as many in each phase; then lets the run end. Returns the kills by phase."""
    chance, done = random.Random(seed), Counter()
    for number in range(kills):
        phase = PHASES[number * len(PHASES) // kills]
        # An evaluation is short and writes little.
        most, longest = (5, 0) if phase in ('baseline', 'evaluation') else (12, 1)
        pause = chance.choice((0, chance.uniform(0, longest)))
        where, status, _ = kill_in(place, phase, chance.randint(1, most), pause)
        if where == 'over':
            break
        done[where] += 1
        say(f'kill {number + 1} of {kills}: aimed at {phase}, was in {where}, status {status}')
    place.finish()
    return done


def events(folder):
    """The events of a run, without times and resumptions."""
    lines = [json.loads(line) for line in (folder / 'events.jsonl').read_text().splitlines()]
    return [{k: v for k, v in e.items() if k != 'time'} for e in lines if e['event'] != 'resume']


def differences(folder, other):
    """What differs between the ends of two runs: events, label-map sets byte for byte, weights bit for bit, exports."""
    found = [] if events(folder) == events(other) else ['events.jsonl']
    states = [json.loads((place / 'state.json').read_text()) for place in (folder, other)]
    found += [f'{key} in state.json' for key in STATE if states[0].get(key) != states[1].get(key)]
    for kind in ('buffer', 'export'):
        names = [sorted(p.relative_to(f) for p in (f / kind).rglob('*') if p.is_file()) for f in (folder, other)]
        if names[0] != names[1]:
            found.append(f'files in {kind}')
    kept = [*(other / 'buffer').rglob('*'), *(other / 'report' / 'samples').rglob('*')]
    sets = [p.relative_to(other) for p in sorted(kept) if p.is_file()]
    found += [
        str(p) for p in sets if not (folder / p).exists() or (folder / p).read_bytes() != (other / p).read_bytes()
    ]
    names = [sorted(p.name for p in (f / 'checkpoints').iterdir()) for f in (folder, other)]
    if names[0] != names[1]:
        return [*found, 'files in checkpoints']
    return found + [name for name in names[0] if not _same_values(*(f / 'checkpoints' / name for f in (folder, other)))]


def _same_values(ours, theirs):
    ours, theirs = read_checkpoint(ours), read_checkpoint(theirs)
    return ours.shapes == theirs.shapes and all(np.array_equal(ours.value(k), theirs.value(k)) for k in theirs.shapes)
