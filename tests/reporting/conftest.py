"""Runs gathered as the commands gather them."""

import pytest

from deeplab_load.config import NEUTRAL, arm_options
from deeplab_load.reporting.runs import gather, read_run

from .scripted import write_run


@pytest.fixture
def experiments(tmp_path):
    """Writes runs, each from its keyword arguments, and gathers them."""

    def make(*settings):
        home = tmp_path / str(len(list(tmp_path.iterdir())))
        runs = [read_run(write_run(home / str(number), **values)) for number, values in enumerate(settings)]
        return gather(runs, unbound=NEUTRAL, arm_options=arm_options())

    return make
