"""One frozen row per data set: classes, colours, splits and crops. Imports no TensorFlow."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from deeplab_load.errors import UserError

Colour = tuple[int, int, int]
Size = tuple[int, int]


class ResizeRange(NamedTuple):
    """The sides to which images are brought: the shorter to `min_size`, the longer to at most `max_size`, in pixels.

    With a `factor` both are multiples of it plus one. Source: --min_resize_value, --max_resize_value and
    --resize_factor of TF1 DeepLab.
    """

    min_size: int
    max_size: int | None = None
    factor: int | None = None


class ScaleRange(NamedTuple):
    """The factors by which training images are scaled at random: every `step` from `minimum` to `maximum`.

    With a step of 0 any factor between the two may be drawn. Source: --min_scale_factor, --max_scale_factor and
    --scale_factor_step_size of TF1 DeepLab.
    """

    minimum: float
    maximum: float
    step: float


@dataclass(frozen=True)
class Download:
    """An archive that its owners let anybody download, and its MD5 digest."""

    url: str
    md5: str

    @property
    def file(self) -> str:
        """The archive's name."""
        return self.url.rpartition('/')[2]


@dataclass(frozen=True)
class DatasetSpec:
    """What is fixed about a data set before any of its files is read.

    `splits` are those it can offer; which of them it does offer depends on the files at hand. Hold-out and stage 1
    take `validation_split`, reported results `evaluation_split`. Crops are (height, width) in pixels. Void is
    `ignore_label` once prepared, whatever stands for it in the owners' files.
    """

    name: str
    classes: tuple[str, ...]
    colours: tuple[Colour, ...]
    splits: tuple[str, ...]
    train_split: str
    validation_split: str
    evaluation_split: str
    train_crop_size: Size
    eval_crop_size: Size
    source: str = ''
    source_flag: str = '--manual_dir'
    downloads: tuple[Download, ...] = ()
    ignore_label: int = 255

    @property
    def num_classes(self) -> int:
        """Number of classes, void not counted."""
        return len(self.classes)

    @property
    def is_built_in(self) -> bool:
        """Whether the data set is drawn by this package and needs no files."""
        return not self.source


def pascal_colours(count: int) -> tuple[Colour, ...]:
    """The first `count` colours of PASCAL VOC's map: the label's bits dealt out to R, G and B, highest bit first.

    Source: create_pascal_label_colormap of TF1 DeepLab's get_dataset_colormap.py.
    """
    return tuple(_pascal_colour(label) for label in range(count))


def hex_colours(words: str) -> tuple[Colour, ...]:
    """The colours of words such as `ff8000`."""
    return tuple((int(w[:2], 16), int(w[2:4], 16), int(w[4:], 16)) for w in words.split())


def _pascal_colour(label: int) -> Colour:
    red = green = blue = 0
    for bit in range(7, -1, -1):
        red |= (label & 1) << bit
        green |= (label >> 1 & 1) << bit
        blue |= (label >> 2 & 1) << bit
        label >>= 3
    return red, green, blue


PASCAL_VOC = DatasetSpec(
    name='pascal_voc',
    classes=(
        *('background', 'aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat', 'chair', 'cow'),
        *('diningtable', 'dog', 'horse', 'motorbike', 'person', 'pottedplant', 'sheep', 'sofa', 'train', 'tvmonitor'),
    ),
    colours=pascal_colours(21),
    splits=('train', 'train_aug', 'val', 'trainval', 'test'),
    train_split='train',
    validation_split='val',
    evaluation_split='val',
    train_crop_size=(513, 513),
    eval_crop_size=(513, 513),
    source='the VOCdevkit folder (with VOC2012/ in it) or its tar',
    source_flag='--vocdevkit',
    downloads=(
        Download(
            'http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar',
            '6cd6e144f989b92b3379bac3b3de84fd',
        ),
    ),
)

CITYSCAPES = DatasetSpec(
    name='cityscapes',
    classes=(
        *('road', 'sidewalk', 'building', 'wall', 'fence', 'pole', 'traffic light', 'traffic sign', 'vegetation'),
        *('terrain', 'sky', 'person', 'rider', 'car', 'truck', 'bus', 'train', 'motorcycle', 'bicycle'),
    ),
    colours=(
        *((128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153)),
        *((250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60)),
        *((255, 0, 0), (0, 0, 142), (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32)),
    ),
    splits=('train', 'val', 'test'),
    train_split='train',
    validation_split='val',
    evaluation_split='val',
    train_crop_size=(513, 513),
    eval_crop_size=(1025, 2049),
    source='the folder that holds leftImg8bit/ and gtFine/, or their zips',
)

STANFORD_BACKGROUND = DatasetSpec(
    name='stanford_background',
    classes=('sky', 'tree', 'road', 'grass', 'water', 'building', 'mountain', 'foreground'),
    colours=(
        *((70, 130, 180), (0, 100, 0), (128, 64, 128), (124, 252, 0)),
        *((0, 0, 205), (139, 69, 19), (160, 160, 160), (220, 20, 60)),
    ),
    splits=('train', 'val', 'test'),
    train_split='train',
    validation_split='val',
    evaluation_split='test',
    train_crop_size=(321, 321),
    eval_crop_size=(321, 321),
    source='the iccv09Data folder or its tar.gz',
    downloads=(Download('http://dags.stanford.edu/data/iccv09Data.tar.gz', 'e2d0ff519a1bcb03b0de74b76e0a52b0'),),
)

ADE20K = DatasetSpec(
    name='ade20k',
    # Label 0 of the owners' files, all that has no name, is void: class 0 keeps its place but never occurs.
    classes=(
        'background',
        *(
            'wall, building, sky, floor, tree, ceiling, road, bed, windowpane, grass, cabinet, sidewalk, person, '
            'earth, door, table, mountain, plant, curtain, chair, car, water, painting, sofa, shelf, house, sea, '
            'mirror, rug, field, armchair, seat, fence, desk, rock, wardrobe, lamp, bathtub, railing, cushion, '
            'base, box, column, signboard, chest of drawers, counter, sand, sink, skyscraper, fireplace, '
            'refrigerator, grandstand, path, stairs, runway, case, pool table, pillow, screen door, stairway, '
            'river, bridge, bookcase, blind, coffee table, toilet, flower, book, hill, bench, countertop, stove, '
            'palm, kitchen island, computer, swivel chair, boat, bar, arcade machine, hovel, bus, towel, light, '
            'truck, tower, chandelier, awning, streetlight, booth, television receiver, airplane, dirt track, '
            'apparel, pole, land, bannister, escalator, ottoman, bottle, buffet, poster, stage, van, ship, '
            'fountain, conveyer belt, canopy, washer, plaything, swimming pool, stool, barrel, basket, waterfall, '
            'tent, bag, minibike, cradle, oven, ball, food, step, tank, trade name, microwave, pot, animal, '
            'bicycle, lake, dishwasher, screen, blanket, sculpture, hood, sconce, vase, traffic light, tray, '
            'ashcan, fan, pier, crt screen, plate, monitor, bulletin board, shower, radiator, glass, clock, flag '
        )
        .rstrip()
        .split(', '),
    ),
    colours=hex_colours(
        '000000 787878 b47878 06e6e6 503232 04c803 787850 8c8c8c cc05ff e6e6e6 04fa07 e005ff ebff07 96053d 787846 '
        '08ff33 ff0652 8fff8c ccff04 ff3307 cc4603 0066c8 3de6fa ff0633 0b66ff ff0747 ff09e0 0907e6 dcdcdc ff095c '
        '7009ff 08ffd6 07ffe0 ffb806 0aff47 ff290a 07ffff e0ff08 6608ff ff3d06 ffc207 ff7a08 00ff14 ff0829 ff0599 '
        '0633ff eb0cff a09614 00a3ff 8c8c8c fa0a0f 14ff00 1fff00 ff1f00 ffe000 99ff00 0000ff ff4700 00ebff 00adff '
        '1f00ff 0bc8c8 ff5200 00fff5 003dff 00ff70 00ff85 ff0000 ffa300 ff6600 c2ff00 008fff 33ff00 0052ff 00ff29 '
        '00ffad 0a00ff adff00 00ff99 ff5c00 ff00ff ff00f5 ff0066 ffad00 ff0014 ffb8b8 001fff 00ff3d 0047ff ff00cc '
        '00ffc2 00ff52 000aff 0070ff 3300ff 00c2ff 007aff 00ffa3 ff9900 00ff0a ff7000 8fff00 5200ff a3ff00 ffeb00 '
        '08b8aa 8500ff 00ff5c b800ff ff001f 00b8ff 00d6ff ff0070 5cff00 00e0ff 70e0ff 46b8a0 a300ff 9900ff 47ff00 '
        'ff00a3 ffcc00 ff008f 00ffeb 85ff00 ff00eb f500ff ff007a fff500 0abed4 d6ff00 00ccff 1400ff ffff00 0099ff '
        '0029ff 00ffcc 2900ff 29ff00 ad00ff 00f5ff 4700ff 7a00ff 00ffb8 005cff b8ff00 0085ff ffd600 19c2c2 66ff00 '
        '5c00ff '
    ),
    splits=('train', 'val'),
    train_split='train',
    validation_split='val',
    evaluation_split='val',
    train_crop_size=(513, 513),
    eval_crop_size=(513, 513),
    source='the ADEChallengeData2016 folder or its zip',
    downloads=(
        Download(
            'http://data.csail.mit.edu/places/ADEchallenge/ADEChallengeData2016.zip',
            '7328b3957e407ddae1d3cbf487f149ef',
        ),
    ),
)

SHAPES = DatasetSpec(
    name='shapes',
    classes=('background', 'house', 'truck', 'boat', 'tree', 'fir', 'snowman'),
    colours=pascal_colours(7),
    splits=('train', 'val'),
    train_split='train',
    validation_split='val',
    evaluation_split='val',
    train_crop_size=(97, 129),
    eval_crop_size=(97, 129),
)

SPECS: dict[str, DatasetSpec] = {
    spec.name: spec for spec in (PASCAL_VOC, CITYSCAPES, STANFORD_BACKGROUND, ADE20K, SHAPES)
}

# A user's own data: its row is read from its folder.
FOLDER = 'folder'
NAMES = (*SPECS, FOLDER)


def get_spec(name: str) -> DatasetSpec:
    """The row of the data set called `name`; raises UserError with the list of names if there is none."""
    if name not in SPECS:
        raise UserError(f'There is no data set {name!r}; choose one of {", ".join(sorted(NAMES))}.')
    return SPECS[name]


def spec_from_json(record: Mapping[str, Any]) -> DatasetSpec:
    """The row that `dataclasses.asdict` made the record of, also if it went through JSON."""
    return DatasetSpec(
        **{
            **record,
            'classes': tuple(record['classes']),
            'colours': tuple((red, green, blue) for red, green, blue in record['colours']),
            'splits': tuple(record['splits']),
            'train_crop_size': tuple(record['train_crop_size']),
            'eval_crop_size': tuple(record['eval_crop_size']),
            'downloads': tuple(Download(**download) for download in record['downloads']),
        }
    )
