"""Appraising trained models: each function hands the options of `evaluate` on by keyword."""

from dataclasses import dataclass
from typing import Any

from deeplab_load import config as options
from deeplab_load.config import EvaluateConfig
from deeplab_load.data.examples import Examples
from deeplab_load.data.preparation import find_spec, prepare
from deeplab_load.data.specs import DatasetSpec
from deeplab_load.errors import UserError
from deeplab_load.evaluation.assessment import Assessment, assess
from deeplab_load.evaluation.trained import Location, TrainedModel, locate, open_model
from deeplab_load.models.inference import Inference
from deeplab_load.reporting import results
from deeplab_load.reporting.progress import say
from deeplab_load.reporting.tables import assessment_table

# What is a run's where the command does not say otherwise.
OF_A_RUN = (
    'dataset',
    'data_dir',
    'vocdevkit',
    'manual_dir',
    'eval_crop_size',
    'min_resize_value',
    'max_resize_value',
    'resize_factor',
)


@dataclass(frozen=True)
class Appraisal:
    """A model's assessment on examples, and the setting that it was measured under."""

    assessment: Assessment
    examples: Examples
    setting: dict[str, Any]


def appraise(config: EvaluateConfig) -> Appraisal:
    """Evaluates a model, of whatever kind, on a split.

    The model is opened before the data, whose preparation may take long, so that a wrong one is told at once.

    Raises:
      UserError: there is no such model or data, or they do not belong together.
    """
    location = locate(config.checkpoint or '', config.checkpoints_dir)
    config = options.filled(config, location.run_options, OF_A_RUN)
    config.require_dataset()
    spec = find_spec(config.dataset, data_dir=config.data_dir, manual_dir=config.source)
    model = open_for(config, location, spec)
    prepared = prepare(
        spec.name,
        data_dir=config.data_dir,
        manual_dir=config.source,
        download=config.download,
        resize=config.resize,
    )
    examples = prepared.examples(config.split or spec.evaluation_split)
    predictions = model.predictions(examples, config.eval_batch_size)
    assessment = assess(predictions, spec, boundary_width=config.boundary_width, worst=config.worst)
    return Appraisal(assessment, examples, _setting(config, location, model, examples))


def open_for(config: EvaluateConfig, location: Location, spec: DatasetSpec) -> TrainedModel:
    """Opens the model for a data set, and says at which output stride."""
    height, width = config.eval_crop_size or spec.eval_crop_size
    model = open_model(
        location,
        crop_size=(height, width),
        output_stride=config.output_stride,
        atrous_rates=config.atrous_rates,
        inference=Inference(inference_scales=config.eval_scales, add_flipped_images=config.eval_flip),
    )
    if model.num_classes not in (None, spec.num_classes):
        raise UserError(
            f'The checkpoint {config.checkpoint} has {model.num_classes} classes and {spec.name} has '
            f'{spec.num_classes}; give the data set that it was trained on.'
        )
    stride = model.setting['output_stride']
    say(f'{location.path}' + (f' at output stride {stride}.' if stride else ', a SavedModel.'))
    return model


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
    say(assessment_table(examples.spec.classes, assessment))
    if config.json:
        results.write_json(config.json, results.record(assessment, examples.spec.classes, appraisal.setting))
    if config.output_dir:
        folder = results.writable_folder(config.output_dir, '--output_dir')
        results.write_files(folder, assessment, examples)
        say(f'CSV files, confusion matrices and the worst images: {folder}')
