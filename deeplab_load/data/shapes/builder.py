"""TFDS builder of the built-in drawn scenes."""

import hashlib
import os
from pathlib import Path

import tensorflow as tf

from deeplab_load.data.builder import SegmentationBuilder
from deeplab_load.data.pairs import CheckedPair, Pair
from deeplab_load.data.shapes.scenes import draw_scene
from deeplab_load.data.sources import Source
from deeplab_load.data.specs import SHAPES

SEED = 0
COUNTS = {'train': 400, 'val': 100}


class Shapes(SegmentationBuilder):
    """Drawn scenes of six kinds of objects made of the same parts, with occlusion, noise and void borders."""

    name = SHAPES.name
    spec = SHAPES

    @classmethod
    def list_pairs(cls, root: Path) -> dict[str, list[Pair]]:
        """The scenes' ids; their numbers run on from split to split."""
        del root
        starts = {'train': 0, 'val': COUNTS['train']}
        return {
            split: [Pair(f'scene_{starts[split] + i:05d}') for i in range(count)] for split, count in COUNTS.items()
        }

    @classmethod
    def find_source(cls, manual_dir: str | os.PathLike | None) -> Source:
        """This package; the first scenes' pixels stand for the way in which all are drawn."""
        del manual_dir
        scenes = [draw_scene(SEED, number) for number in range(4)]
        drawn = b''.join(scene.image.tobytes() + scene.label_map.tobytes() for scene in scenes)
        digest = hashlib.sha256(f'{COUNTS}'.encode() + drawn).hexdigest()
        return Source('this version of deeplab_load', digest, cls.list_pairs(Path()))

    def read_pair(self, pair: Pair) -> CheckedPair:
        """Draws a scene; its image is stored as PNG."""
        scene = draw_scene(SEED, int(pair.image_id.removeprefix('scene_')))
        return CheckedPair(pair.image_id, tf.io.encode_png(scene.image).numpy(), scene.label_map)
