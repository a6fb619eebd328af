"""The house's floors: imports go down only, and the ground floor knows no TensorFlow."""

import ast
import pathlib
import subprocess
import sys

import pytest

import deeplab_load

PACKAGE = pathlib.Path(deeplab_load.__file__).parent

# From the ground up; a module may import its own floor and those below it.
FLOORS = (
    (
        *('allocation', 'errors', 'files', 'background', 'spellings', 'catalog', 'data.specs', 'lookahead'),
        *('training.recipe', 'training.devices'),
    ),
    ('models', 'losses', 'metrics', 'replicas', 'shortages'),
    ('restore', 'data', 'training', 'evaluation', 'serving', 'reporting'),
    (
        *('config', 'absl_flags', 'commands', 'data.__main__', 'runs', 'networks', 'stages', 'appraisal', 'published'),
        *('main', 'evaluate', 'predict', 'report', 'sweep', 'grid', 'zoo'),
    ),
)
NO_TENSORFLOW = tuple(f'deeplab_load.{name}' for name in FLOORS[0])


def modules():
    for file in sorted(PACKAGE.rglob('*.py')):
        name = '.'.join(file.relative_to(PACKAGE).with_suffix('').parts)
        yield name.removesuffix('.__init__'), file


def floor(name):
    """The floor of a module by its longest matching prefix."""
    matches = [(len(p), i) for i, f in enumerate(FLOORS) for p in f if name == p or name.startswith(p + '.')]
    return max(matches)[1]


def imported(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or '').startswith('deeplab_load'):
            for alias in node.names:
                yield f'{node.module}.{alias.name}'.removeprefix('deeplab_load').removeprefix('.')
        elif isinstance(node, ast.Import):
            yield from (a.name.removeprefix('deeplab_load.') for a in node.names if a.name.startswith('deeplab_load.'))


def test_imports_go_down_only():
    arrows = [
        (name, target)
        for name, file in modules()
        if name not in ('__init__', 'data', 'lookahead')
        for target in imported(file)
        if not target.startswith('__')
    ]
    assert len(arrows) > 100
    up = [(a, b) for a, b in arrows if floor(b) > floor(a)]
    assert not up


@pytest.mark.parametrize(('low', 'high'), [('lookahead.state', 'models.slim'), ('models.slim', 'training.steps')])
def test_the_floors_are_told_apart(low, high):
    assert floor(low) < floor(high)


def test_the_ground_floor_imports_no_tensorflow():
    names = [
        f'deeplab_load.{name}'
        for name, _ in modules()
        if any(f'deeplab_load.{name}' == n or f'deeplab_load.{name}'.startswith(n + '.') for n in NO_TENSORFLOW)
    ]
    assert 'deeplab_load.lookahead.algorithm' in names
    program = f'import importlib, sys\nfor n in {names}: importlib.import_module(n)\nprint(sorted(sys.modules))'
    loaded = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, check=True).stdout
    for heavy in ('tensorflow', 'keras', 'tensorflow_datasets', 'numpy'):
        assert f"'{heavy}'" not in loaded


@pytest.mark.parametrize('command', ['main', 'evaluate', 'predict', 'zoo', 'report', 'data.__main__'])
def test_a_command_loads_tensorflow_after_its_flags(command):
    program = f"import sys, deeplab_load.{command}; print('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, '-c', program], capture_output=True, text=True).stdout == 'False\n'


def test_no_vague_module_names():
    vague = {'utils', 'util', 'common', 'helpers', 'misc'}
    assert not [name for name, _ in modules() if vague & set(name.split('.'))]
