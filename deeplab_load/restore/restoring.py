"""Restores a model from a TF1 checkpoint, strictly in both directions, and writes one."""

import pathlib
import re
import types
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from deeplab_load.errors import UserError
from deeplab_load.restore.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from deeplab_load.restore.inspection import OPTIMIZER_SLOT, Inspection, Shapes, inspect_shapes
from deeplab_load.restore.names import tf1_shapes, tf1_variables

GLOBAL_STEP = 'global_step'
LAST_LAYER = re.compile(r'logits/semantic/(weights|biases)')
# The lite head's decoder ends in the logits.
LITE_LAST_LAYER = re.compile(r'decoder/(decoder_conv0|feature_projection0)/(weights|biases)')

# All that follows the backbone (model.get_extra_layer_scopes).
LAST_LAYERS = re.compile(r'(logits|image_pooling|aspp\d+\w*|concat_projection|decoder|meta_architecture)/.+')
# What a published backbone has after the features that a segmentor takes.
CLASSIFIER = re.compile(r'[^/]+/(logits|Logits|Conv_[12]|mean_rgb)(/.+)?')

# What a checkpoint may hold beside the model's variables, by the name of the rule.
SKIPPED = {
    'optimizer slot': OPTIMIZER_SLOT,
    'moving average of a weight': re.compile(r'.+/ExponentialMovingAverage'),
    'global step': re.compile(GLOBAL_STEP),
}


@dataclass(frozen=True)
class Restoration:
    """What became of every variable, by TF1 name.

    `skipped` pairs a variable of the checkpoint with the rule that let it go; `reason` says why some are fresh.
    """

    restored: tuple[str, ...]
    fresh: tuple[str, ...]
    skipped: tuple[tuple[str, str], ...]
    reason: str = ''

    def table(self) -> str:
        """A line for each outcome: how many variables were restored, are fresh, were skipped by which rule."""
        lines = [f'restored  {len(self.restored):4d} variables']
        if self.fresh:
            names = self.fresh if len(self.fresh) <= 4 else sorted({name.partition('/')[0] for name in self.fresh})
            lines.append(f'fresh     {len(self.fresh):4d} variables ({", ".join(names)}): {self.reason}')
        for rule in dict.fromkeys(rule for _, rule in self.skipped):
            lines.append(f'skipped   {sum(r == rule for _, r in self.skipped):4d} variables ({rule})')
        return '\n'.join(lines)


def restore(model: keras.Model, path: str | pathlib.Path, *, fresh_head: str | None = None) -> Restoration:
    """Fills every variable of the model from the checkpoint; nothing is assigned unless everything fits.

    Of a checkpoint of a backbone alone the backbone is filled, strictly, and all that follows it stays fresh.

    Args:
        model: of `build_segmentor`.
        path: as `read_checkpoint` takes it.
        fresh_head: 'logits' keeps the fresh values of the last layer, as another class count needs, 'last_layers' those
            of all that follows the backbone, whatever the checkpoint has there.

    Returns:
        What was restored, is fresh, and was skipped by which rule.

    Raises:
        UserError: the checkpoint is missing, damaged, of another model, lacks a variable or holds one too many.
    """
    checkpoint, variables, shapes = read_checkpoint(path), tf1_variables(model), tf1_shapes(model)
    held, asked = _inspected(checkpoint), inspect_shapes(shapes)
    replaced, reason = _replaced(held, variables, fresh_head)
    fresh = {name for name in variables if replaced and replaced.fullmatch(name)}
    wanted = {name: shape for name, shape in shapes.items() if name not in fresh}
    rules = {**SKIPPED, **({'replaced head': replaced} if replaced else {})}
    if held.num_classes is None:
        rules['classifier'] = CLASSIFIER
    _require_same_model(checkpoint, held, asked, replaced)
    values, skipped = strict_values(checkpoint, wanted, rules)
    for name, value in values.items():
        variables[name].assign(value)
    return Restoration(tuple(sorted(wanted)), tuple(sorted(fresh)), tuple(sorted(skipped.items())), reason)


def strict_values(
    checkpoint: Checkpoint,
    wanted: Shapes,
    rules: Mapping[str, re.Pattern[str]],
    dtypes: Mapping[str, tf.DType] = types.MappingProxyType({}),
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The values of all wanted variables, and the rule that skips each of the checkpoint's others.

    `dtypes` are of the wanted variables that are no float32.

    Raises:
        UserError: a wanted variable is missing, of another shape or type, another is matched by no rule, or data
            are damaged.
    """
    skipped = _skipped(checkpoint, wanted, rules)
    _require_match(checkpoint, wanted, skipped, dtypes)
    return {name: checkpoint.value(name) for name in wanted}, skipped


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


def _inspected(checkpoint: Checkpoint) -> Inspection:
    try:
        return inspect_shapes(checkpoint.shapes)
    except UserError as error:
        raise UserError(f'the checkpoint {checkpoint.prefix} {error}') from error


def _replaced(held: Inspection, names: Collection[str], fresh_head: str | None) -> tuple[re.Pattern[str] | None, str]:
    """The variables that keep their fresh values, and why."""
    if held.num_classes is None:
        return LAST_LAYERS, 'the checkpoint is a backbone alone'
    if fresh_head is None:
        return None, ''
    patterns = {'logits': _last_layer(names), 'last_layers': LAST_LAYERS}
    if fresh_head not in patterns:
        raise UserError(f'fresh_head is {fresh_head!r} but must be one of {", ".join(patterns)}')
    return patterns[fresh_head], f'--fresh_head={fresh_head}'


def _last_layer(names: Collection[str]) -> re.Pattern[str]:
    return LAST_LAYER if any(map(LAST_LAYER.fullmatch, names)) else LITE_LAST_LAYER


def _skipped(checkpoint: Checkpoint, wanted: Shapes, rules: Mapping[str, re.Pattern[str]]) -> dict[str, str]:
    unwanted = (name for name in checkpoint.shapes if name not in wanted)
    return {
        name: next(rule for rule, pattern in rules.items() if pattern.fullmatch(name))
        for name in unwanted
        if any(pattern.fullmatch(name) for pattern in rules.values())
    }


def _require_same_model(
    checkpoint: Checkpoint, held: Inspection, asked: Inspection, replaced: re.Pattern[str] | None
) -> None:
    backbone_alone = replaced is LAST_LAYERS
    if _backbone(held) != _backbone(asked) or (not backbone_alone and _head(held) != _head(asked)):
        raise UserError(
            f'the checkpoint {checkpoint.prefix} is {held.description}, '
            f'but the model asked for is {asked.description}: ask for the former, or give another checkpoint'
        )
    if held.num_classes != asked.num_classes and not replaced:
        raise UserError(
            f'the checkpoint {checkpoint.prefix} has {held.num_classes} classes, '
            f'but {asked.num_classes} were asked for: give --fresh_head to start with a new last layer'
        )


def _backbone(inspection: Inspection) -> tuple:
    return inspection.model_variant, inspection.depth_multiplier


def _head(inspection: Inspection) -> tuple:
    """What must agree between the heads of a checkpoint and a model whatever their classes."""
    of_classes = ('decoder_filters',) if inspection.head == 'lite' else ()
    flags = {flag: value for flag, value in inspection.head_flags.items() if flag not in of_classes}
    return inspection.head, inspection.decoder_output_stride, flags


def _require_match(
    checkpoint: Checkpoint, wanted: Shapes, skipped: Mapping[str, str], dtypes: Mapping[str, tf.DType]
) -> None:
    held = checkpoint.shapes
    missing = [name for name in wanted if name not in held]
    extra = [name for name in held if name not in wanted and name not in skipped]
    misshapen = [
        f'{name} ({held[name]} for {wanted[name]})' for name in wanted if held.get(name, wanted[name]) != wanted[name]
    ]
    kinds = {name: (checkpoint.dtypes[name], dtypes.get(name, tf.float32)) for name in wanted if name in held}
    mistyped = [f'{name} ({has.name} for {asked.name})' for name, (has, asked) in kinds.items() if has != asked]
    for names, trouble in (
        (missing, 'lacks variables of the model'),
        (extra, 'holds variables that the model has not'),
        (misshapen, 'holds variables of other shapes than the model'),
        (mistyped, 'holds variables of another type than the model'),
    ):
        if names:
            raise UserError(f'the checkpoint {checkpoint.prefix} {trouble}: {_listed(names)}')


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f' and {len(names) - 3} more' if len(names) > 3 else ''
    return ', '.join(names[:3]) + more
