"""Runs as their directories tell them, gathered into arms (seeds of one setting) and experiments (arms to compare)."""

import json
import os
import pathlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from deeplab_load.errors import UserError
from deeplab_load.files import read_json
from deeplab_load.reporting.progress import say

ALGORITHMS = {'load': 'LoAd', 'luc': 'Luc et al.', 'pixelwise': 'stage 1'}
SYMBOLS = {
    'beta_l': 'β_l', 'beta_u': 'β_u', 'patience': 'Γ', 'peak_patience': 'Ω', 'max_cycles': 'Ψ', 'buffer_size': 'B_max',
    'adversarial_weight': 'λ',
}  # fmt: skip
# What config.json holds beside the options that results are compared by: forks of one seed's stage 1 each are one arm.
IDENTITY = frozenset({'seed', 'versions', 'forked_from'})


@dataclass(frozen=True)
class Run:
    """What a run directory holds: its options, its events and its durable state."""

    path: pathlib.Path
    options: dict[str, Any] = field(repr=False)
    events: list[dict[str, Any]] = field(repr=False)
    state: dict[str, Any] = field(repr=False)

    @property
    def seed(self) -> int:
        """The seed of everything random."""
        return self.options['seed']

    @property
    def result(self) -> dict[str, Any] | None:
        """The `result` event; None while the run is not over."""
        return self.state.get('result')

    @property
    def over(self) -> bool:
        """Whether nothing is to come; of stage 1 alone nothing is once its segmentor is evaluated."""
        return bool(self.result or (self.options['algorithm'] == 'pixelwise' and self.of('baseline')))

    def confusion(self, model: str) -> np.ndarray:
        """The confusion matrix `[classes, classes]` of the `baseline` or the `best` model on the reported split."""
        return np.array(self.state[model])

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The events of one kind, in order."""
        return [event for event in self.events if event['event'] == kind]


def read_run(folder: str | os.PathLike) -> Run:
    """Reads a run directory, of a run that is over or not.

    Raises:
      UserError: it is none, or a file of it is missing or damaged.
    """
    path = pathlib.Path(folder)
    options, state = (_read_json(path, name) for name in ('config.json', 'state.json'))
    if not isinstance(state.get('events_bytes'), int):
        raise UserError(f'{path / "state.json"} is damaged; put back a copy of it.')
    # What lies behind events_bytes was written after the last durable state.
    return Run(path, options, _read_events(path / 'events.jsonl', state['events_bytes']), state)


def _read_events(file: pathlib.Path, length: int) -> list[dict[str, Any]]:
    try:
        with open(file, 'rb') as stream:
            events = [json.loads(line) for line in stream.read(max(0, length)).splitlines()]
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f'{file} is missing or damaged; put back a copy of it.') from error
    if not all(isinstance(event, dict) and 'event' in event for event in events):
        raise UserError(f'{file} is damaged: a line of it is no event; put back a copy of it.')
    return events


def _read_json(path: pathlib.Path, name: str) -> dict[str, Any]:
    if not (path / name).is_file():
        raise UserError(f'{path} holds no {name}, so it is no run directory; give the --run_dir of a run.')
    return read_json(path / name, 'put back a copy of it')


@dataclass(frozen=True)
class Arm:
    """Runs that differ in nothing but seed and folder, and what they and their data are called beside other arms."""

    label: str
    runs: tuple[Run, ...]
    dataset: str

    @property
    def options(self) -> dict[str, Any]:
        """The options of all its runs, the seed aside."""
        return self.runs[0].options

    @property
    def network(self) -> str:
        """The backbone of the segmentor."""
        return self.runs[0].state['network']

    @property
    def finished(self) -> tuple[Run, ...]:
        """The runs that have a result."""
        return tuple(run for run in self.runs if run.result)

    @property
    def counted(self) -> tuple[Run, ...]:
        """The runs that means are taken of: those that are over, or all as long as none is."""
        return tuple(run for run in self.runs if run.over) or self.runs


@dataclass(frozen=True)
class Experiment:
    """Arms that start from the same segmentor on the same data, so that their results stand beside each other."""

    arms: tuple[Arm, ...]

    @property
    def options(self) -> dict[str, Any]:
        """Options; those of the start are the same in all arms."""
        return self.arms[0].options

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return tuple(self.arms[0].runs[0].state['classes'])

    @property
    def baselines(self) -> tuple[Run, ...]:
        """One run of each seed: its g0 is the baseline of that seed."""
        return tuple({run.seed: run for arm in reversed(self.arms) for run in arm.runs}.values())

    @property
    def main_arm(self) -> Arm:
        """The arm that is looked at closely: the first LoAd with an adversary, else the last arm."""
        arms = [a for a in self.arms if a.options['algorithm'] == 'load' and a.options['adversarial_weight']]
        return (arms or self.arms[-1:])[0]


def gather(runs: Iterable[Run], *, unbound: Collection[str], arm_options: Collection[str]) -> tuple[Experiment, ...]:
    """Gathers runs into experiments, each of runs on the same data.

    Runs that have not evaluated their baseline yet are left out, and so is a second one of the same seed and options;
    which, is told.

    Args:
      runs: in any order; arms and experiments come in the order of their first run, Luc et al. before LoAd.
      unbound: options that no result depends on.
      arm_options: options in which the arms of one experiment may differ.
    """
    ignored = {*unbound, *IDENTITY}
    experiments: dict[str, dict[str, dict[int, Run]]] = {}
    for run in sorted(runs, key=_rank):
        if 'baseline' not in run.state:
            say(f'Left out: {run.path} has not evaluated its baseline yet.')
            continue
        bound = {k: v for k, v in run.options.items() if k not in ignored}
        start = {k: v for k, v in bound.items() if k not in arm_options}
        seeds = experiments.setdefault(_key([start, _data(run)]), {}).setdefault(_key(bound), {})
        if run.seed in seeds:
            say(f'Left out: {run.path} has the seed and the options of {seeds[run.seed].path}.')
        seeds.setdefault(run.seed, run)
    gathered = [[list(seeds.values()) for seeds in arms.values()] for arms in experiments.values()]
    datasets = _datasets([arms[0][0] for arms in gathered])
    return tuple(_experiment(arms, name, ignored) for arms, name in zip(gathered, datasets, strict=True))


def _data(run: Run) -> list[Any]:
    """What the data of a run are told by, other than by the name."""
    return [run.state.get(name) for name in ('data', 'classes')]


def _datasets(runs: Sequence[Run]) -> list[str]:
    """The names of the runs' data sets; where data of one name are not the same, with the first run on them."""
    first: dict[str, dict[str, Run]] = {}
    for run in runs:
        first.setdefault(run.options['dataset'], {}).setdefault(_key(_data(run)), run)
    names = [(run.options['dataset'], _key(_data(run))) for run in runs]
    return [name if len(first[name]) == 1 else f'{name} of {first[name][data].path}' for name, data in names]


def _rank(run: Run) -> tuple[int, float, int, bool]:
    """Stage 1, Luc et al., λ = 0, LoAd; then by seed; of the same, those that are over first."""
    order = ('pixelwise', 'luc', 'load')
    return order.index(run.options['algorithm']), run.options['adversarial_weight'], run.seed, not run.over


def _key(told: Any) -> str:
    return json.dumps(told, sort_keys=True)


def _experiment(arms: Sequence[list[Run]], dataset: str, ignored: Collection[str]) -> Experiment:
    options = [arm[0].options for arm in arms]
    return Experiment(
        tuple(Arm(_label(own, options, ignored), tuple(arm), dataset) for own, arm in zip(options, arms, strict=True))
    )


def _label(own: dict[str, Any], arms: Sequence[dict[str, Any]], ignored: Collection[str]) -> str:
    """The algorithm, and the options in which it is run in more than one way."""
    alike = [options for options in arms if _title(options) == _title(own)]
    names = differing(alike, ignored)
    if own['adversarial_weight'] == 0 and own['algorithm'] == 'load':
        names = list(dict.fromkeys([*names, 'adversarial_weight']))
    return ', '.join([_title(own), *(f'{symbol(n)} = {shown(own.get(n))}' for n in names)])


def algorithm_name(algorithm: str, adversarial_weight: float) -> str:
    """What a run is called: alternating steps without an adversary are cross-entropy alone."""
    alone = algorithm == 'luc' and adversarial_weight == 0
    return 'cross-entropy alone' if alone else ALGORITHMS[algorithm]


def _title(options: dict[str, Any]) -> str:
    return algorithm_name(options['algorithm'], options['adversarial_weight'])


def differing(options: Sequence[dict[str, Any]], ignored: Collection[str] = ()) -> list[str]:
    """The names of the options that are not the same everywhere, in their order."""
    names = dict.fromkeys(name for one in options for name in one if name not in ignored)
    return [name for name in names if any(one.get(name) != options[0].get(name) for one in options)]


def symbol(name: str) -> str:
    """An option under the article's symbol, where it has one."""
    return SYMBOLS.get(name, name)


def shown(value: Any) -> str:
    """The value of an option in words."""
    if value in (None, '', []):
        return '–'
    return ','.join(map(str, value)) if isinstance(value, list) else f'{value:g}' if _is_number(value) else str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, float)
