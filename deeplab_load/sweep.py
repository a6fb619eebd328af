"""A sweep: `python -m deeplab_load.sweep --flagfile=flags/voc.cfg --grid=beta_u:0.001,0.005 --seeds=0,1,2`.

Runs the main job on every point of a grid with every seed, one after another, each in its own process and run
directory; then fills the article's Tables 6 to 9. The same command goes on with a sweep that was stopped or killed:
runs that are over are skipped, the others resume.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Sequence
from typing import NamedTuple

from deeplab_load import files
from deeplab_load.commands import complain, load_quietly, require_text
from deeplab_load.config import NEUTRAL, arm_options, to_json
from deeplab_load.errors import UserError
from deeplab_load.grid import Point, points, shard
from deeplab_load.reporting.runs import read_run
from deeplab_load.training.stopping import Stopped, StopSignal

MAIN = (sys.executable, '-m', 'deeplab_load.main')


def main(arguments: list[str] | None = None) -> None:
    """Entry of the command: its own options and those of the main job, then the sweep.

    The exit status is 1 if a run failed, 2 for a user's mistake.
    """
    options, base = parser().parse_known_args(arguments)
    try:
        require_text(vars(options))
        sys.exit(1 if job(options, base) else 0)
    except UserError as error:
        sys.exit(complain(error))
    except Stopped:
        print('Stopped. The same command goes on with the sweep.')


def parser() -> argparse.ArgumentParser:
    """What the command takes beside the options of the main job."""
    top = argparse.ArgumentParser(
        'deeplab_load.sweep',
        description='Runs the main job on every point of a grid with every seed.',
        epilog='All other options are those of deeplab_load.main, for every run.',
        allow_abbrev=False,
    )
    grid = 'an option and its values, NAME:VALUE,VALUE (with semicolons where values have commas); may be repeated'
    top.add_argument('--grid', action='append', default=[], help=grid)
    top.add_argument('--seeds', default='0', help='seeds of each point, such as 0,1,2')
    top.add_argument('--shard', default='1/1', help='i/n: every n-th run, from the i-th, for one of n machines')
    folder = 'folder of the sweep; the runs lie in it'
    top.add_argument('--run_dir', default='runs/sweep', type=os.path.expanduser, help=folder)
    top.add_argument('--paper', action='store_true', help="put the article's published figures beside ours")
    return top


def job(options: argparse.Namespace, base: Sequence[str]) -> list[str]:
    """Runs the sweep and fills the tables; returns the names of the runs that failed."""
    everything = points(base, options.grid, options.seeds, options.run_dir)
    mine = shard(everything, options.shard)
    stop = StopSignal()
    stop.listen()
    failed = []
    for number, point in enumerate(mine, 1):
        outcome = attempt(point, stop)
        print(f'[{number}/{len(mine)}] {point.name}: {outcome.words}', flush=True)
        stop.check()
        failed += [point.name] if outcome.failed else []
    fill(everything, pathlib.Path(options.run_dir), with_paper=options.paper)
    if failed:
        print(f'{len(failed)} of {len(mine)} runs failed: {" ".join(failed)}', file=sys.stderr)
    return failed


class Outcome(NamedTuple):
    """What came of a run."""

    failed: bool
    words: str


def attempt(point: Point, stop: StopSignal) -> Outcome:
    """Runs a point, unless it is over already."""
    if finished(point):
        return Outcome(False, 'finished before')
    log = point.folder.with_name(f'{point.folder.name}.log')
    with files.writing(log):
        log.parent.mkdir(parents=True, exist_ok=True)
        status = _run(point, log, stop)
    if finished(point):
        return Outcome(False, 'finished')
    if stop.requested:
        return Outcome(False, 'stopped')
    words = [line for line in log.read_text(errors='replace').splitlines() if line.strip()]
    return Outcome(True, f'failed with exit status {status}: {words[-1] if words else "no word"} (all in {log})')


def finished(point: Point) -> bool:
    """Whether the point's run directory holds a run with these options that is over, and exported as they say."""
    try:
        run = read_run(point.folder)
    except UserError:
        return False  # What is wrong with a folder that is there, the run tells.
    wanted = json.loads(json.dumps(to_json(point.config)))
    bound = {name for name in wanted if name not in NEUTRAL or name.startswith('export')}
    same = all(run.options.get(name) == wanted[name] for name in bound)
    return same and 'exported' in run.state and run.over


def _run(point: Point, log: pathlib.Path, stop: StopSignal) -> int:
    """Runs the main job in a process of its own, which a signal to the sweep asks to stop too; its exit status."""
    command = [*MAIN, *point.arguments]
    with open(log, 'a') as stream:
        # In a session of its own, so that Ctrl-C reaches the run once, by us.
        child = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True)
        asked = False
        while True:
            try:
                return child.wait(timeout=0.5)
            except subprocess.TimeoutExpired:
                if stop.requested and not asked:
                    child.terminate()
                    asked = True


def fill(everything: Sequence[Point], folder: pathlib.Path, *, with_paper: bool) -> None:
    """Fills the tables from the runs of all shards that are there, and says where they are."""
    runs = []
    for point in everything:
        if (point.folder / 'state.json').exists():
            try:
                runs.append(read_run(point.folder))
            except UserError as error:
                print(f'Left out: {error}')
    done = sum(map(finished, everything))
    report = load_quietly('deeplab_load.reporting.report')
    page, tables = report.write_report(
        runs, folder / 'report', unbound=NEUTRAL, arm_options=arm_options(), with_paper=with_paper
    )
    text = '\n\n'.join([f'{done} of {len(everything)} runs are finished.', *(table.text() for table in tables)])
    files.write_text(folder / 'tables.txt', f'{text}\n')
    print(f'{text}\n\ntables: {folder / "tables.txt"}, {page}')


if __name__ == '__main__':
    main()
