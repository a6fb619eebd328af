"""Trained models from whatever file they are in: a run, a TF1 checkpoint, a frozen graph, .keras or a SavedModel."""

import pathlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from deeplab_load.data.examples import Examples
from deeplab_load.data.preparation import find_spec
from deeplab_load.data.preprocessing import decode_image, decode_label_map
from deeplab_load.data.specs import Colour
from deeplab_load.errors import UserError
from deeplab_load.evaluation.evaluation import Evaluator, Prediction
from deeplab_load.files import read_json
from deeplab_load.models import deeplab
from deeplab_load.models.foreign import build_foreign, is_foreign, padding_colour
from deeplab_load.models.inference import PLAIN, Inference
from deeplab_load.models.inference import label_maps as segment
from deeplab_load.reporting.progress import progress
from deeplab_load.restore.checkpoint import resolve_prefix
from deeplab_load.restore.conversion import KERAS, load_keras
from deeplab_load.restore.download import downloaded
from deeplab_load.restore.foreign import restore_foreign
from deeplab_load.restore.inspection import UNTOLD, inspect
from deeplab_load.restore.links import plain_folder
from deeplab_load.restore.restoring import restore
from deeplab_load.restore.segmentors import any_size, strides
from deeplab_load.training.durable import RunDirectory, read_config

Size = tuple[int, int]
Legend = tuple[tuple[str, ...], tuple[Colour, ...]]


@dataclass(frozen=True)
class Location:
    """Where a model is, and the options of the run that it comes from (empty if from none)."""

    path: pathlib.Path
    run_options: dict[str, Any] = field(default_factory=dict)


def locate(path: str, home: str) -> Location:
    """Finds the model that a path means: of a run directory its best, of a published checkpoint's name its folder.

    Raises:
        UserError: the published checkpoint is not in `home`, the run has no model yet, or there is nothing at `path`.
    """
    found = downloaded(path, home).expanduser()
    if (found / 'events.jsonl').exists():
        return Location(_best_of_run(found), read_config(found))
    for folder in list(found.absolute().parents)[:3]:
        if folder.name in ('checkpoints', 'export') and (folder.parent / 'events.jsonl').exists():
            return Location(found, read_config(folder.parent))
    if not found.exists():
        resolve_prefix(found)
    return Location(found)


def _best_of_run(run_dir: pathlib.Path) -> pathlib.Path:
    run = RunDirectory(run_dir)
    best = run.read_state().get('load', {}).get('g_best', 'g0')
    if not run.has_snapshot(best):
        raise UserError(f'The run in {run_dir} has no model yet: let it go on, or give another --checkpoint.')
    return pathlib.Path(run.prefix(best))


def decoded(examples: Examples, index: int) -> tuple[tf.Tensor, tf.Tensor]:
    """An example's image, uint8 [height, width, 3], and its label map, uint8 [height, width]."""
    image, label = examples.encoded(index)
    return decode_image(image), decode_label_map(label)


class TrainedModel(Protocol):
    """A model that makes label maps; `setting` says how, for reports.

    `num_classes`, and `legend`, the names and colours of the classes, are None where the model does not tell them.
    """

    num_classes: int | None
    legend: Legend | None
    setting: dict[str, Any]

    def predictions(self, examples: Examples, batch_size: int) -> Iterator[Prediction]:
        """The label map of every example, in order."""
        ...

    def label_map(self, image: np.ndarray) -> np.ndarray:
        """The label map, uint8 [height, width], of an image, uint8 [height, width, 3] of any size."""
        ...


class Segmentor:
    """A Keras segmentor that looks through a window of a fixed size."""

    legend: Legend | None = None

    def __init__(self, network: keras.Model, *, crop_size: Size, inference: Inference = PLAIN):
        self.network, self.crop_size, self.inference = network, crop_size, inference
        self.num_classes = network.output_shape[-1]
        stride = None if is_foreign(network) else strides(network)[0]
        self.setting = {'output_stride': stride, 'crop_size': list(crop_size)}
        self._segment: Callable[[tf.Tensor], tf.Tensor] | None = None

    def predictions(self, examples: Examples, batch_size: int) -> Iterator[Prediction]:
        """As the original's eval.py: whole images padded to the window; UserError for one that exceeds it."""
        evaluator = Evaluator(self.network, crop_size=self.crop_size, batch_size=batch_size, inference=self.inference)
        return evaluator.predictions(examples)

    def label_map(self, image: np.ndarray) -> np.ndarray:
        """As the exported SavedModel: an image that exceeds the window is resized into it, its label map back."""
        if self._segment is None:
            self._segment = self._traced()
        return self._segment(tf.constant(image)[tf.newaxis])[0].numpy().astype(np.uint8)

    def _traced(self) -> Callable[[tf.Tensor], tf.Tensor]:
        output_stride, logits_stride = strides(self.network)
        network = any_size(self.network) if self.inference.averages else self.network

        @tf.function(input_signature=[tf.TensorSpec([1, None, None, 3], tf.uint8)])
        def segment_one(images: tf.Tensor) -> tf.Tensor:
            return segment(
                network,
                images,
                crop_size=self.crop_size,
                output_stride=output_stride,
                decoder_output_stride=logits_stride,
                colour=padding_colour(self.network),
                inference=self.inference,
            )

        return segment_one


INPUT, OUTPUT = 'ImageTensor', 'SemanticPredictions'


class SavedModel:
    """A SavedModel from `ImageTensor` to `SemanticPredictions`, ours or the original's; it takes images of any size.

    Ours tell their classes in an asset.
    """

    def __init__(self, folder: pathlib.Path):
        try:
            self._model = tf.saved_model.load(str(plain_folder(folder)))
        except (OSError, ValueError, tf.errors.OpError) as error:
            raise UserError(f'{folder} is no whole SavedModel: export it again.') from error
        signature = self._model.signatures.get('serving_default')
        inputs = signature.structured_input_signature[1] if signature else {}
        if INPUT not in inputs or OUTPUT not in signature.structured_outputs:
            raise UserError(f'The SavedModel {folder} has no signature from {INPUT} to {OUTPUT}: give another one.')
        self._serve, self.setting = signature, {'output_stride': None, 'crop_size': None}
        self.legend = _read_legend(folder / 'assets' / 'classes.json')
        self.num_classes = len(self.legend[0]) if self.legend else None

    def predictions(self, examples: Examples, batch_size: int) -> Iterator[Prediction]:
        """Image by image, since their sizes differ; UserError for examples that are to be resized."""
        if examples.resize:
            raise UserError('A SavedModel takes images as they are: leave out --min_resize_value.')
        for index in progress(range(len(examples)), 'evaluation', unit='image'):
            image, label = decoded(examples, index)
            yield Prediction(examples.ids[index], label.numpy(), self.label_map(image.numpy()))

    def label_map(self, image: np.ndarray) -> np.ndarray:
        """What the SavedModel makes of the image; UserError for a class that no label map can hold."""
        label_map = self._serve(**{INPUT: tf.constant(image)[tf.newaxis]})[OUTPUT][0].numpy()
        if label_map.min() < 0 or label_map.max() > 255:
            raise UserError(f'The SavedModel predicts class {label_map.max()}: label maps hold 0 to 255.')
        return label_map.astype(np.uint8)


def _read_legend(file: pathlib.Path) -> Legend | None:
    if not file.exists():
        return None
    told = read_json(file, 'export the model again')
    try:
        return tuple(map(str, told['classes'])), tuple((red, green, blue) for red, green, blue in told['colours'])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f'{file} is damaged; export the model again.') from error


def open_model(
    location: Location,
    *,
    window: Callable[[int], Size],
    output_stride: int | None = None,
    atrous_rates: tuple[int, ...] = (),
    inference: Inference = PLAIN,
) -> TrainedModel:
    """The model at a location.

    Args:
        location: of `locate`.
        window: gives (height, width) of the window for the model's number of classes; it may refuse that. A SavedModel,
            and a .keras file of a fixed size, have their own.
        output_stride: None takes the run's, or the one that its kind was published with.
        atrous_rates: of ASPP; empty takes the run's, or the original's for the output stride.
        inference: scales and flips.

    Raises:
        UserError: there is no model, it is damaged, or it cannot be asked for what is asked.
    """
    path = location.path
    if path.suffix == KERAS:
        network = load_keras(path)
        _require_stride(path, strides(network)[0], output_stride)
        height, width = network.input_shape[1:3]
        crop_size = window(network.output_shape[-1])
        return Segmentor(network, crop_size=(height, width) if height else crop_size, inference=inference)
    if (path / 'saved_model.pb').exists():
        if inference.averages or output_stride:
            raise UserError(
                f'{path} is a SavedModel, whose output stride and scales are fixed: leave out the options for '
                'them, or give the checkpoint that it was exported from.'
            )
        model = SavedModel(path)
        if model.num_classes:
            window(model.num_classes)
        return model
    if location.run_options.get('segmentor'):
        plain = not (inference.averages or output_stride or atrous_rates)
        network = _restored_foreign(location, window, plain=plain)
    else:
        network = _restored(location, output_stride, atrous_rates)
    return Segmentor(network, crop_size=window(network.output_shape[-1]), inference=inference)


def _require_stride(path: pathlib.Path, has: int, asked: int | None) -> None:
    if asked not in (None, has):
        raise UserError(f'{path} has output stride {has}, not {asked}: leave out --output_stride, or convert it anew.')


def _restored(location: Location, output_stride: int | None, atrous_rates: tuple[int, ...]) -> keras.Model:
    given = {flag: value for flag, value in (('output_stride', output_stride), ('atrous_rates', atrous_rates)) if value}
    network = deeplab.build_segmentor(inspect(location.path).asked(untold(location.run_options, given)))
    restore(network, location.path)
    return network


def _restored_foreign(location: Location, window: Callable[[int], Size], *, plain: bool) -> keras.Model:
    """The model of a run with --segmentor, for as many classes as the run's data set has."""
    if not plain:
        raise UserError(
            f'{location.path} is of a run with --segmentor: leave out --eval_scales, --eval_flip, --output_stride and '
            '--atrous_rates.'
        )
    options = location.run_options
    source = options['vocdevkit'] or options['manual_dir']
    spec = find_spec(options['dataset'], data_dir=options['data_dir'], manual_dir=source)
    windows = [window(spec.num_classes)]
    network = build_foreign(options['segmentor'], num_classes=spec.num_classes, windows=windows, seed=0)
    restore_foreign(network, location.path)
    return network


def untold(run_options: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The flags of a network that no checkpoint tells: as given, or else as the run was told that it is of."""
    # A run that was told its model_variant was told by flags alone: those that are missing had their defaults.
    told = run_options.get('model_variant') is not None
    of_run = {flag: run_options.get(flag) for flag in UNTOLD if told or run_options.get(flag) is not None}
    if given.get('output_stride') not in (None, of_run.get('output_stride')):
        of_run.pop('atrous_rates', None)
    return {**of_run, **given}
