"""The stages of the main job: each one hands the options on by keyword and says what it did."""

import dataclasses
import functools
import pathlib
import time
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np

from deeplab_load import config as options
from deeplab_load import files
from deeplab_load.config import Config
from deeplab_load.data import preflight
from deeplab_load.data.batches import check_fit
from deeplab_load.data.examples import Examples, at_workers, copy_for_workers, decoded_once, holdout
from deeplab_load.data.preparation import prepare
from deeplab_load.data.specs import DatasetSpec
from deeplab_load.errors import UserError
from deeplab_load.evaluation.evaluation import Evaluator
from deeplab_load.lookahead import events
from deeplab_load.lookahead.algorithm import load, stopped_by
from deeplab_load.lookahead.alternating import alternate
from deeplab_load.lookahead.state import LoadState
from deeplab_load.metrics import Metrics, summarise
from deeplab_load.networks import network_name, windows
from deeplab_load.reporting import samples
from deeplab_load.reporting.events import sentence
from deeplab_load.reporting.progress import say
from deeplab_load.reporting.report import write_report
from deeplab_load.reporting.runs import algorithm_name, read_run
from deeplab_load.reporting.tables import metrics_table
from deeplab_load.restore.names import assign, named_variables
from deeplab_load.restore.restoring import Restoration
from deeplab_load.restore.segmentors import strides
from deeplab_load.runs import Run
from deeplab_load.runs import run_directory as run_directory
from deeplab_load.serving import export as serving
from deeplab_load.serving.agreement import agreement_table
from deeplab_load.serving.export import ExportOptions, Sources
from deeplab_load.training.discriminator import DiscriminatorOptions, DiscriminatorTrainer
from deeplab_load.training.distribution import Distribution
from deeplab_load.training.lookahead import repair_sets, run_lookahead
from deeplab_load.training.luc import LucPlayers
from deeplab_load.training.pixelwise import train_pixelwise
from deeplab_load.training.players import AdversarialOptions, TensorFlowPlayers, TrainingData
from deeplab_load.training.resumption import Resumption


@dataclass(frozen=True)
class Data:
    """The examples of a run: to train on, to decide by, and to report on; and the windows they are seen through."""

    spec: DatasetSpec
    train: Examples
    holdout: Examples
    evaluation: Examples
    train_crop_size: tuple[int, int]
    eval_crop_size: tuple[int, int]


def prepare_data(config: Config, run: Run) -> Data:
    """Prepares the data set, or finds it prepared, and says what is in it."""
    prepared = run.distribution.chief_first(
        lambda: prepare(
            config.dataset,
            data_dir=config.data_dir,
            manual_dir=config.source,
            download=config.download,
            resize=config.resize,
            check=run.check,
        )
    )
    spec = prepared.spec
    validation = prepared.examples(spec.validation_split)
    train_crop_size, eval_crop_size = windows(config, spec)
    data = Data(
        spec=spec,
        train=prepared.examples(config.train_split or spec.train_split),
        holdout=holdout(validation, fraction=config.holdout_fraction),
        evaluation=prepared.examples(spec.evaluation_split),
        train_crop_size=train_crop_size,
        eval_crop_size=eval_crop_size,
    )
    say(
        f'Data ready: {spec.name}, {len(data.train)} images to train on, {len(data.evaluation)} to evaluate on '
        f'({spec.evaluation_split}), hold-out of {len(data.holdout)}; {len(spec.classes)} classes.'
    )
    used = dict.fromkeys((data.train.split, validation.split, data.evaluation.split))
    say('\n'.join(preflight.remarks(prepared, tuple(used))))
    for examples in (data.holdout, data.evaluation):
        check_fit(examples, eval_crop_size)  # Before all training.
    _bind_data(run, data)
    return _at_workers(config.data_service, run, data) if config.data_service else data


def _at_workers(address: str, run: Run, data: Data) -> Data:
    folder = run.directory.cache / 'train'
    run.distribution.by_chief(lambda: copy_for_workers(data.train, folder, check=run.check))
    return dataclasses.replace(data, train=at_workers(data.train, address, folder, check=run.check))


def start(config: Config, run: Run, segmentor: keras.Model, restored: Restoration | None, data: Data) -> None:
    """Gives the segmentor its starting values g_0: those of the run, of the checkpoint, or of stage 1."""
    record = run.directory.read_state()
    if 'g0' in record['snapshots']:
        assign(segmentor, run.directory.read_snapshot('g0'))
        return
    if restored:
        say(f'Segmentor restored from {config.checkpoint}:\n{restored.table()}')
    if config.trains:
        began = time.monotonic()
        train_pixelwise(
            segmentor,
            data.train,
            config,
            crop_size=data.train_crop_size,
            seed=config.seed,
            resumption=lambda state: Resumption(
                run.directory, 'stage-1', state, save_every=config.save_every, stop=run.stop
            ),
            distribution=run.distribution,
        )
        # Of stage 1 that was interrupted, only its last part could be timed.
        record['stage_1_seconds'] = None if 'training' in record else round(time.monotonic() - began, 3)
    else:
        record['stage_1_seconds'] = 0.0
    record['network'] = network_name(config, run.directory)
    run.directory.save_snapshot('g0', {name: variable.numpy() for name, variable in named_variables(segmentor).items()})
    run.directory.write_state({k: v for k, v in record.items() if k != 'training'}, snapshots=['g0'])


def _bind_data(run: Run, data: Data) -> None:
    """Refuses other data than the run began with."""
    fingerprints = {name: getattr(data, name).fingerprint for name in ('train', 'holdout', 'evaluation')}
    if 'data' not in run.directory.read_state():
        run.directory.amend_state(data=fingerprints)
    if run.directory.read_state()['data'] != fingerprints:
        raise UserError(
            f'--run_dir={run.directory.path} holds a run on other data than those in --data_dir; give its data, or '
            'choose another --run_dir.'
        )


def evaluator(config: Config, run: Run, segmentor: keras.Model, data: Data) -> Evaluator:
    """The evaluator of the segmentor through the evaluation window."""
    return Evaluator(
        segmentor,
        crop_size=data.eval_crop_size,
        batch_size=config.eval_batch_size,
        check=run.check,
        distribution=run.distribution,
    )


def evaluate_baseline(run: Run, judge: Evaluator, data: Data) -> Metrics:
    """Evaluates g_0 on the hold-out and on the whole evaluation split."""
    record = run.directory.read_state()
    if 'load' in record:
        return summarise(np.array(record['baseline']))
    confusion = _confusion(run, judge, data.evaluation, 'baseline')
    miou = summarise(judge.confusion(data.holdout, 'baseline, hold-out')).miou_present
    metrics = summarise(confusion)
    _write_samples(run, judge, data, 'g0')
    event = events.Baseline(miou=miou, val_miou=metrics.miou)
    state = LoadState.initial(miou)
    run.directory.write_state(
        {
            **record,
            'load': state.to_json(),
            'classes': data.spec.classes,
            'colours': data.spec.colours,
            'baseline': confusion.tolist(),
            'events_bytes': run.directory.append(event),
        },
        snapshots=state.snapshots(),
        sets=[s.name for s in state.buffer],
    )
    run.write_scalars(0, event)
    say(
        f'Baseline g0: mIoU {100 * metrics.miou:.2f} %, pixel accuracy {100 * metrics.pixel_accuracy:.2f} %, on the '
        f'{len(data.evaluation)} images of {data.spec.evaluation_split}; {100 * miou:.2f} % on the hold-out.'
    )
    return metrics


CHUNK = 128  # Images between two stored sums of an evaluation.


def _confusion(run: Run, judge: Evaluator, examples: Examples, title: str) -> np.ndarray:
    """The confusion matrix over the examples; its sums are durable, so that a kill costs one chunk at most."""
    stored = run.directory.read_state().get('evaluating') or {}
    if stored.get('title') != title:
        stored = {'title': title, 'done': 0, 'confusion': 0}
    chunk = -(-CHUNK // judge.batch_size) * judge.batch_size  # The batches are those of one evaluation.
    for first in range(stored['done'], len(examples), chunk):
        last = min(first + chunk, len(examples))
        counts = judge.confusion(examples.subset(examples.ids[first:last]), f'{title}, to {last} of {len(examples)}')
        stored = {'title': title, 'done': last, 'confusion': (np.array(stored['confusion']) + counts).tolist()}
        run.directory.amend_state(evaluating=stored)
        run.stop.check()
    return np.array(stored['confusion'])


def _write_samples(run: Run, judge: Evaluator, data: Data, model: str) -> None:
    path = run.directory.path
    run.distribution.by_chief(lambda: samples.write_evaluated(path, model, data.evaluation, judge.label_maps))


def _keep_sets(run: Run, data: Data) -> None:
    run.distribution.by_chief(lambda: samples.keep_sets(run.directory.path, data.holdout))


def train_adversarially(
    config: Config, run: Run, judge: Evaluator, segmentor: keras.Model, discriminator: keras.Model, data: Data
) -> LoadState:
    """Runs Algorithm 3, or alternating steps (Luc et al.); the segmentor is the best model g* afterwards."""
    seen = TrainingData(
        train=data.train,
        holdout=run.distribution.chief_first(
            lambda: decoded_once(data.holdout, run.directory.cache / 'holdout', check=run.check)
        ),
        crop_size=data.train_crop_size,
    )
    kind, decide = TensorFlowPlayers, load
    if config.algorithm == 'luc':
        kind, decide = LucPlayers, functools.partial(alternate, adversarial=config.adversarial_weight > 0)
    trainer = _discriminator_trainer(config, discriminator, judge.num_classes, run.distribution)
    players = kind(
        segmentor,
        trainer,
        judge,
        seen,
        _adversarial_options(config),
        run.directory,
        run.stop,
        save_every=config.save_every,
        distribution=run.distribution,
    )
    if config.repair:
        repair_sets(players, run.directory)
    _keep_sets(run, data)
    state = run_lookahead(
        players,
        config.limits(),
        run.directory,
        watch=_watch(run, data),
        stop=run.stop,
        decide=decide,
    )
    players.restore(state.g_best)
    return state


def _discriminator_trainer(
    config: Config, discriminator: keras.Model, num_classes: int, distribution: Distribution
) -> DiscriminatorTrainer:
    return DiscriminatorTrainer(
        discriminator,
        num_classes=num_classes,
        options=DiscriminatorOptions(
            learning_rate=config.discriminator_learning_rate,
            batch_size=config.discriminator_batch_size,
            paired=config.discriminator_batches == 'paired',
            patience=config.discriminator_patience,
            epochs=config.discriminator_epochs,
            keep_slots=config.discriminator_slots == 'kept',
        ),
        seed=config.seed,
        distribution=distribution,
    )


def _adversarial_options(config: Config) -> AdversarialOptions:
    return AdversarialOptions(
        learning_rate=config.adversarial_learning_rate,
        momentum=config.adversarial_momentum,
        batch_size=config.adversarial_batch_size,
        weight=config.adversarial_weight,
        straight_through=config.generator_map == 'straight_through',
        steps_per_propagation=config.steps_per_propagation,
        seed=config.seed,
        mixed_precision=config.mixed_precision,
        keep_slots=config.optimizer_slots == 'kept',
        fakes_of_seen=config.fakes == 'seen',
    )


def _watch(run: Run, data: Data) -> Callable[[LoadState, events.Event], None]:
    """Prints a line and writes TensorBoard scalars for every event, and keeps a few label maps of every cycle."""

    def watch(state: LoadState, event: events.Event) -> None:
        say(sentence(event))
        run.write_scalars(state.propagation, event)
        if isinstance(event, events.Discriminator | events.CycleEnd):
            _keep_sets(run, data)

    return watch


SUCCESS = 0.001  # The article, section 6: an experiment that gains less than 0.1 point has failed.


def evaluate_best(config: Config, run: Run, judge: Evaluator, data: Data, baseline: Metrics, state: LoadState) -> None:
    """Evaluates g* on the whole evaluation split, logs the result and shows the gain per class."""
    confusion = _confusion(run, judge, data.evaluation, f'best model {state.g_best}')
    metrics = summarise(confusion)
    result = events.Result(
        holdout_miou=state.mu_best,
        val_miou=metrics.miou,
        per_class=dict(zip(data.spec.classes, metrics.per_class, strict=True)),
        baseline_val_miou=baseline.miou,
        divergences=state.divergences,
        step_backs=state.cycle,
        cycles=state.cycle,
        success=metrics.miou - baseline.miou >= SUCCESS,
        stopped_by=stopped_by(state, config.limits()) or 'diverged',  # Only without cycles there is no step back.
    )
    record = run.directory.read_state()
    if 'result' not in record:
        _write_samples(run, judge, data, 'best')
        length = run.directory.append(result)
        run.directory.amend_state(result=result.record(), best=confusion.tolist(), events_bytes=length)
        run.write_scalars(state.propagation, result)
    name = algorithm_name(config.algorithm, config.adversarial_weight)
    say(metrics_table(data.spec.classes, {'baseline': baseline, name: metrics}))
    gain = 100 * (metrics.miou - baseline.miou)
    cost = f'{state.propagation} propagations, {state.cycle} cycles ({state.divergences} diverged)'
    say(f'{name} after {cost}: {gain:+.2f} points of mIoU on {data.spec.evaluation_split}.')


def report(run: Run) -> None:
    """Writes the run's own report into its folder."""
    path = run.directory.path
    run.distribution.by_chief(lambda: _write_report(path))


def _write_report(path: pathlib.Path) -> None:
    write_report([read_run(path)], path / 'report', unbound=options.NEUTRAL, arm_options=options.arm_options())


def _remove_unrecorded(folder: pathlib.Path, last: str) -> None:
    """Removes the versions after the last recorded one: of a start that was killed before it could record it."""
    versions = [path for path in folder.glob('*') if path.name.isdigit()]
    for path in versions:
        if int(path.name) > int(last):
            files.remove(path)


def export(config: Config, run: Run, segmentor: keras.Model, data: Data, best: str) -> None:
    """Exports the segmentor as a SavedModel, unless it already is, and says where everything is."""
    path = run.directory.path
    record = run.directory.read_state()
    chosen = ExportOptions(config.export, config.export_tiles, config.export_portable, config.export_batched)
    asked = {
        **dataclasses.asdict(chosen),
        'formats': list(chosen.formats),
        'resize': config.resize and [*config.resize],
    }
    wanted = {'snapshot': best, 'options': asked}
    if {key: record.get('exported', {}).get(key) for key in wanted} != wanted:
        last = record.get('exported', {}).get('version', '0')
        version = run.distribution.by_chief(lambda: _export_version(path / 'export', last, segmentor, data, chosen))
        record['exported'] = {**wanted, 'version': version}
        run.directory.amend_state(exported=record['exported'])
    places = {
        'best model (TF1 checkpoint)': run.directory.prefix(best),
        'SavedModel': path / 'export' / record['exported']['version'],
        'events': path / 'events.jsonl',
        'options': path / 'config.json',
        **({} if config.algorithm == 'pixelwise' else {'label maps': path / 'buffer'}),
        'report': path / 'report',
        'TensorBoard': path / 'tensorboard',
    }
    say('\n'.join(f'{what}: {where}' for what, where in places.items()))


def _export_version(folder: pathlib.Path, last: str, segmentor: keras.Model, data: Data, chosen: ExportOptions) -> str:
    """Exports a new version after the last recorded one, says how its formats agree, and gives its name."""
    _remove_unrecorded(folder, last)
    version = serving.export(
        segmentor,
        folder,
        crop_size=data.eval_crop_size,
        output_stride=strides(segmentor)[0],
        spec=data.spec,
        resize=data.train.resize,
        options=chosen,
        sources=Sources(calibration=data.train, comparison=data.holdout),
    )
    if agreements := serving.read_agreements(version):
        say(agreement_table(agreements))
    return version.name
