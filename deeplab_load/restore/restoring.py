"""Restores a model from a TF1 checkpoint, strictly in both directions, and writes one."""

import pathlib
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import keras
import numpy as np

from deeplab_load.errors import UserError
from deeplab_load.restore.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from deeplab_load.restore.inspection import OPTIMIZER_SLOT, Inspection, Shapes, inspect_shapes
from deeplab_load.restore.names import tf1_shapes, tf1_variables

GLOBAL_STEP = 'global_step'
LAST_LAYER = re.compile(r'logits/semantic/(weights|biases)')
# The lite head's decoder ends in the logits.
LITE_LAST_LAYER = re.compile(r'decoder/(decoder_conv0|feature_projection0)/(weights|biases)')

# What a checkpoint may hold beside the model's variables, by the name of the rule.
SKIPPED = {
    'optimizer slot': OPTIMIZER_SLOT,
    'global step': re.compile(GLOBAL_STEP),
}


@dataclass(frozen=True)
class Restoration:
    """What became of every variable, by TF1 name; `skipped` pairs a variable with the rule that let it go."""

    restored: tuple[str, ...]
    fresh: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]

    def table(self) -> str:
        """A line for each outcome: how many variables were restored, are fresh, were skipped by which rule."""
        lines = [f'restored  {len(self.restored):4d} variables']
        if self.fresh:
            lines.append(f'fresh     {len(self.fresh):4d} variables ({", ".join(self.fresh)})')
        for rule in dict.fromkeys(rule for _, rule in self.skipped):
            lines.append(f'skipped   {sum(r == rule for _, r in self.skipped):4d} variables ({rule})')
        return '\n'.join(lines)


def restore(model: keras.Model, path: str | pathlib.Path, *, fresh_head: bool = False) -> Restoration:
    """Fills every variable of the model from the checkpoint; nothing is assigned unless everything fits.

    Args:
        model: of `build_segmentor`.
        path: as `read_checkpoint` takes it.
        fresh_head: keep the last layer's fresh values instead of the checkpoint's, as another class count needs.

    Returns:
        What was restored, is fresh, and was skipped by which rule.

    Raises:
        UserError: the checkpoint is missing, damaged, of another model, lacks a variable or holds one too many.
    """
    checkpoint = read_checkpoint(path)
    variables = tf1_variables(model)
    last_layer = _last_layer(variables)
    fresh = {name for name in variables if fresh_head and last_layer.fullmatch(name)}
    wanted = {name: shape for name, shape in tf1_shapes(model).items() if name not in fresh}
    skipped = _skipped(checkpoint, wanted, fresh)
    _require_same_model(checkpoint, model, fresh_head)
    _require_match(checkpoint, wanted, skipped)
    values = {name: checkpoint.value(name) for name in wanted}
    for name, value in values.items():
        variables[name].assign(value)
    return Restoration(tuple(sorted(wanted)), tuple(sorted(fresh)), tuple(sorted(skipped.items())))


def save(model: keras.Model, prefix: str | pathlib.Path, extra: Mapping[str, np.ndarray] | None = None) -> None:
    """Writes the model as a TF1 checkpoint that the original could load.

    Args:
        model: of `build_segmentor`.
        prefix: where, as in `model.ckpt-30000`.
        extra: further arrays by TF1 name, such as optimizer slots; `global_step` is int64 and 0 unless given here.
    """
    values = {name: variable.numpy() for name, variable in tf1_variables(model).items()}
    extra = {GLOBAL_STEP: np.asarray(0), **(extra or {})}
    extra[GLOBAL_STEP] = np.asarray(extra[GLOBAL_STEP], np.int64)
    write_checkpoint(prefix, {**extra, **values})


def _last_layer(names: Collection[str]) -> re.Pattern[str]:
    return LAST_LAYER if any(map(LAST_LAYER.fullmatch, names)) else LITE_LAST_LAYER


def _skipped(checkpoint: Checkpoint, wanted: Shapes, fresh: set[str]) -> dict[str, str]:
    rules = dict(SKIPPED)
    if fresh:
        rules['replaced head'] = _last_layer(fresh)
    unwanted = (name for name in checkpoint.shapes if name not in wanted)
    matches = ((name, rule) for name in unwanted for rule, pattern in rules.items() if pattern.fullmatch(name))
    return dict(matches)


def _require_same_model(checkpoint: Checkpoint, model: keras.Model, fresh_head: bool) -> None:
    try:
        held = inspect_shapes(checkpoint.shapes)
    except UserError as error:
        raise UserError(f'the checkpoint {checkpoint.prefix} {error}') from error
    asked = inspect_shapes(tf1_shapes(model))
    if _network(held) != _network(asked):
        raise UserError(
            f'the checkpoint {checkpoint.prefix} is {held.description}, '
            f'but the model asked for is {asked.description}: ask for the former, or give another checkpoint'
        )
    if held.num_classes != asked.num_classes and not fresh_head:
        raise UserError(
            f'the checkpoint {checkpoint.prefix} has {held.num_classes} classes, '
            f'but {asked.num_classes} were asked for: give --fresh_head to start with a new last layer'
        )


def _network(inspection: Inspection) -> tuple:
    """What must agree between a checkpoint and a model whatever their classes."""
    return (
        inspection.model_variant,
        inspection.depth_multiplier,
        inspection.head,
        inspection.aspp_convs_filters,
        inspection.decoder_output_stride,
    )


def _require_match(checkpoint: Checkpoint, wanted: Shapes, skipped: Mapping[str, str]) -> None:
    held = checkpoint.shapes
    missing = [name for name in wanted if name not in held]
    extra = [name for name in held if name not in wanted and name not in skipped]
    misshapen = [
        f'{name} ({held[name]} for {wanted[name]})' for name in wanted if held.get(name, wanted[name]) != wanted[name]
    ]
    for names, trouble in (
        (missing, 'lacks variables of the model'),
        (extra, 'holds variables that the model has not'),
        (misshapen, 'holds variables of other shapes than the model'),
    ):
        if names:
            raise UserError(f'the checkpoint {checkpoint.prefix} {trouble}: {_listed(names)}')


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f' and {len(names) - 3} more' if len(names) > 3 else ''
    return ', '.join(names[:3]) + more
