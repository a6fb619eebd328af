"""Appraising trained models: each function hands the options of `evaluate` and `predict` on by keyword."""

import collections
import json
import pathlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deeplab_load import config as options
from deeplab_load.config import EvaluateConfig, PredictConfig, ResizeOptions
from deeplab_load.data.examples import Examples
from deeplab_load.data.preparation import find_spec, prepare
from deeplab_load.data.specs import PASCAL_VOC, SPECS, DatasetSpec
from deeplab_load.errors import UserError
from deeplab_load.evaluation.assessment import Assessment, assess
from deeplab_load.evaluation.prediction import Painter
from deeplab_load.evaluation.submission import submission_folder, submitted
from deeplab_load.evaluation.trained import Legend, Location, TrainedModel, locate, open_model
from deeplab_load.files import write_text
from deeplab_load.models.inference import Inference
from deeplab_load.reporting import results
from deeplab_load.reporting.pictures import palette
from deeplab_load.reporting.progress import say
from deeplab_load.reporting.tables import assessment_table

# What is a run's where the command does not say otherwise. Its data are prepared.
OF_A_RUN = ('dataset', 'data_dir', 'eval_crop_size')


@dataclass(frozen=True)
class Appraisal:
    """A model's assessment on examples, and the setting that it was measured under.

    The assessment is None where the examples have no labels.
    """

    assessment: Assessment | None
    examples: Examples
    setting: dict[str, Any]


def appraise(config: EvaluateConfig) -> Appraisal:
    """Evaluates a model, of whatever kind, on a split.

    The model is opened before the data, whose preparation may take long, so that a wrong one is told at once.

    Raises:
      UserError: there is no such model or data, or they do not belong together.
    """
    location = locate(config.model, config.checkpoints_dir)
    config = options.filled(config, location.run_options, (*OF_A_RUN, *_resizing(config, location)))
    config.require_dataset()
    spec = find_spec(config.dataset, data_dir=config.data_dir, manual_dir=config.source)
    model = open_for(config, location, spec, config.eval_crop_size)
    prepared = prepare(
        spec.name,
        data_dir=config.data_dir,
        manual_dir=config.source,
        download=config.download,
        resize=config.resize,
    )
    examples = prepared.examples(config.split or spec.evaluation_split, labelled=not config.submission_dir)
    predictions = model.predictions(examples, config.eval_batch_size)
    if config.submission_dir:
        folder = submission_folder(config.submission_dir, examples)
        predictions = submitted(predictions, folder, examples)
    setting = _setting(config, location, model, examples)
    if not examples.labelled:
        collections.deque(predictions, maxlen=0)
        return Appraisal(None, examples, setting)
    assessment = assess(predictions, spec, boundary_width=config.boundary_width, worst=config.worst)
    return Appraisal(assessment, examples, setting)


def _resizing(config: ResizeOptions, location: Location) -> tuple[str, ...]:
    """The options of resizing, where they are not given as a whole; a run's SavedModel does it itself."""
    return () if config.resize or location.is_saved_model else options.RESIZE


def open_for(
    config: EvaluateConfig | PredictConfig, location: Location, spec: DatasetSpec | None, asked: Sequence[int]
) -> TrainedModel:
    """Opens a model, and says at which output stride.

    Args:
      config: how it is asked for.
      location: where it is.
      spec: data set that it has to be of; None for any.
      asked: (height, width) of its window; empty for that of the data set, or of the one with as many classes.
    """

    def window(num_classes: int) -> tuple[int, int]:
        if spec and num_classes != spec.num_classes:
            raise UserError(
                f'The checkpoint {location.path} has {num_classes} classes and {spec.name} has {spec.num_classes}; '
                'give the data set that it was trained on.'
            )
        height, width = asked or (spec or spec_of(num_classes) or PASCAL_VOC).eval_crop_size
        return height, width

    model = open_model(
        location,
        window=window,
        given=config.network,
        inference=Inference(
            inference_scales=config.eval_scales,
            add_flipped_images=config.eval_flip,
            **{name: getattr(config, name) for name in options.RESIZE},
        ),
    )
    stride = model.setting['output_stride']
    say(f'{location.path}' + (f' at output stride {stride}.' if stride else '.'))
    return model


def spec_of(num_classes: int | None) -> DatasetSpec | None:
    """The known data set with this many classes, if there is one."""
    return next((spec for spec in SPECS.values() if spec.num_classes == num_classes), None)


def open_painter(config: PredictConfig, checkpoint: str) -> Painter:
    """Opens a model to look at, with the classes and colours of its data set.

    That is the one asked for, the run's, the one in a SavedModel, or the one with as many classes; for any other number
    classes have numbers and PASCAL VOC's colours.
    """
    location = locate(checkpoint, config.checkpoints_dir)
    run = location.run_options
    spec = None if config.dataset else location.dataset()
    if spec is None and (name := config.dataset or run.get('dataset')):
        spec = find_spec(name, data_dir=run.get('data_dir', 'data'))
    config = options.filled(config, run, ('eval_crop_size', *_resizing(config, location)))
    model = open_for(config, location, spec, config.eval_crop_size)
    names, colours = _legend(spec, model, checkpoint)
    return Painter(checkpoint, model, names, palette(colours))


def _legend(spec: DatasetSpec | None, model: TrainedModel, checkpoint: str) -> Legend:
    if spec is None and model.legend:
        return model.legend
    if spec is None and model.num_classes is None:
        raise UserError(f'{checkpoint} does not tell its classes: give --dataset, the data set that it was trained on.')
    spec = spec or spec_of(model.num_classes)
    say(f'Classes and colours: {spec.name if spec else "by number"}.')
    if spec:
        return spec.classes, spec.colours
    return tuple(f'class {number}' for number in range(model.num_classes or 0)), ()


def _setting(config: EvaluateConfig, location: Location, model: TrainedModel, examples: Examples) -> dict[str, Any]:
    return {
        'checkpoint': str(location.path),
        'dataset': examples.spec.name,
        'split': examples.split,
        **model.setting,
        'scales': list(config.eval_scales),
        'flip': config.eval_flip,
    }


def show(config: EvaluateConfig, appraisal: Appraisal) -> None:
    """Prints the table and writes the files that were asked for."""
    assessment, examples = appraisal.assessment, appraisal.examples
    say(f'{len(examples)} images of {examples.spec.name}, {examples.split}.')
    if config.submission_dir:
        say(f'The submission is complete: pack the contents of {config.submission_dir}.')
    if assessment is None:
        say(f'{examples.split} has no labels: nothing can be measured here.')
        return
    say(assessment_table(examples.spec.classes, assessment))
    if config.json:
        record = results.record(assessment, examples.spec.classes, appraisal.setting)
        write_text(pathlib.Path(config.json).expanduser(), json.dumps(record, indent=1) + '\n')
    if config.output_dir:
        results.write_files(pathlib.Path(config.output_dir).expanduser(), assessment, examples)
        say(f'CSV files, confusion matrices and the worst images: {config.output_dir}')
