"""Options: frozen dataclasses, of whose fields `absl_flags` makes flags (name, type, default, help)."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from deeplab_load.catalog import UNTOLD, Architecture
from deeplab_load.data.specs import NAMES, ResizeRange
from deeplab_load.errors import UserError
from deeplab_load.lookahead.state import Limits
from deeplab_load.serving.formats import require_formats
from deeplab_load.spellings import demand, option
from deeplab_load.training.devices import Devices
from deeplab_load.training.recipe import Recipe

C = TypeVar('C')

# What a run or a checkpoint tells about its network; the options of `catalog.Architecture`, each None unless given.
NETWORK = tuple(field for field in dataclasses.fields(Architecture) if 'help' in field.metadata)


def network_options(names: Collection[str], remark: str = '') -> Callable[[type[C]], type[C]]:
    """Adds these options of a network, with a remark in their help, to a class that becomes a dataclass."""

    def added(cls: type[C]) -> type[C]:
        for field in NETWORK:
            if field.name in names:
                cls.__annotations__[field.name] = field.type | None  # type: ignore[operator]
                setattr(cls, field.name, option(None, field.metadata['help'] + remark))
        return cls

    return added


@dataclass(frozen=True)
class ResizeOptions:
    """The sides to which images are brought."""

    min_resize_value: int | None = option(
        None, 'Bring the shorter side of every image to so many pixels; by default as the run did, or as it is.'
    )
    max_resize_value: int | None = option(None, 'Bound on the longer side of resized images; it wins.')
    resize_factor: int | None = option(None, 'Sides of resized images are multiples of it plus one.')

    def __post_init__(self) -> None:
        """Raises UserError for values that name no sides."""
        for name in RESIZE:
            value = getattr(self, name)
            demand(value is None or value > 0, self, name, 'above 0')
            demand(value is None or self.min_resize_value is not None, self, name, 'given with --min_resize_value')

    @property
    def resize(self) -> ResizeRange | None:
        """The sides to which images are brought; None leaves them as they are."""
        if self.min_resize_value is None:
            return None
        return ResizeRange(self.min_resize_value, self.max_resize_value, self.resize_factor)


RESIZE = tuple(field.name for field in dataclasses.fields(ResizeOptions))


@dataclass(frozen=True)
class DataOptions(ResizeOptions):
    """Which data, and where it is."""

    dataset: str = option('', f'Data set: {", ".join(NAMES)} (your own).')
    data_dir: str = option('data', 'Folder of the prepared data sets.')
    vocdevkit: str | None = option(None, 'PASCAL VOC: the VOCdevkit folder, or its tar file.')
    manual_dir: str | None = option(
        None, 'Folder or archives of the data set as its owners publish it, or TFRecords of the original; or your own.'
    )
    download: bool = option(False, 'Download the data set, unless prepared, if its owners allow it without a login.')
    eval_crop_size: tuple[int, ...] = option(
        (), 'Height and width of the window in evaluation; the data set has its default.'
    )
    eval_batch_size: int = option(4, 'Images in a batch of evaluation.')

    def __post_init__(self) -> None:
        """Raises UserError for values with which no command can run."""
        ResizeOptions.__post_init__(self)
        demand(self.dataset in ('', *NAMES), self, 'dataset', f'one of {", ".join(NAMES)}')
        demand(self.eval_batch_size > 0, self, 'eval_batch_size', 'above 0')
        _demand_crop(self, 'eval_crop_size')
        if self.vocdevkit and (self.dataset not in ('', 'pascal_voc') or self.manual_dir):
            raise UserError('--vocdevkit is for --dataset=pascal_voc, in place of --manual_dir; leave one of them out.')

    def require_dataset(self) -> None:
        """Raises UserError if no data set is named."""
        if not self.dataset:
            raise UserError(f'--dataset is missing: give one of {", ".join(NAMES)}.')

    @property
    def source(self) -> str | None:
        """The folder or archive that the data set is prepared from."""
        return self.vocdevkit or self.manual_dir


@dataclass(frozen=True)
@network_options(UNTOLD, ' By default as in the run that the checkpoint is of, else as published.')
class ModelOptions:
    """Which trained model, and how label maps are made with it."""

    checkpoint: str | None = option(
        None,
        'Run directory (its best model), TF1 checkpoint (prefix or folder), frozen graph (*.pb), .keras file, '
        'SavedModel folder, or name of a downloaded checkpoint.',
    )
    checkpoints_dir: str = option('checkpoints', 'Folder of the downloaded checkpoints.')
    eval_scales: tuple[float, ...] = option((1.0,), 'Scales of the image whose probabilities are averaged.')
    eval_flip: bool = option(False, 'Average over mirrored images too.')

    def __post_init__(self) -> None:
        """Raises UserError for values with which there are no label maps."""
        demand(len(self.eval_scales) > 0, self, 'eval_scales', 'one or more scales, such as 0.5,1,1.5')
        demand(all(0 < scale < math.inf for scale in self.eval_scales), self, 'eval_scales', 'above 0')

    @property
    def network(self) -> dict[str, Any]:
        """The options of the network that were given."""
        return {name: value for name in UNTOLD if (value := getattr(self, name)) is not None}

    @property
    def model(self) -> str:
        """The checkpoint; raises UserError if none is named."""
        if not self.checkpoint:
            raise UserError('--checkpoint is missing: give a run directory, or the prefix of a TF1 checkpoint.')
        return self.checkpoint


# What a row of the zoo decides, or its table has no place for.
NOT_WITH_ZOO = (
    *UNTOLD,
    *('checkpoint', 'split', 'eval_scales', 'eval_flip', 'eval_crop_size'),
    *('min_resize_value', 'boundary_width', 'worst', 'json', 'output_dir', 'submission_dir'),
)


@dataclass(frozen=True)
class EvaluateConfig(ModelOptions, DataOptions):
    """Options of `deeplab_load.evaluate`."""

    zoo: str | None = option(
        None, 'Name of a published checkpoint, or all: measure it under its published setting, and compare.'
    )
    split: str | None = option(None, 'Split to evaluate on; the data set has its default.')
    boundary_width: float = option(
        0.0075, 'Width of boundary IoU and F: pixels, or below 1 a share of the diagonal; 0 leaves both out.'
    )
    worst: int = option(10, 'Number of worst images to list.')
    json: str | None = option(None, 'File for the metrics as JSON, fractions in [0, 1].')
    output_dir: str | None = option(None, 'Folder for the CSV files, confusion matrices and pictures of worst images.')
    submission_dir: str | None = option(None, 'Folder for what the test server of the data set takes.')

    def __post_init__(self) -> None:
        """Raises UserError for values with which nothing can be evaluated."""
        DataOptions.__post_init__(self)
        ModelOptions.__post_init__(self)
        demand(0 <= self.boundary_width < math.inf, self, 'boundary_width', 'at least 0')
        demand(self.worst >= 0, self, 'worst', 'at least 0')
        given = [name for name in NOT_WITH_ZOO if self.zoo and getattr(self, name) != getattr(EvaluateConfig, name)]
        if given:
            raise UserError(f'--zoo prints a table of rows with their own models and settings: leave out --{given[0]}.')
        if self.zoo == 'all' and self.manual_dir and not self.dataset:
            raise UserError('--manual_dir with --zoo=all needs --dataset: give the data set that it holds.')
        if self.submission_dir and self.min_resize_value:
            raise UserError(
                "--submission_dir takes label maps of the images' own size: leave out --min_resize_value, or give the "
                'SavedModel of a run that has it.'
            )


@dataclass(frozen=True)
class PredictConfig(ModelOptions, ResizeOptions):
    """Options of `deeplab_load.predict`."""

    side_by_side: tuple[str, ...] = option((), 'Further models, as --checkpoint: their overlays are put beside its.')
    output_dir: str = option('', 'Folder for the pictures.')
    dataset: str | None = option(
        None, "Data set whose classes and colours are meant; by default the run's, else the one with as many classes."
    )
    eval_crop_size: tuple[int, ...] = option(
        (), "Height and width of the window, into which larger images are resized; the data set's by default."
    )

    def __post_init__(self) -> None:
        """Raises UserError for values with which nothing can be predicted."""
        ModelOptions.__post_init__(self)
        ResizeOptions.__post_init__(self)
        if not self.output_dir:
            raise UserError('--output_dir is missing: give a folder for the pictures.')
        _demand_crop(self, 'eval_crop_size')


@dataclass(frozen=True)
@network_options([field.name for field in NETWORK])
class Config(Recipe, Devices, DataOptions):
    """Options of the main job; `config.json` holds them under these names."""

    run_dir: str | None = option(None, 'Folder of the run; runs/<dataset> by default.')
    seed: int = option(0, 'Seed of everything random.')
    save_every: int = option(100, 'Steps of stage 1 and of training D after which the run is stored.')
    repair: bool = option(False, 'Make damaged shards of the label-map sets again before the run goes on.')
    fork: str | None = option(None, 'New folder: copy the run there and go on in the copy, with the options given.')
    deterministic: bool | None = option(
        None, 'Use deterministic operations only; by default on CPUs, not on GPUs, where it is slower.'
    )
    algorithm: str = option(
        'load', 'load, luc (alternating steps of D and g), or pixelwise: stage 1 only.', ('load', 'luc', 'pixelwise')
    )
    # The segmentor.
    segmentor: str | None = option(
        None, 'Function that builds another segmentor than DeepLab: package.module:function (models/foreign.py).'
    )
    checkpoint: str | None = option(
        None, 'TF1 checkpoint to start from (prefix or folder), or frozen graph (*.pb); it says what the network is.'
    )
    model_variant: str | None = option(
        None,
        "The original's name of the backbone, mobilenet_v2 without a checkpoint; given, the flags say all else too.",
    )
    fresh_head: str | None = option(
        None, 'New values for the last layer (logits, or no value), or all after the backbone (last_layers).',
        ('logits', 'last_layers'), alone=True,
    )  # fmt: skip
    # Data.
    train_split: str | None = option(None, 'Split to train on; the data set has its default.')
    train_crop_size: tuple[int, ...] = option((), 'Height and width of the window in training.')
    holdout_fraction: float = option(0.3, 'Share of the validation split that every decision looks at.')
    # LoAd.
    beta_l: float = option(0.05, 'β_l: fall of the mIoU below the start at which a cycle has diverged.')
    beta_u: float = option(0.001, 'β_u: rise of the mIoU above the start that a peak needs.')
    patience: int = option(50, 'Γ: propagations after which a cycle ends.')
    peak_patience: int = option(10, 'Ω: propagations above β_u after which the start is raised.')
    max_cycles: int = option(50, 'Ψ: cycles without a new peak after which the run ends.')
    total_cycles: int = option(0, 'Bound on the cycles of the whole run; 0: none.')
    total_propagations: int = option(0, 'Bound on the propagations of the whole run; 0: none.')
    buffer_size: int = option(3, 'B_max: sets of label maps in the buffer.')
    buffer_policy: str = option('flush', 'What a new peak does to the sets of earlier peaks.', ('flush', 'retain'))
    retain: int = option(2, 'With --buffer_policy=retain: the number of newest peaks whose sets stay.')
    fakes: str = option(
        'all', 'Which training images a set has maps of: all, or those that the run had trained on.', ('all', 'seen')
    )
    steps_per_propagation: int = option(1, 'Optimiser steps between two evaluations.')
    optimizer_slots: str = option('fresh', "g's momentum at the start of a cycle.", ('fresh', 'kept'))
    adversarial_weight: float = option(1.0, 'λ: weight of the adversarial loss.')
    adversarial_learning_rate: float = option(1e-6, 'Learning rate of the adversarial stage.')
    adversarial_momentum: float = option(0.95, 'Momentum of the adversarial stage.')
    adversarial_batch_size: int = option(5, 'Images in a batch of the adversarial stage.')
    generator_map: str = option(
        'straight_through', "How g's map enters D.", ('softmax', 'straight_through')
    )  # fmt: skip
    # The discriminator.
    discriminator: str = option('mobilenet', "D's network.", ('mobilenet', 'vgg16', 'cnn'))
    discriminator_input: str = option(
        'image_split', 'What D sees: the image split by class, or the label map alone.', ('image_split', 'label_map')
    )
    discriminator_checkpoint: str | None = option(
        None, "TF1 checkpoint of slim's MobileNet-v1 on ImageNet that D starts from (prefix or folder)."
    )
    discriminator_size: int = option(224, "Side of D's input.")
    discriminator_alpha: float = option(1.0, "α: factor on D's channels.")
    discriminator_dropout: float = option(0.01, "Dropout before D's last layer.")
    discriminator_learning_rate: float = option(0.01, 'Learning rate of D (Adagrad).')
    discriminator_slots: str = option('fresh', "Adagrad's slots when D is trained again.", ('fresh', 'kept'))
    discriminator_batch_size: int = option(16, 'Maps in a batch of D.')
    discriminator_batches: str = option('paired', "Composition of D's batches.", ('paired', 'shuffled'))
    discriminator_patience: int = option(5, 'Epochs without a lower hold-out loss after which training of D stops.')
    discriminator_epochs: int = option(20, 'Bound on the epochs of one training of D.')
    # Export.
    export: tuple[str, ...] = option(
        ('saved_model',), 'Formats of the export: saved_model, and litert and onnx if they agree with it.'
    )
    export_tiles: bool = option(False, 'Cut images larger than the crop into tiles, in place of resizing them.')
    export_portable: bool = option(False, 'Export for every build of TensorFlow, slower: also those without oneDNN.')
    export_batched: bool | None = option(
        None, 'Export to compute a whole batch at once, not image after image; by default what is faster here.'
    )

    def __post_init__(self) -> None:
        """Raises UserError for values with which the job cannot run."""
        self.require_dataset()
        DataOptions.__post_init__(self)
        Recipe.__post_init__(self)
        Devices.__post_init__(self)
        positive = (
            'steps_per_propagation', 'adversarial_learning_rate', 'adversarial_batch_size', 'save_every',
            'discriminator_learning_rate', 'discriminator_batch_size', 'discriminator_patience', 'discriminator_epochs',
        )  # fmt: skip
        for name in positive:
            demand(getattr(self, name) > 0, self, name, 'above 0')
        for name in ('adversarial_momentum', 'discriminator_dropout'):
            demand(0 <= getattr(self, name) < 1, self, name, 'at least 0 and below 1')
        demand(self.adversarial_weight >= 0, self, 'adversarial_weight', 'at least 0')
        demand(0 < self.holdout_fraction <= 1, self, 'holdout_fraction', 'above 0 and at most 1')
        demand(self.discriminator_size >= 32, self, 'discriminator_size', 'at least 32')
        demand(self.discriminator_alpha >= 0.05, self, 'discriminator_alpha', 'at least 0.05')
        if self.discriminator_checkpoint and (self.discriminator, self.discriminator_input) != (
            'mobilenet',
            'image_split',
        ):
            raise UserError(
                '--discriminator_checkpoint is for --discriminator=mobilenet and --discriminator_input=image_split; '
                'leave it out.'
            )
        if self.discriminator == 'vgg16':
            demand(self.discriminator_alpha == 1, self, 'discriminator_alpha', '1 with --discriminator=vgg16')
        demand(0 <= self.seed < 2**31, self, 'seed', 'at least 0 and below 2147483648')
        if self.discriminator_batches == 'paired':
            demand(self.discriminator_batch_size % 2 == 0, self, 'discriminator_batch_size', 'even, for pairs')
        _demand_crop(self, 'train_crop_size')
        if self.segmentor:
            self._require_no_deeplab()
        if self.algorithm == 'luc':
            demand(self.total_propagations > 0, self, 'total_propagations', 'above 0 with --algorithm=luc')
        require_formats(self.export)
        if self.export_tiles and self.min_resize_value:
            raise UserError('--export_tiles is for images at their own scale: leave it out with --min_resize_value.')
        self.limits()

    def _require_no_deeplab(self) -> None:
        """Raises UserError for options that presuppose DeepLab's network or the names of its variables."""
        presupposing = (
            'fresh_head', 'recipe', 'batch_norm_decay', 'weight_decay', 'last_layer_gradient_multiplier',
            'last_layers_contain_logits_only', 'image_pyramid', 'mixed_precision',
        )  # fmt: skip
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        given = [*self.network(), *(name for name in presupposing if getattr(self, name) != defaults[name])]
        if given:
            raise UserError(f'--{given[0]} is of DeepLab, and not for --segmentor={self.segmentor}; leave it out.')

    def network(self) -> dict[str, Any]:
        """The options of the network that were given."""
        names = ('model_variant', *(field.name for field in NETWORK))
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def limits(self) -> Limits:
        """The hyperparameters of Algorithm 3."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(Limits)}
        return Limits(**{**values, 'retain': self.retain if self.buffer_policy == 'retain' else 1})


def _demand_crop(config: Any, name: str) -> None:
    sides = getattr(config, name)
    demand(len(sides) in (0, 2), config, name, 'two numbers, such as 513,513')
    demand(all(side > 0 for side in sides), config, name, 'above 0')


@dataclass(frozen=True)
class ReportConfig:
    """Options of `deeplab_load.report`."""

    output_dir: str | None = option(
        None, 'Folder of the report; report/ in the run directory by default, or beside the run directories.'
    )
    paper: bool = option(False, "Put the article's published figures beside ours.")


def to_json(config: Any) -> dict[str, Any]:
    """The options under their flags' names."""
    return dataclasses.asdict(config)


def filled(config: C, values: Mapping[str, Any], names: Sequence[str]) -> C:
    """The options, those of `names` that were left at their defaults taken from `values` where they are there."""
    defaults = {field.name: field.default for field in dataclasses.fields(config)}  # type: ignore[arg-type]
    left = [name for name in names if name in values and getattr(config, name) == defaults[name]]
    taken = {name: tuple(values[name]) if isinstance(values[name], list) else values[name] for name in left}
    return dataclasses.replace(config, **taken)  # type: ignore[type-var]


# Where things are and how long a run may be: the results up to any point do not depend on these options, so a stopped
# run may go on with others.
UNBOUND = (
    'run_dir', 'data_dir', 'vocdevkit', 'manual_dir', 'download', 'total_cycles', 'max_cycles', 'save_every', 'repair',
    'fork', 'export', 'export_tiles', 'export_portable', 'export_batched', 'strategy', 'replicas', 'data_service',
)  # fmt: skip

# What not even a fork may change, since what the run has made would not fit, or would not be what the options say:
# always; once the data are known; once stage 1 is over; once g0 is evaluated; once there is a snapshot of D; once there
# are maps of what the run had seen.
FIXED = (
    'dataset', 'segmentor', 'checkpoint', 'fresh_head', 'model_variant', *(field.name for field in NETWORK),
)  # fmt: skip
FIXED_WITH_DATA = ('holdout_fraction', 'train_split', *RESIZE)
FIXED_WITH_G0 = tuple(field.name for field in dataclasses.fields(Recipe) if field.name != 'mixed_precision')
FIXED_WITH_BASELINE = ('eval_crop_size',)
FIXED_WITH_D = (
    'discriminator', 'discriminator_input', 'discriminator_alpha', 'discriminator_dropout', 'discriminator_slots',
)  # fmt: skip
FIXED_WITH_SEEN = ('fakes', 'adversarial_batch_size', 'steps_per_propagation', 'seed')


# Options that no result depends on, not even by the length of the run.
NEUTRAL = frozenset(UNBOUND) - {field.name for field in dataclasses.fields(Limits)}


def arm_options() -> frozenset[str]:
    """The options of the adversarial stage: runs that differ in them alone start from the same segmentor."""
    names = {field.name for field in dataclasses.fields(Config)}
    prefixed = {name for name in names if name.startswith(('adversarial_', 'buffer_', 'discriminator'))}
    limits = {field.name for field in dataclasses.fields(Limits)}
    return frozenset(
        {'algorithm', 'fakes', 'generator_map', 'optimizer_slots', 'steps_per_propagation'} | prefixed | limits
    )


def digest(config: Any) -> str:
    """A digest of the options that change the results."""
    bound = {k: v for k, v in to_json(config).items() if k not in UNBOUND}
    return hashlib.sha256(json.dumps(bound, sort_keys=True).encode()).hexdigest()[:16]
