"""The golden variants as fixtures: each test that takes a `variant` runs for all of them."""

import pathlib

import keras
import pytest

from .variants import golden_variants, restored


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if 'variant' in metafunc.fixturenames:
        absent = pytest.param(None, marks=pytest.mark.skip(reason='DEEPLAB_LOAD_TESTDATA is not set'), id='none')
        cases = [pytest.param(variant, id=variant.folder.name) for variant in golden_variants()]
        metafunc.parametrize('variant', cases or [absent], scope='module')


@pytest.fixture(scope='module')
def folder(variant, tmp_path_factory) -> pathlib.Path:
    """Where the variant's TF1 checkpoint is, once `model` was made."""
    return tmp_path_factory.mktemp(variant.folder.name)


@pytest.fixture(scope='module')
def model(variant, folder) -> keras.Model:
    """The variant's network with the values of its TF1 checkpoint."""
    return restored(variant, folder)
