"""What the zoo's commands do with a checkpoint: tell what it is, read all of it, write it as .keras or as TF1."""

import math
import os
import pathlib
import zipfile

import keras
import numpy as np

from deeplab_load.catalog import MODEL_VARIANTS, Architecture
from deeplab_load.errors import UserError
from deeplab_load.files import sync
from deeplab_load.models.deeplab import build_segmentor
from deeplab_load.restore.checkpoint import read_checkpoint
from deeplab_load.restore.inspection import OPTIMIZER_SLOT, inspect, inspect_shapes
from deeplab_load.restore.keras_file import require_harmless
from deeplab_load.restore.names import tf1_shapes
from deeplab_load.restore.restoring import GLOBAL_STEP, SKIPPED, Restoration, restore, save

KERAS = '.keras'


def described(path: str | pathlib.Path) -> str:
    """Line by line what a checkpoint or a frozen graph is, told from its names and shapes alone.

    Raises:
        UserError: as `inspect`.
    """
    found, checkpoint = inspect(path), read_checkpoint(path)
    slots = {name for name in checkpoint.shapes if OPTIMIZER_SLOT.fullmatch(name)}
    beside = [name for name in checkpoint.shapes if any(rule.fullmatch(name) for rule in SKIPPED.values())]
    weights = [shape for name, shape in checkpoint.shapes.items() if name not in beside]
    facts = {
        'checkpoint': checkpoint.prefix,
        'network': found.description,
        'model_variant': f'{found.model_variant} ({MODEL_VARIANTS[found.model_variant]})',
        'depth_multiplier': found.depth_multiplier,
        'num_classes': found.num_classes or 'none',
        'head': found.head,
        'decoder_output_stride': found.decoder_output_stride or 'none',
        'optimizer slots': f'{", ".join(found.optimizer_slots)} ({len(slots)})' if slots else 'none',
        'global step': 'stored' if found.global_step else 'none',
        'variables': len(weights),
        'parameters': f'{sum(math.prod(shape) for shape in weights):,}',
    }
    return '\n'.join(f'{fact:21s}  {value}' for fact, value in facts.items())


def verified(path: str | pathlib.Path) -> str:
    """Reads every value of a checkpoint, and restores a model of its kind; returns both results in words.

    Raises:
        UserError: as `read_checkpoint` and `restore`.
    """
    checkpoint = read_checkpoint(path)
    read = sum(checkpoint.value(name).nbytes for name in checkpoint.shapes)
    found = inspect(path)
    lines = [str(checkpoint.prefix), found.description, f'read      {len(checkpoint.shapes):4d} values, {read:,} bytes']
    # A backbone alone is restored under a head of the fewest classes.
    network = found.asked({'num_classes': 2} if found.num_classes is None else {})
    return '\n'.join([*lines, restore(build_segmentor(network), path).table()])


def restored_model(
    path: str | pathlib.Path, architecture: Architecture | None = None
) -> tuple[keras.Model, Restoration]:
    """A model of the checkpoint's kind for images of every size, with its values, and what became of each.

    Raises:
        UserError: as `inspect` and `restore`.
    """
    model = build_segmentor(architecture or inspect(path).architecture())
    return model, restore(model, path)


def to_keras(
    path: str | pathlib.Path, out: str | pathlib.Path, architecture: Architecture | None = None
) -> Restoration:
    """Writes a checkpoint or a frozen graph as a .keras file, which appears whole or not at all.

    Its network is the `architecture`, or as the published ones of its kind.

    Raises:
        UserError: the file's name does not end in .keras; the rest as `inspect` and `restore`.
    """
    out = pathlib.Path(out)
    if out.suffix != KERAS:
        raise UserError(f'{out} must end in {KERAS}: give OUT{KERAS}')
    model, restoration = restored_model(path, architecture)
    part = out.with_name(f'.part-{out.name}')
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        model.save(part)
        sync(part)
        os.replace(part, out)
    except OSError as error:
        raise UserError(f'{out} cannot be written: {error.strerror or error}; give another place') from error
    finally:
        part.unlink(missing_ok=True)
    return restoration


def to_tf1(path: str | pathlib.Path, out: str | pathlib.Path) -> pathlib.Path:
    """Writes a .keras file, a TF1 checkpoint, a run's snapshot or a frozen graph as a checkpoint for the original.

    Args:
        path: what to write. Optimizer slots in it are left out, its global step is kept.
        out: the prefix, such as folder/model.ckpt; in a folder that is there, model.ckpt.

    Returns:
        The prefix.

    Raises:
        UserError: there is no model at the path, or nothing can be written to `out`.
    """
    prefix = pathlib.Path(out)
    prefix = prefix / 'model.ckpt' if prefix.is_dir() else prefix
    step = np.asarray(0)
    if pathlib.Path(path).suffix == KERAS:
        model = load_keras(path)
    else:
        model, checkpoint = restored_model(path)[0], read_checkpoint(path)
        step = checkpoint.value(GLOBAL_STEP) if GLOBAL_STEP in checkpoint.shapes else step
    try:
        save(model, prefix, {GLOBAL_STEP: step})
    except OSError as error:
        raise UserError(f'{prefix} cannot be written: {error.strerror or error}; give another place') from error
    return prefix


def load_keras(path: str | pathlib.Path) -> keras.Model:
    """The DeepLab model in a .keras file.

    Raises:
        UserError: there is no such file, it is damaged, or its model is made of anything else.
    """
    if not pathlib.Path(path).is_file():
        raise UserError(f'there is no file {path}: give a {KERAS} file that zoo convert wrote')
    require_harmless(path)
    try:
        model = keras.saving.load_model(path, compile=False)
        inspect_shapes(tf1_shapes(model))
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f'{path} is damaged, or no {KERAS} file of a model of this package') from error
    except (KeyError, TypeError, UserError) as error:
        raise UserError(f'the model in {path} is none of this package: give a {KERAS} file of a segmentor') from error
    return model
