"""One frozen row per data set: classes, colours, splits and crops. Imports no TensorFlow."""

from dataclasses import dataclass

from deeplab_load.errors import UserError

Colour = tuple[int, int, int]
Size = tuple[int, int]


@dataclass(frozen=True)
class DatasetSpec:
    """What is fixed about a data set before any of its files is read.

    `splits` are those it can offer; which of them it does offer depends on the files at hand. Hold-out and stage 1
    take `validation_split`, reported results `evaluation_split`. Crops are (height, width) in pixels.
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
    image_format: str
    source: str = ''
    source_flag: str = '--manual_dir'
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
    splits=('train', 'train_aug', 'val', 'trainval'),
    train_split='train',
    validation_split='val',
    evaluation_split='val',
    train_crop_size=(513, 513),
    eval_crop_size=(513, 513),
    image_format='jpeg',
    source='the VOCdevkit folder (with VOC2012/ in it) or its tar',
    source_flag='--vocdevkit',
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
    splits=('train', 'val'),
    train_split='train',
    validation_split='val',
    evaluation_split='val',
    train_crop_size=(513, 513),
    eval_crop_size=(1025, 2049),
    image_format='png',
    source='the folder that holds leftImg8bit/ and gtFine/',
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
    image_format='jpeg',
    source='the iccv09Data folder or its tar.gz',
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
    image_format='png',
)

SPECS: dict[str, DatasetSpec] = {spec.name: spec for spec in (PASCAL_VOC, CITYSCAPES, STANFORD_BACKGROUND, SHAPES)}


def get_spec(name: str) -> DatasetSpec:
    """The data set called `name`; raises UserError with the list of names if there is none."""
    if name not in SPECS:
        raise UserError(f'There is no data set {name!r}; choose one of {", ".join(sorted(SPECS))}.')
    return SPECS[name]
