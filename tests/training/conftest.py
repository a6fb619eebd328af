"""The built-in data set, a few images of it, a small segmentor, and a run directory that has begun."""

import dataclasses

import pytest

from deeplab_load.catalog import Architecture
from deeplab_load.data.preparation import prepare
from deeplab_load.models.deeplab import build_segmentor
from deeplab_load.training import players as players_module
from deeplab_load.training.durable import RunDirectory
from deeplab_load.training.stopping import StopSignal


class Killed(BaseException):
    """Ends a process as kill -9 would: no handler of Exception sees it."""


class KillAt(StopSignal):
    """Kills at the n-th look at whether to stop; each step looks once, before it is stored."""

    def __init__(self, looks):
        self.looks = looks

    @property
    def requested(self):
        self.looks -= 1
        if not self.looks:
            raise Killed
        return False


@pytest.fixture(scope='session')
def shapes(tmp_path_factory):
    return prepare('shapes', data_dir=tmp_path_factory.mktemp('data'))


@pytest.fixture(scope='session')
def few(shapes):
    """Twelve training images and six of the validation split."""
    train, val = shapes.examples('train'), shapes.examples('val')
    return train.subset(train.ids[:12]), val.subset(val.ids[:6])


@pytest.fixture
def handed_on(players, monkeypatch):
    """What a module's players make their step with under other options."""

    def make(**options):
        given = {}
        monkeypatch.setattr(players_module, 'adversarial_step', lambda *_, **how: given.update(how))
        players.options = dataclasses.replace(players.options, **options)
        players._make_step()
        return given

    return make


@pytest.fixture
def small_segmentor():
    architecture = Architecture('mobilenet_v2', num_classes=7, depth_multiplier=0.1)
    return build_segmentor(architecture, fine_tune_batch_norm=True, batch_norm_decay=0.9, seed=1)


@pytest.fixture
def begun_run(tmp_path):
    run = RunDirectory(tmp_path / 'run')
    with run.locked():
        run.write_state({'events_bytes': 0}, snapshots=())
        yield run
