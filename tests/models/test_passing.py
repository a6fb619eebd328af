"""A batch at once, or its images one after the other."""

import os
import platform
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from deeplab_load.evaluation import evaluation
from deeplab_load.evaluation.evaluation import label_mapper
from deeplab_load.models import passing
from deeplab_load.models.passing import is_faster_singly, leave_caches, one_by_one

from ..serving.conftest import CROP, SMALL, calibrated_segmentor, smooth_noise


@pytest.mark.parametrize(
    ('window', 'gpus', 'onednn', 'singly'),
    [
        ((321, 321), [], False, True),
        ((513, 513), [], False, True),
        ((97, 129), [], False, False),
        ((513, 513), [], True, False),
        ((513, 513), ['a GPU'], False, False),
    ],
)
def test_large_images_pass_singly_on_cpus_without_onednn(monkeypatch, window, gpus, onednn, singly):
    monkeypatch.setattr(tf.config, 'list_physical_devices', lambda kind: gpus)
    monkeypatch.setattr(passing, 'has_dilated_depthwise', lambda: onednn)
    assert is_faster_singly(window) == singly
    assert leave_caches(window) == (singly or (onednn and not gpus))


# On x86 TensorFlow has it on where the processor has AVX-512 VNNI, or where it is asked for.
@pytest.mark.parametrize(('asked', 'found'), [('0', False), ('1', platform.machine() == 'x86_64')])
def test_onednn_is_found_where_it_is_on(asked, found):
    program = """
import tensorflow as tf
from deeplab_load.models.passing import has_dilated_depthwise as has
print(tf.function(lambda: tf.constant(has()))().numpy(), has())  # Asked first while a function is traced.
"""
    environment = {**os.environ, 'TF_ENABLE_ONEDNN_OPTS': asked}
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split() == [str(found)] * 2


@pytest.mark.parametrize('rows', [0, 1, 3])
def test_structures_of_rows_are_stacked(rows):
    values = tf.random.stateless_uniform([rows, 2, 4], [0, 0])

    @tf.function
    def of_all(values):
        return one_by_one(lambda row: {'sum': tf.reduce_sum(row, 1), 'first': tf.cast(row[0] > 0.5, tf.uint8)}, values)

    found = of_all(values)
    np.testing.assert_allclose(found['sum'], tf.reduce_sum(values, 2), rtol=1e-6)
    np.testing.assert_array_equal(found['first'], tf.cast(values[:, 0] > 0.5, tf.uint8))


def test_label_maps_are_the_same_either_way(monkeypatch):
    segmentor = calibrated_segmentor(SMALL)
    images = tf.constant(np.stack([smooth_noise(*CROP, seed) for seed in range(3)]), tf.float32)
    maps = []
    for singly in (False, True):
        monkeypatch.setattr(evaluation, 'is_faster_singly', lambda window, singly=singly: singly)
        mapper = tf.function(label_mapper(segmentor, CROP))
        assert ('While' in str(mapper.get_concrete_function(images).graph.as_graph_def())) == singly
        maps.append(mapper(images).numpy())
    assert len(np.unique(maps[0])) > 3
    assert np.mean(maps[0] != maps[1]) < 1e-3  # Ties, in a random network.
