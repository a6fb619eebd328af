"""The golden variants: what the original made of images, and how far this package is from it.

DEEPLAB_LOAD_TESTDATA=FOLDER python -m tests.restore.variants [VARIANT ...]     # prints the table of all runs
"""

import functools
import json
import math
import os
import pathlib
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from unittest import mock

import keras
import numpy as np
import tensorflow as tf

from deeplab_load.catalog import INFERENCE_FLAGS, Architecture, mean_pixel
from deeplab_load.models import inference
from deeplab_load.models.deeplab import build_segmentor
from deeplab_load.models.inference import Inference, label_maps
from deeplab_load.models.slim import resize_bilinear, resize_nearest
from deeplab_load.restore.names import tf1_shapes
from deeplab_load.restore.restoring import restore

from ..golden import Case, make_checkpoints

# Where the original's noise floor was not recorded: fidelity.md, section f.
NOISE_FLOORS = {'xception': 1.1e-3, 'resnet': 2e-4, 'mobilenet': 3e-4}
# TF 1.15's means in squeeze-and-excitation are inaccurate by this much.
SQUEEZE_TOLERANCES = {'mobilenet_v3_large_seg': 2e-3, 'mobilenet_v3_small_seg': 2e-2}
SMALLEST_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Setting:
    """How one run was made: the crop, and the flags of inference."""

    crop_size: tuple[int, int]
    inference: Inference


class Variant(Case):
    """One folder of golden outputs."""

    @property
    def architecture(self) -> Architecture:
        return Architecture.from_flags({**self.meta['flags'], 'num_classes': self.meta['num_classes']})

    def setting(self, run: str) -> Setting:
        """As the command line of the run's group says, and for what it does not say the variant."""
        flags = {**self.meta['flags'], 'crop_size': self.meta['crop_size'], **self._command_line(run)}
        crop = flags['crop_size'].split(',') if isinstance(flags['crop_size'], str) else flags['crop_size']
        return Setting((int(crop[0]), int(crop[1])), Inference.from_flags(flags))

    def _command_line(self, run: str) -> dict[str, str]:
        group = self.meta['runs'].get(run, {}).get('group')
        arguments: dict[str, list[str]] = {}
        for argument in self.meta['runs'].get(f'_{group}', {}).get('argv', []):
            flag, _, value = argument.lstrip('-').partition('=')
            if flag in (*INFERENCE_FLAGS, 'crop_size'):
                arguments.setdefault(flag, []).append(value)
        return {flag: ','.join(values) for flag, values in arguments.items()}

    @property
    def source(self) -> pathlib.Path:
        """The folder whose recipe makes the checkpoint: its own, or another variant's."""
        shared = self.folder.parent / self.meta['checkpoint_folder'].split('/')[0]
        return self.folder if (self.folder / 'overrides.npz').exists() else shared

    @functools.cached_property
    def recipe(self) -> dict:
        return json.loads((self.source / 'variables.json').read_text())

    def floor(self, run: str, tensor: str) -> float | None:
        """The original's own difference from another TensorFlow, where it was recorded."""
        recorded = self.meta.get('noise_floor', {}).values()
        return max((entry[run][tensor]['max_abs'] for entry in recorded if tensor in entry.get(run, {})), default=None)

    def tolerance(self, run: str) -> float:
        """How far logits may be from the original's: four times its noise floor."""
        model_variant = self.architecture.model_variant
        if run == 'pad' and model_variant in SQUEEZE_TOLERANCES:
            return SQUEEZE_TOLERANCES[model_variant]
        family = next(floor for family, floor in NOISE_FLOORS.items() if model_variant.startswith(family))
        return max(4 * (self.floor(run, 'logits_raw') or family), SMALLEST_TOLERANCE)

    def score_tolerance(self, run: str) -> float:
        """How far that may be which the best class is told by: probabilities are less far than logits."""
        if not self.setting(run).inference.averages:
            return self.tolerance(run)
        return max(4 * (self.floor(run, 'argmax_input_s8') or 0), SMALLEST_TOLERANCE)

    def write_checkpoint(self, folder: pathlib.Path) -> pathlib.Path:
        """Writes the variant's TF1 checkpoint by the golden data's own script; returns its prefix."""
        script, prefix = make_checkpoints(self.folder.parent), folder / 'model.ckpt-30000'
        script.write_checkpoint(script.checkpoint_values(self.source), prefix)
        return prefix


def golden_variants() -> list[Variant]:
    """All variants whose outputs were recorded, none where the test data are not at hand."""
    root = os.environ.get('DEEPLAB_LOAD_TESTDATA')
    if not root:
        return []
    variants = [Variant(path.parent) for path in sorted(pathlib.Path(root).glob('golden/*/outputs.npz'))]
    found = [variant for variant in variants if {'flags', 'runs'} <= set(variant.meta)]
    assert found, f'no golden outputs in {root}'
    return found


@dataclass(frozen=True)
class Outcome:
    """One run against the original: arrays by what they are, ours and the recorded one; the margin of each pixel."""

    run: str
    labels: np.ndarray
    golden_labels: np.ndarray
    compared: dict[str, tuple[np.ndarray, np.ndarray]]
    margins: np.ndarray

    @property
    def difference(self) -> float:
        """The largest difference of the logits; NaN where the label map alone was recorded."""
        ours, recorded = self.compared.get('logits_raw', (np.nan, np.nan))
        return float(np.abs(ours - recorded).max())

    def wrong(self, tolerance: float) -> int:
        """How many labels differ although the best two scores are further apart than the tolerance."""
        return int(((self.labels != self.golden_labels) & (self.margins > tolerance)).sum())


def outcomes(variant: Variant, model: keras.Model) -> Iterator[Outcome]:
    """What the restored model makes of every recorded image."""
    golden = variant.arrays('outputs.npz')
    for run, image in variant.arrays('inputs.npz').items():
        if f'{run}/pred' in golden:
            yield _outcome(variant, model, run, image, variant.group(golden, run))


def _outcome(
    variant: Variant, model: keras.Model, run: str, image: np.ndarray, recorded: dict[str, np.ndarray]
) -> Outcome:
    labels, logits, merged, scores = segment(model, image, variant, variant.setting(run))
    ours = {'logits_raw': logits, 'logits_merged': merged}
    ours |= {f'argmax_input_s{step}': scores[:, ::step, ::step] for step in (4, 8)}
    compared = {name: (ours[name], recorded[name]) for name in ours if name in recorded and ours[name] is not None}
    setting = variant.setting(run)
    plain = setting.inference.image_pyramid == (1.0,) and not setting.inference.averages
    if plain and setting.inference.prediction_with_upsampled_logits and 'logits_raw' in recorded:
        scores = resize_bilinear(recorded['logits_raw'], setting.crop_size).numpy()
    return Outcome(run, labels, recorded['pred'], compared, margins(scores, image, variant, setting))


def segment(model: keras.Model, image: np.ndarray, variant: Variant, setting: Setting) -> tuple:
    """Label map [height, width]; first and merged logits and what the best class is told by, each with a batch of 1."""
    seen: dict[str, list[tf.Tensor]] = {'logits': [], 'merged': [], 'scores': []}

    def recorded(name, function):
        return lambda *arguments, **options: seen[name].append(function(*arguments, **options)) or seen[name][-1]

    with (
        mock.patch.object(keras.Model, '__call__', recorded('logits', keras.Model.__call__)),
        mock.patch.object(inference, 'pyramid_logits', recorded('merged', inference.pyramid_logits)),
        mock.patch.object(inference, 'class_scores', recorded('scores', inference.class_scores)),
    ):
        labels = label_maps(
            model,
            image[np.newaxis],
            crop_size=setting.crop_size,
            output_stride=variant.architecture.output_stride,
            decoder_output_stride=variant.architecture.decoder_output_stride,
            colour=mean_pixel(variant.architecture.model_variant),
            inference=setting.inference,
        )
    merged = seen['merged'][0][-1].numpy() if seen['merged'] else None
    return labels[0].numpy(), seen['logits'][0].numpy(), merged, seen['scores'][0].numpy()


def margins(scores: np.ndarray, image: np.ndarray, variant: Variant, setting: Setting) -> np.ndarray:
    """The distance of the two best scores at every pixel of the image, at its own size."""
    size = image.shape[:2]
    entering = inference.entering_size(size, setting.crop_size, variant.architecture.output_stride, setting.inference)
    best = tf.math.top_k(scores, 2).values
    margin = resize_nearest(best[..., :1] - best[..., 1:], setting.crop_size)[:, : entering[0], : entering[1]]
    return resize_nearest(margin, size)[0, ..., 0].numpy()


def restored(variant: Variant, folder: pathlib.Path) -> keras.Model:
    """The variant's network with the values of its checkpoint, which is written into the folder."""
    model = build_segmentor(variant.architecture)
    restore(model, variant.write_checkpoint(folder))
    return model


ROW = '{:28s} {:5s} {:>10s} {:>12s} {:>10s} {:>7s} {:>10s} {:>10s} {:>12s}'


def table(variants: list[Variant]) -> Iterator[str]:
    """A line for each run of each variant."""
    columns = ('max |d|', 'noise floor', 'tolerance', 'wrong', 'different', 'variables', 'parameters')
    yield ROW.format('variant', 'run', *columns)
    for variant in variants:
        with tempfile.TemporaryDirectory() as folder:
            model = restored(variant, pathlib.Path(folder))
        shapes = tf1_shapes(model)
        size = (str(len(shapes)), f'{sum(math.prod(shape) for shape in shapes.values()):,}')
        for outcome in outcomes(variant, model):
            run, floor = outcome.run, variant.floor(outcome.run, 'logits_raw')
            wrong = outcome.wrong(variant.score_tolerance(run))
            different = int((outcome.labels != outcome.golden_labels).sum())
            numbers = (outcome.difference, floor or math.nan, variant.tolerance(run))
            yield ROW.format(
                variant.folder.name, run, *(f'{n:.1e}' for n in numbers), str(wrong), str(different), *size
            )


if __name__ == '__main__':
    for line in table([v for v in golden_variants() if v.folder.name in sys.argv[1:] or not sys.argv[1:]]):
        print(line, flush=True)
