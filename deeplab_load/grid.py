"""The runs of a sweep: every combination of the grid's values with every seed."""

import dataclasses
import itertools
import os
import pathlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

from absl import flags

from deeplab_load.absl_flags import define_flags, from_flags, parse, unexpected
from deeplab_load.config import Config
from deeplab_load.errors import UserError

OWN = ('run_dir', 'seed')  # What a sweep sets by itself.


@dataclass(frozen=True)
class Point:
    """One run of a sweep: what it is called, its folder, and the arguments of the main job with what they mean."""

    name: str
    folder: pathlib.Path
    arguments: tuple[str, ...]
    config: Config


def points(base: Sequence[str], grids: Sequence[str], seeds: str, folder: str | os.PathLike) -> list[Point]:
    """The runs of a sweep in a fixed order, each with its options checked.

    Args:
      base: arguments of the main job that all runs share; those of the grid win over them, but for a flagfile of the
        grid, over which they win.
      grids: `NAME:VALUE,VALUE`, or `NAME:VALUE;VALUE` for values with commas.
      seeds: `0,1,2`.
      folder: the runs lie in `<folder>/<name>=<value>,…/seed=<seed>`.

    Raises:
      UserError: an option or a value that the main job would refuse, or two runs of one name.
    """
    if any(re.match('--?seed(=|$)', argument) for argument in base):
        raise UserError('--seed is set by the sweep; give --seeds.')
    axes = [_axis(grid) for grid in grids]
    options = [name for name, _ in axes]
    if twice := sorted({name for name in options if options.count(name) > 1}):
        raise UserError(f'--grid={twice[0]}:... is given twice; give all of its values in one.')
    found = []
    for values in itertools.product(*(axis for _, axis in axes)):
        chosen = dict(zip(options, values, strict=True))
        found += [_point(base, chosen, seed, pathlib.Path(folder)) for seed in _seeds(seeds)]
    names = [point.name for point in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f'Two runs of the sweep would be called {twice[0]!r}; give every value once.')
    first: dict[Config, str] = {}
    for point in found:
        if (other := first.setdefault(dataclasses.replace(point.config, run_dir=None), point.name)) != point.name:
            raise UserError(f'{other!r} and {point.name!r} would be the same run; give every value once.')
    return found


def _axis(grid: str) -> tuple[str, list[str]]:
    name, colon, values = grid.partition(':')
    listed = [value for value in values.split(';' if ';' in values else ',') if value]
    if not (colon and name and listed):
        raise UserError(f'--grid={grid} must be an option and its values, such as --grid=beta_u:0.001,0.005.')
    if name in OWN:
        raise UserError(f'--grid={grid}: a sweep sets --{name} by itself; give --seeds, and --run_dir for its folder.')
    return name, listed


def _seeds(text: str) -> list[int]:
    try:
        return [int(seed) for seed in text.split(',')]
    except ValueError:
        raise UserError(f'--seeds={text} must be whole numbers, such as --seeds=0,1,2.') from None


def _point(base: Sequence[str], chosen: dict[str, str], seed: int, folder: pathlib.Path) -> Point:
    setting = ','.join(f'{name}={_word(name, value)}' for name, value in chosen.items())
    name = f'{setting}/seed={seed}' if setting else f'seed={seed}'
    files = [f'--flagfile={value}' for key, value in chosen.items() if key == 'flagfile']
    others = [f'--{key}={value}' for key, value in chosen.items() if key != 'flagfile']
    arguments = (*files, *base, *others, f'--seed={seed}', f'--run_dir={folder / name}')
    return Point(name, folder / name, arguments, _config(arguments))


def _word(name: str, value: str) -> str:
    """A value as part of a folder's name."""
    return pathlib.Path(value).stem if name == 'flagfile' else value.replace('/', '_')


def _config(arguments: Sequence[str]) -> Config:
    """What the main job would read from its arguments; raises UserError as it would."""
    values = flags.FlagValues()
    flags.DEFINE_string('flagfile', None, 'as absl defines it', flag_values=values)
    define_flags(Config, values)
    if left := parse(['main', *arguments], values):
        raise unexpected(left[0])
    return from_flags(Config, values)


def shard(found: Sequence[Point], text: str) -> list[Point]:
    """The runs of shard `i/n`, i from 1 to n: every n-th, so that the shards have them all."""
    number, _, count = text.partition('/')
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise UserError(f'--shard={text} must be i/n with i from 1 to n, such as --shard=1/2 and --shard=2/2.')
    return list(found[int(number) - 1 :: int(count)])
