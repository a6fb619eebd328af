"""The golden MobileNetV2 variants as checkpoints, and the cases found among them."""

import functools
import importlib.util
import json
import os
import pathlib
from dataclasses import dataclass

import numpy as np
import pytest

from deeplab_load.catalog import Architecture

# Variants that ask for more (several scales, an image pyramid, other heads) are tested where that is built.
FLAGS = {'model_variant', 'output_stride', 'atrous_rates', 'decoder_output_stride', 'depth_multiplier'}


@dataclass(frozen=True)
class Variant:
    """One folder of golden outputs."""

    folder: pathlib.Path

    @functools.cached_property
    def meta(self) -> dict:
        return json.loads((self.folder / 'meta.json').read_text())

    @property
    def architecture(self) -> Architecture:
        flags = dict(self.meta['flags'])
        decoder = flags.pop('decoder_output_stride', None)
        return Architecture(
            num_classes=self.meta['num_classes'],
            decoder_output_stride=int(decoder) if decoder else None,
            atrous_rates=tuple(flags.pop('atrous_rates', None) or ()),
            **flags,
        )

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

    def noise_floor(self, run: str) -> float:
        """Largest difference of the original's logits from itself on another TensorFlow."""
        floors = [entry[run]['logits_raw']['max_abs'] for entry in self.meta['noise_floor'].values() if run in entry]
        return max(floors, default=0.0)


def golden_variants(prefix: str = '') -> list[Variant]:
    """All variants whose model variant begins so, none where the test data are not at hand."""
    root = os.environ.get('DEEPLAB_LOAD_TESTDATA')
    if not root:
        return []
    folders = sorted(path.parent for path in pathlib.Path(root).glob('golden/*/outputs.npz'))
    variants = [Variant(folder) for folder in folders]
    found = [v for v in variants if 'noise_floor' in v.meta and v.meta['flags']['model_variant'].startswith(prefix)]
    assert found, f'no golden outputs in {root}'
    return found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if 'variant' in metafunc.fixturenames:
        found = [v for v in golden_variants('mobilenet_v2') if set(v.meta['flags']) <= FLAGS]
        parametrize(metafunc, 'variant', found)
    if 'any_variant' in metafunc.fixturenames:
        parametrize(metafunc, 'any_variant', [v for v in golden_variants() if (v.folder / 'variables.json').exists()])


def parametrize(metafunc: pytest.Metafunc, name: str, variants: list[Variant]) -> None:
    absent = pytest.param(None, marks=pytest.mark.skip(reason='DEEPLAB_LOAD_TESTDATA is not set'), id='none')
    cases = [pytest.param(variant, id=variant.folder.name) for variant in variants]
    metafunc.parametrize(name, cases or [absent], scope='module')


@pytest.fixture(scope='module')
def checkpoint(variant, tmp_path_factory) -> pathlib.Path:
    """The prefix of the variant's TF1 checkpoint, written by the golden data's own script."""
    spec = importlib.util.spec_from_file_location('make_checkpoints', variant.folder.parent / 'make_checkpoints.py')
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    prefix = tmp_path_factory.mktemp(variant.folder.name) / 'model.ckpt-30000'
    script.write_checkpoint(script.checkpoint_values(variant.source), prefix)
    return prefix
