"""Images of any size through a network of one crop: resized into it, or cut into tiles of it."""

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

from deeplab_load.catalog import Colour
from deeplab_load.data.specs import ResizeRange
from deeplab_load.models.inference import brought_size, fitted_size, pad_to_crop
from deeplab_load.models.slim import Size, resize_bilinear, spatial_size

# From float32 crops [batch, height, width, 3] in 0..255 to what is told about each pixel, [batch, height, width, ...].
PerPixel = Callable[[tf.Tensor], tf.Tensor]
Resize = Callable[[tf.Tensor, Size], tf.Tensor]

# Neighbouring tiles share at least this part of a crop's side.
OVERLAP = 1 / 4


@dataclass(frozen=True)
class Window:
    """The crop that a network sees, (height, width), and what an image needs to enter it.

    With `resize` every image is brought to these sides first, but by `tiled`.
    """

    crop_size: tuple[int, int]
    output_stride: int
    colour: Colour
    resize: ResizeRange | None = None

    def enter(self, images: tf.Tensor) -> tuple[tf.Tensor, Size]:
        """Images [batch, height, width, 3] as float32 crops, and the (height, width) that they take up in them."""
        brought = brought_size(spatial_size(images), self.resize)
        inside = fitted_size(brought, self.crop_size, self.output_stride)
        resized = resize_bilinear(tf.cast(images, tf.float32), inside)
        return pad_to_crop(resized, self.crop_size, self.colour), inside


def resized(images: tf.Tensor, window: Window, per_pixel: PerPixel, resize: Resize) -> tf.Tensor:
    """What `per_pixel` tells about images, which enter the crop as `Window` says; the answer is resized back.

    Args:
        images: [batch, height, width, 3], 0..255.
        window: of the network.
        per_pixel: the network.
        resize: takes an answer back to the images' size.

    Returns:
        [batch, height, width, ...].
    """
    crops, (height, width) = window.enter(images)
    return resize(per_pixel(crops)[:, :height, :width], spatial_size(images))


def tiled(images: tf.Tensor, window: Window, per_pixel: PerPixel, dtype: tf.DType) -> tf.Tensor:
    """What `per_pixel` tells, as `dtype`, about images at their own scale; args and returns otherwise as `resized`.

    Tiles are spread evenly and overlap by at least `OVERLAP`; each pixel is told of by the tile in which it lies
    deepest. They are computed one after the other, so that memory does not grow with the image.
    """
    size, (height, width) = spatial_size(images), window.crop_size
    rows, columns = (_starts(side, crop) for side, crop in zip(size, window.crop_size, strict=True))
    corners = tf.reshape(tf.stack(tf.meshgrid(rows, columns, indexing='ij'), axis=2), [-1, 2])

    def tile(corner: tf.Tensor) -> tf.Tensor:
        part = tf.cast(images[:, corner[0] : corner[0] + height, corner[1] : corner[1] + width], tf.float32)
        return per_pixel(pad_to_crop(part, window.crop_size, window.colour))

    tiles = tf.map_fn(tile, corners, parallel_iterations=1, fn_output_signature=dtype)
    grid = tf.reshape(tiles, tf.concat([tf.shape(rows), tf.shape(columns), tf.shape(tiles)[1:]], axis=0))
    lined_up = tf.transpose(grid, [2, 0, 3, 1, 4, *range(5, grid.shape.rank)])
    shape = [-1, tf.size(rows) * height, tf.size(columns) * width, *tiles.shape[4:]]
    lined_up = tf.reshape(lined_up, shape)
    answer = tf.gather(lined_up, _told_by(rows, height, size[0]), axis=1)
    return tf.gather(answer, _told_by(columns, width, size[1]), axis=2)


def _starts(side: int | tf.Tensor, crop: int) -> tf.Tensor:
    """Where the tiles of one axis begin."""
    step = crop - int(crop * OVERLAP)
    excess = tf.maximum(side - crop, 0)
    count = 1 + (excess + step - 1) // step
    return tf.range(count) * excess // tf.maximum(count - 1, 1)


def _told_by(starts: tf.Tensor, crop: int, side: int | tf.Tensor) -> tf.Tensor:
    """For each pixel of one axis its place among those of all tiles, one tile after the other."""
    pixels = tf.range(side)
    middles = (starts[:-1] + crop + starts[1:]) // 2
    tile = tf.searchsorted(middles, pixels, side='right')
    return tile * crop + pixels - tf.gather(starts, tile)
