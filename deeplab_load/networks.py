"""The networks of the main job: the segmentor and the discriminator that the options ask for."""

import keras

from deeplab_load.catalog import Architecture
from deeplab_load.config import Config
from deeplab_load.data.preparation import find_spec
from deeplab_load.data.specs import DatasetSpec
from deeplab_load.errors import UserError
from deeplab_load.models import deeplab
from deeplab_load.models import discriminator as discriminators
from deeplab_load.models.foreign import build_foreign
from deeplab_load.reporting.progress import say
from deeplab_load.restore.foreign import restore_foreign
from deeplab_load.restore.inspection import inspect
from deeplab_load.restore.mobilenet_v1 import restore_discriminator
from deeplab_load.restore.restoring import Restoration, restore
from deeplab_load.training.distribution import ONE_DEVICE, Distribution
from deeplab_load.training.durable import RunDirectory, has_begun

Size = tuple[int, int]


def dataset_spec(config: Config) -> DatasetSpec:
    """What is known of the data set before it is prepared."""
    return find_spec(config.dataset, data_dir=config.data_dir, manual_dir=config.source)


def windows(config: Config, spec: DatasetSpec) -> tuple[Size, Size]:
    """The windows, (height, width), of training and of evaluation."""
    train, evaluation = config.train_crop_size, config.eval_crop_size
    return (
        (train[0], train[1]) if train else spec.train_crop_size,
        (evaluation[0], evaluation[1]) if evaluation else spec.eval_crop_size,
    )


def build_segmentor(config: Config, run: RunDirectory) -> tuple[keras.Model, Restoration | None]:
    """Builds the segmentor that the options describe; restores it where there is a checkpoint.

    This comes before the data, whose preparation may take long, so that a wrong checkpoint is told at once.
    """
    if not (config.checkpoint or config.trains or config.segmentor):
        raise UserError('There is nothing to start from: give --checkpoint, or stage 1 by --pixelwise_epochs.')
    config.require_label_weights(dataset_spec(config).num_classes)
    if config.segmentor:
        return _build_foreign(config, run)
    segmentor = deeplab.build_segmentor(
        _architecture(config, run),
        fine_tune_batch_norm=config.fine_tune_batch_norm,
        batch_norm_decay=config.batch_norm_decay,
        seed=config.seed,
    )
    for window in windows(config, dataset_spec(config)):
        deeplab.require_window(segmentor, window)
    if not config.checkpoint or has_begun(run.read_state()):
        return segmentor, None
    return segmentor, restore(segmentor, config.checkpoint, fresh_head=config.fresh_head)


def _build_foreign(config: Config, run: RunDirectory) -> tuple[keras.Model, Restoration | None]:
    spec = dataset_spec(config)
    segmentor = build_foreign(
        config.segmentor or '', num_classes=spec.num_classes, windows=windows(config, spec), seed=config.seed
    )
    if not config.checkpoint or has_begun(run.read_state()):
        return segmentor, None
    return segmentor, restore_foreign(segmentor, config.checkpoint)


def build_discriminator(config: Config, run: RunDirectory, distribution: Distribution = ONE_DEVICE) -> keras.Model:
    """Builds D, with the weights of an ImageNet checkpoint where there is one and the run has no D yet."""
    model = discriminators.build_discriminator(
        dataset_spec(config).num_classes,
        network=config.discriminator,
        sees=config.discriminator_input,
        size=config.discriminator_size,
        alpha=config.discriminator_alpha,
        dropout=config.discriminator_dropout,
        seed=config.seed,
        synchronised=distribution.replicas > 1,
    )
    if config.discriminator_checkpoint and 'discriminator' not in run.read_state():
        restored = restore_discriminator(model, config.discriminator_checkpoint)
        say(f'Discriminator started from {config.discriminator_checkpoint}:\n{restored.table()}')
    return model


def _architecture(config: Config, run: RunDirectory) -> Architecture:
    """The network that the options ask for, of the checkpoint that the run begins with where there is one."""
    flags = {'num_classes': dataset_spec(config).num_classes, **config.network()}
    if not config.checkpoint:
        return Architecture.from_flags({'model_variant': 'mobilenet_v2', **flags})
    g0 = run.prefix('g0')
    return inspect(g0 if run.has_snapshot('g0') else config.checkpoint).asked(flags)


def network_name(config: Config, run: RunDirectory) -> str:
    """The backbone, and its depth multiplier where it is not 1; or the function of another segmentor."""
    if config.segmentor:
        return config.segmentor
    architecture = _architecture(config, run)
    depth = architecture.depth_multiplier
    return architecture.model_variant + (f' {depth:g}' if depth != 1 else '')
