"""The built-in drawn scenes."""

import hashlib

import numpy as np
import pytest

from deeplab_load.data.preparation import prepare
from deeplab_load.data.shapes import builder, scenes
from deeplab_load.data.shapes.scenes import draw_scene
from deeplab_load.data.specs import SHAPES
from deeplab_load.errors import UserError


def test_scenes_are_the_same_on_every_machine():
    drawn = b''.join(draw_scene(0, n).image.tobytes() + draw_scene(0, n).label_map.tobytes() for n in range(3))
    assert hashlib.sha256(drawn).hexdigest()[:16] == '7288e27add0096ad'


def test_scenes_differ():
    series = [draw_scene(seed, number).label_map.tobytes() for seed, number in ((0, 0), (0, 1), (1, 0))]
    assert len(set(series)) == 3


def test_every_class_and_void_occur_and_fit_the_crop():
    drawn = [draw_scene(0, number) for number in range(20)]
    assert {int(label) for scene in drawn for label in np.unique(scene.label_map)} == {*range(7), 255}
    assert all(scene.image.shape == (*scene.label_map.shape, 3) for scene in drawn)
    largest = np.max([scene.label_map.shape for scene in drawn], axis=0)
    assert (largest <= SHAPES.eval_crop_size).all()


def test_void_borders_part_different_labels():
    for number in range(5):
        labels = draw_scene(0, number).label_map
        for first, second in ((labels[1:], labels[:-1]), (labels[:, 1:], labels[:, :-1])):
            touching = (first != second) & (first != 255) & (second != 255)
            assert not touching.any()


def test_every_class_shares_its_outlines_with_another():
    outlines = [{part[0] for part in parts} for parts in scenes.OBJECT_PARTS.values()]
    for number, own in enumerate(outlines):
        others = set().union(*outlines[:number], *outlines[number + 1 :])
        assert own <= others


def test_prepared_scenes_are_the_drawn_ones_and_a_new_recipe_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(builder, 'COUNTS', {'train': 4, 'val': 2})
    prepared = prepare('shapes', data_dir=tmp_path, progress=False)
    assert prepared.examples('val').ids == ('scene_00004', 'scene_00005')
    assert prepared.examples('val').size(1) == draw_scene(0, 5).label_map.shape
    monkeypatch.setattr(scenes, 'NOISE', 1)
    with pytest.raises(UserError, match='this version of deeplab_load has changed since'):
        prepare('shapes', data_dir=tmp_path)
