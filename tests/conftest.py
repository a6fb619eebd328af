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
