"""Fixtures shared by all tests."""

import os
import pathlib

import pytest

from deeplab_load.allocation import keep_freed_memory

keep_freed_memory()  # As the commands do.


@pytest.fixture(scope='session')
def testdata() -> pathlib.Path:
    """The folder with golden outputs and real data, named by DEEPLAB_LOAD_TESTDATA."""
    folder = os.environ.get('DEEPLAB_LOAD_TESTDATA')
    if not folder:
        pytest.skip('DEEPLAB_LOAD_TESTDATA is not set: golden outputs and real data are not at hand')
    path = pathlib.Path(folder)
    for part in ('golden', 'data'):
        assert (path / part).is_dir(), f'{path} must hold {part}/'
    return path


# Files that take minutes, begun first: one that is begun last keeps a process waiting for another.
LONG = ('test_main.py', 'test_distribution.py', 'test_foreign_run.py', 'test_service.py')


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name not in LONG)
