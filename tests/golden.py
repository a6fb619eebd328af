"""The golden cases of the original: found by what their meta.json holds, not by name."""

import functools
import importlib.util
import json
import os
import pathlib
import types
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest


@dataclass(frozen=True)
class Case:
    """One folder of golden data."""

    folder: pathlib.Path

    @functools.cached_property
    def meta(self) -> dict:
        return json.loads((self.folder / 'meta.json').read_text())

    def arrays(self, file: str = 'data.npz') -> dict[str, np.ndarray]:
        with np.load(self.folder / file) as arrays:
            return {name: arrays[name] for name in arrays.files}

    def group(self, arrays: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
        """The arrays under `name/`, without it."""
        return {key.removeprefix(f'{name}/'): value for key, value in arrays.items() if key.startswith(f'{name}/')}


def parametrize(argument: str, prefix: str, belongs: Callable[[dict], bool]) -> pytest.MarkDecorator:
    """Runs a test, or all tests of a module, on every case whose meta.json `belongs`; skips without the test data.

    A folder whose name begins with `prefix` must belong, so that none is passed over.
    """
    root = os.environ.get('DEEPLAB_LOAD_TESTDATA')
    if not root:
        absent = pytest.param(None, marks=pytest.mark.skip(reason='DEEPLAB_LOAD_TESTDATA is not set'), id='none')
        return pytest.mark.parametrize(argument, [absent], scope='module')
    every = [Case(path.parent) for path in sorted(pathlib.Path(root).glob('golden/*/meta.json'))]
    found = [case for case in every if belongs(case.meta)]
    assert found, f'no golden cases of {argument} in {root}'
    missed = [case.folder.name for case in every if case.folder.name.startswith(prefix) and case not in found]
    assert not missed, f'{missed} have another meta.json than the cases of {argument} known here'
    return pytest.mark.parametrize(
        argument, [pytest.param(case, id=case.folder.name) for case in found], scope='module'
    )


def make_checkpoints(golden: pathlib.Path) -> types.ModuleType:
    """The golden data's own script, which makes the values of checkpoints and writes them."""
    spec = importlib.util.spec_from_file_location('make_checkpoints', golden / 'make_checkpoints.py')
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script
