"""The facts about the data sets."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from deeplab_load.data.specs import ADE20K, CITYSCAPES, PASCAL_VOC, SPECS, get_spec, pascal_colours, spec_from_json
from deeplab_load.errors import UserError


def test_colour_maps_are_the_originals(testdata):
    recorded = np.load(testdata / 'golden/misc/data.npz')
    np.testing.assert_array_equal(pascal_colours(256), recorded['colormap_pascal'][:256])
    np.testing.assert_array_equal(PASCAL_VOC.colours, recorded['colormap_pascal'][:21])
    np.testing.assert_array_equal(CITYSCAPES.colours, recorded['colormap_cityscapes'][:19])
    np.testing.assert_array_equal(ADE20K.colours, recorded['colormap_ade20k'])


def test_colours_tell_the_classes_apart_but_for_two_of_ade20k():
    twins = {name: spec.num_classes - len(set(spec.colours)) for name, spec in SPECS.items()}
    assert twins == {**dict.fromkeys(SPECS, 0), 'ade20k': 1}  # The original's map has road as skyscraper.


def test_a_row_survives_json():
    for spec in SPECS.values():
        assert spec_from_json(json.loads(json.dumps(dataclasses.asdict(spec)))) == spec


@pytest.mark.parametrize('spec', SPECS.values(), ids=SPECS.keys())
def test_every_row_is_consistent(spec):
    assert len(set(spec.classes)) == len(spec.classes) == len(spec.colours) == spec.num_classes
    assert {spec.train_split, spec.validation_split, spec.evaluation_split} <= set(spec.splits)
    assert all(side % 16 == 1 for side in (*spec.train_crop_size, *spec.eval_crop_size))


def test_numbers_of_classes():
    assert {name: spec.num_classes for name, spec in SPECS.items()} == {
        'pascal_voc': 21,
        'cityscapes': 19,
        'stanford_background': 8,
        'ade20k': 151,
        'shapes': 7,
    }


def test_unknown_name_is_told_with_the_names_there_are():
    with pytest.raises(UserError, match="no data set 'voc'; choose one of ade20k, cityscapes, folder, pascal_voc"):
        get_spec('voc')


def test_specs_import_no_tensorflow():
    code = 'import sys, deeplab_load.data.specs; sys.exit("tensorflow" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0
