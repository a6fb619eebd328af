"""Trained models from whatever file they are in: a run, a TF1 checkpoint, a frozen graph, .keras or a SavedModel."""

import dataclasses
import pathlib
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from deeplab_load.catalog import UNTOLD, Architecture, published_output_stride
from deeplab_load.data.examples import Examples
from deeplab_load.data.folder.builder import folder_spec
from deeplab_load.data.preparation import find_spec
from deeplab_load.data.preprocessing import decode_image, decode_label_map
from deeplab_load.data.specs import SPECS, Colour, DatasetSpec
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
from deeplab_load.restore.inspection import inspect
from deeplab_load.restore.links import plain_folder
from deeplab_load.restore.restoring import restore
from deeplab_load.restore.segmentors import any_size, strides
from deeplab_load.training.durable import RunDirectory, read_config

Size = tuple[int, int]
Legend = tuple[tuple[str, ...], tuple[Colour, ...]]


@dataclass(frozen=True)
class Location:
    """Where a model is, and of the run that it comes from the folder and the options (none and empty if from none)."""

    path: pathlib.Path
    run_dir: pathlib.Path | None = None
    run_options: dict[str, Any] = field(default_factory=dict)

    @property
    def is_saved_model(self) -> bool:
        """Whether a SavedModel is there."""
        return (self.path / 'saved_model.pb').exists()

    def dataset(self) -> DatasetSpec | None:
        """The data set of the run, which of a user's own data the run tells; None if it does not, or there is no run.

        Raises UserError if the run's state is damaged.
        """
        name = self.run_options.get('dataset')
        if self.run_dir is None or name is None or name in SPECS:
            return SPECS.get(name or '')
        state = RunDirectory(self.run_dir).read_state()
        if not {'classes', 'colours'} <= set(state):
            return None
        colours = tuple((red, green, blue) for red, green, blue in state['colours'])
        return dataclasses.replace(folder_spec(), classes=tuple(state['classes']), colours=colours)

    def architecture(self, given: Mapping[str, Any]) -> Architecture:
        """The DeepLab of a checkpoint: as its index tells, and else as given or as the run's.

        Args:
            given: flags of the original's, of `catalog.UNTOLD`.

        Raises:
            UserError: there is no checkpoint, or it is none of a segmentor.
        """
        found = inspect(self.path)
        return found.asked(untold(self.run_options, given, found.model_variant))


def locate(path: str, home: str) -> Location:
    """Finds the model that a path means: of a run directory its best, of a published checkpoint's name its folder.

    Raises:
        UserError: the published checkpoint is not in `home`, the run has no model yet, or there is nothing at `path`.
    """
    found = downloaded(path, home).expanduser()
    if (found / 'events.jsonl').exists():
        return Location(_best_of_run(found), found, read_config(found))
    for folder in list(found.absolute().parents)[:3]:
        if folder.name in ('checkpoints', 'export') and (folder.parent / 'events.jsonl').exists():
            return Location(found, folder.parent, read_config(folder.parent))
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
    given: Mapping[str, Any] = types.MappingProxyType({}),
    inference: Inference = PLAIN,
) -> TrainedModel:
    """The model at a location.

    Args:
        location: of `locate`.
        window: gives (height, width) of the window for the model's number of classes; it may refuse that. A SavedModel,
            and a .keras file of a fixed size, have their own.
        given: flags of `catalog.UNTOLD`; those that are not given are the run's, or as its kind was published.
        inference: scales, flips and resizing.

    Raises:
        UserError: there is no model, it is damaged, or it cannot be asked for what is asked.
    """
    path = location.path
    if path.suffix == KERAS:
        network = load_keras(path)
        _require_as_it_is(path, strides(network)[0], given)
        height, width = network.input_shape[1:3]
        asked = window(network.output_shape[-1])
        return _segmentor(network, (height, width) if height else asked, inference)
    if location.is_saved_model:
        if inference.averages or given or inference.min_resize_value:
            raise UserError(
                f'{path} is a SavedModel, whose network, scales and resizing are fixed: leave out the options for '
                'them, or give the checkpoint that it was exported from.'
            )
        model = SavedModel(path)
        if model.num_classes:
            window(model.num_classes)
        return model
    if location.run_options.get('segmentor'):
        network = _restored_foreign(location, window, plain=not (inference.averages or given))
    else:
        network = deeplab.build_segmentor(location.architecture(given))
        restore(network, location.path)
    return _segmentor(network, window(network.output_shape[-1]), inference)


def _segmentor(network: keras.Model, crop_size: Size, inference: Inference) -> Segmentor:
    deeplab.require_window(network, crop_size)
    return Segmentor(network, crop_size=crop_size, inference=inference)


def _require_as_it_is(path: pathlib.Path, stride: int, given: Mapping[str, Any]) -> None:
    """Raises UserError unless the options given are those of the network in a file."""
    if other := [flag for flag in given if flag != 'output_stride']:
        raise UserError(f'{path} says itself what its network is: leave out --{other[0]}, or convert it anew.')
    if (asked := given.get('output_stride', stride)) != stride:
        raise UserError(f'{path} has output stride {stride}, not {asked}: leave out --output_stride.')


def _restored_foreign(location: Location, window: Callable[[int], Size], *, plain: bool) -> keras.Model:
    """The model of a run with --segmentor, for as many classes as the run's data set has."""
    if not plain:
        raise UserError(
            f'{location.path} is of a run with --segmentor: leave out --eval_scales, --eval_flip, --output_stride and '
            'other options of a DeepLab.'
        )
    options = location.run_options
    spec = location.dataset() or find_spec(
        options['dataset'], data_dir=options['data_dir'], manual_dir=options['vocdevkit'] or options['manual_dir']
    )
    windows = [window(spec.num_classes)]
    network = build_foreign(options['segmentor'], num_classes=spec.num_classes, windows=windows, seed=0)
    restore_foreign(network, location.path)
    return network


def untold(run_options: Mapping[str, Any], given: Mapping[str, Any], model_variant: str) -> dict[str, Any]:
    """The flags of a network that no checkpoint tells: as given, or else as the run was told that it is of.

    The stride of a decoder is among them, which at a small depth multiplier a checkpoint does not tell.
    """
    # A run with a model_variant, or without a checkpoint, was told by flags alone: those missing had their defaults.
    told = run_options.get('model_variant') is not None or (bool(run_options) and not run_options.get('checkpoint'))
    flags = (*UNTOLD, 'decoder_output_stride')
    of_run = {flag: run_options.get(flag) for flag in flags if told or run_options.get(flag) is not None}
    stride = of_run.get('output_stride') or published_output_stride(model_variant)
    if given.get('output_stride') not in (None, stride):
        of_run.pop('atrous_rates', None)
    return {**of_run, **given}
