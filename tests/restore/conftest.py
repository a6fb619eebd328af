"""The golden variants as checkpoints, and the cases found among them."""

import functools
import json
import os
import pathlib
from dataclasses import dataclass

import numpy as np
import pytest

from deeplab_load.catalog import Architecture
from deeplab_load.models.inference import Inference

from ..golden import make_checkpoints

# Where the original's noise floor was not recorded: fidelity.md, section f.
NOISE_FLOORS = {'xception': 1.1e-3, 'resnet': 2e-4, 'mobilenet': 3e-4}
# TF 1.15's means in squeeze-and-excitation are inaccurate by this much.
SQUEEZE_TOLERANCES = {'mobilenet_v3_large_seg': 2e-3, 'mobilenet_v3_small_seg': 2e-2}


@dataclass(frozen=True)
class Variant:
    """One folder of golden outputs."""

    folder: pathlib.Path

    @functools.cached_property
    def meta(self) -> dict:
        return json.loads((self.folder / 'meta.json').read_text())

    @property
    def architecture(self) -> Architecture:
        return Architecture.from_flags({**self.meta['flags'], 'num_classes': self.meta['num_classes']})

    @property
    def inference(self) -> Inference:
        return Inference.from_flags(self.meta['flags'])

    @property
    def crop_size(self) -> tuple[int, int]:
        height, width = self.meta['crop_size']
        return height, width

    @property
    def source(self) -> pathlib.Path:
        """The folder whose recipe makes the checkpoint: its own, or another variant's."""
        shared = self.folder.parent / self.meta['checkpoint_folder'].split('/')[0]
        return self.folder if (self.folder / 'overrides.npz').exists() else shared

    @functools.cached_property
    def variables(self) -> list[dict]:
        return self.recipe['variables']

    @functools.cached_property
    def recipe(self) -> dict:
        return json.loads((self.source / 'variables.json').read_text())

    def arrays(self, file: str) -> dict[str, np.ndarray]:
        with np.load(self.folder / file) as arrays:
            return {name: arrays[name] for name in arrays.files}

    def tolerance(self, run: str) -> float:
        """How far logits may be from the original's: four times its own difference from another TensorFlow."""
        model_variant = self.meta['flags']['model_variant']
        if run == 'pad' and model_variant in SQUEEZE_TOLERANCES:
            return SQUEEZE_TOLERANCES[model_variant]
        floors = self.floors(run, 'logits_raw')
        family = next(floor for family, floor in NOISE_FLOORS.items() if model_variant.startswith(family))
        return max(4 * max(floors, default=family), 1e-4)

    def floors(self, run: str, tensor: str) -> list[float]:
        recorded = self.meta.get('noise_floor', {}).values()
        return [entry[run][tensor]['max_abs'] for entry in recorded if tensor in entry.get(run, {})]


def golden_variants() -> list[Variant]:
    """All variants whose outputs were recorded, none where the test data are not at hand."""
    root = os.environ.get('DEEPLAB_LOAD_TESTDATA')
    if not root:
        return []
    variants = [Variant(path.parent) for path in sorted(pathlib.Path(root).glob('golden/*/outputs.npz'))]
    found = [variant for variant in variants if {'flags', 'runs'} <= set(variant.meta)]
    assert found, f'no golden outputs in {root}'
    return found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if 'variant' in metafunc.fixturenames:
        parametrize(metafunc, 'variant', golden_variants())


def parametrize(metafunc: pytest.Metafunc, name: str, variants: list[Variant]) -> None:
    absent = pytest.param(None, marks=pytest.mark.skip(reason='DEEPLAB_LOAD_TESTDATA is not set'), id='none')
    cases = [pytest.param(variant, id=variant.folder.name) for variant in variants]
    metafunc.parametrize(name, cases or [absent], scope='module')


@pytest.fixture(scope='module')
def checkpoint(variant, tmp_path_factory) -> pathlib.Path:
    """The prefix of the variant's TF1 checkpoint, written by the golden data's own script."""
    script = make_checkpoints(variant.folder.parent)
    prefix = tmp_path_factory.mktemp(variant.folder.name) / 'model.ckpt-30000'
    script.write_checkpoint(script.checkpoint_values(variant.source), prefix)
    return prefix
