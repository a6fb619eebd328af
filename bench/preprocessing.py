"""Crop before work against the naive order: `python -m bench.preprocessing`.

The naive order is that of TF1 DeepLab's input_preprocess.py: make float32, scale, pad, crop, mirror, on whole images.
The package cuts the window first where the pixels are the same. Both start from decoded pixels and take the same
windows. They take turns (A B A B); shown is the median of milliseconds for an image and its label map.
"""

import statistics
import time

import numpy as np
import tensorflow as tf

from deeplab_load.data.preprocessing import View, pad_image, pad_label_map, random_view, view_image, view_label_map
from deeplab_load.data.specs import ScaleRange
from deeplab_load.models.slim import resize_bilinear, resize_nearest

TURNS = 21
SCALES = ScaleRange(0.5, 2.0, 0.25)
CASES = {
    'Cityscapes 1024x2048, crop 769, scales 0.5 to 2': ((1024, 2048), (769, 769), SCALES),
    'Cityscapes 1024x2048, crop 513, scales 0.5 to 2': ((1024, 2048), (513, 513), SCALES),
    'Cityscapes 1024x2048, crop 513': ((1024, 2048), (513, 513), None),
    'VOC 375x500, crop 513, scales 0.5 to 2': ((375, 500), (513, 513), SCALES),
    'VOC 375x500, crop 321': ((375, 500), (321, 321), None),
}


def naive_order(image: tf.Tensor, label_map: tf.Tensor, view: View, crop_size: tuple[int, int]):
    """What `view_image` and `view_label_map` give, with the work done on the whole image."""
    image = tf.cast(image, tf.float32)
    if view.size is not None:
        size = tf.unstack(view.size)
        image = resize_bilinear(image[tf.newaxis], size)[0]
        label_map = resize_nearest(label_map[tf.newaxis, ..., tf.newaxis], size)[0, ..., 0]
    image, label_map = pad_image(image, crop_size), pad_label_map(label_map, crop_size)
    (down, right), (height, width) = tf.unstack(view.offset), crop_size
    image, label_map = (x[down : down + height, right : right + width] for x in (image, label_map))
    return tf.cond(view.mirrored, lambda: (image[:, ::-1], label_map[:, ::-1]), lambda: (image, label_map))


def crop_first(image: tf.Tensor, label_map: tf.Tensor, view: View, crop_size: tuple[int, int]):
    """The package's order."""
    return view_image(image, view, crop_size), view_label_map(label_map, view, crop_size)


def measure(size: tuple[int, int], crop_size: tuple[int, int], scales: ScaleRange | None) -> tuple[float, float]:
    """Median milliseconds of the naive order and of the package's, over the same views."""
    noise = np.random.default_rng(0)
    image = tf.constant(noise.integers(0, 256, (*size, 3), np.uint8))
    label_map = tf.constant(noise.integers(0, 21, size, np.uint8))

    def compiled(order):
        def run(seed: tf.Tensor):
            return order(image, label_map, random_view(size, crop_size, seed, flip=True, scales=scales), crop_size)

        return tf.function(run, input_signature=[tf.TensorSpec([2], tf.int32)])

    orders = compiled(naive_order), compiled(crop_first)
    times: tuple[list, list] = ([], [])
    for turn in range(-2, TURNS):
        seeds = [tf.constant([7 * turn + n, 0]) for n in range(7)]
        for order, spent in zip(orders, times, strict=True):
            start = time.perf_counter()
            for seed in seeds:
                order(seed)
            if turn >= 0:
                spent.append((time.perf_counter() - start) / len(seeds))
    naive, ours = (1e3 * statistics.median(spent) for spent in times)
    return naive, ours


def main() -> None:
    print(f'{"":50s}  naive ms  crop first ms  ratio')
    for title, case in CASES.items():
        naive, ours = measure(*case)
        print(f'{title:50s}  {naive:8.2f}  {ours:13.2f}  {naive / ours:5.2f}', flush=True)


if __name__ == '__main__':
    main()
