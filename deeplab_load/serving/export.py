"""SavedModels of a segmentor, for TF Serving and for plain TensorFlow."""

import os
import pathlib
import shutil

import keras
import tensorflow as tf

from deeplab_load.models.inference import label_maps


class ServedSegmentor(tf.Module):
    """A segmentor from uint8 images of any size to label maps at the images' size."""

    def __init__(self, segmentor: keras.Model, *, crop_size: tuple[int, int], output_stride: int):
        super().__init__(name='segmentor')
        self.weights = [v.value for v in segmentor.variables]

        @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, name='ImageTensor')])
        def segment(images: tf.Tensor) -> dict[str, tf.Tensor]:
            maps = label_maps(
                segmentor, images, crop_size=crop_size, output_stride=output_stride, model_variant=segmentor.name
            )
            return {'SemanticPredictions': maps}

        self.segment = segment


def export(
    segmentor: keras.Model, folder: str | os.PathLike, *, crop_size: tuple[int, int], output_stride: int
) -> pathlib.Path:
    """Exports a SavedModel under the next free version of `folder` and returns its path.

    The signature `serving_default` takes `ImageTensor`, uint8 `[batch, height, width, 3]` of any size, and returns
    `SemanticPredictions`, int32 `[batch, height, width]`. The names are those of the TF1 `export_model.py`. The
    version appears whole, by rename.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob('.part-*'):
        shutil.rmtree(leftover)
    version = 1 + max((int(p.name) for p in folder.iterdir() if p.name.isdigit()), default=0)
    part, final = folder / f'.part-{version}', folder / str(version)
    module = ServedSegmentor(segmentor, crop_size=crop_size, output_stride=output_stride)
    tf.saved_model.save(module, str(part), signatures={'serving_default': module.segment})
    os.replace(part, final)
    return final
