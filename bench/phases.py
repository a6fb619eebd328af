"""What looking ahead and input add to the network's own work: `python -m bench.phases OPTIONS`.

The options are those of the main job, such as --dataset=stanford_background --manual_dir=... --train_crop_size=321,321
--eval_crop_size=321,321 --model_variant=mobilenet_v2; --pixelwise_epochs=1 stands for a checkpoint, as no weight is
looked at. Each piece of work takes turns with what it cannot do without (A B A B), on batches that lie in memory:
evaluation of the hold-out, and making label maps, with the forward passes; a whole propagation, with its steps and the
forward passes over the hold-out, with what saving takes and without. Reading stored maps takes turns with making them.
So do steps of training that have their batches made beside them, and the making of the batches by itself, once it is
under way, with the same steps on batches in memory. Shown are the medians of seconds and of the turns' ratios.
"""

import dataclasses
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable

import numpy as np
import tensorflow as tf

from bench import networks as processors
from deeplab_load import networks, stages
from deeplab_load.commands import run_command
from deeplab_load.config import Config
from deeplab_load.data import label_maps
from deeplab_load.data.batches import PREFETCHED, discriminator_batches, evaluation_batches, training_batches
from deeplab_load.data.examples import Examples, decoded_once
from deeplab_load.lookahead.buffer import MapSet
from deeplab_load.lookahead.state import PROPAGATE, Limits, LoadState
from deeplab_load.models.foreign import padding_colour
from deeplab_load.training.lookahead import run_lookahead
from deeplab_load.training.momentum import Momentum
from deeplab_load.training.players import TensorFlowPlayers, TrainingData
from deeplab_load.training.steps import pixelwise_step
from deeplab_load.training.stopping import Stopped

TURNS = 9
STEPS = 10  # of training a turn
Work = Callable[[], object]


def seconds(work: Work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def take_turns(name: str, work: Work, least: Work, turns: int = TURNS) -> None:
    tell(name, [(seconds(work), seconds(least)) for _ in range(turns)])


def tell(name: str, times: list[tuple[float, float]]) -> None:
    ours, theirs = zip(*times, strict=True)
    ratio = statistics.median(a / b for a, b in times)
    print(f'{name:52s} {statistics.median(ours):9.3f} s {statistics.median(theirs):9.3f} s  {ratio:8.3f}', flush=True)


def forward(players: TensorFlowPlayers, examples: Examples) -> Work:
    """The forward passes over examples, argmax included, on batches in memory."""
    judge = players.evaluator
    options = {'crop_size': judge.crop_size, 'batch_size': judge.batch_size, 'colour': judge.colour}
    batches = [batch['image'] for batch in evaluation_batches(examples, **options)]
    return lambda: [judge._predict(images) for images in batches]


def players_of(config: Config, run: stages.Run) -> TensorFlowPlayers:
    segmentor, _ = networks.build_segmentor(config, run.directory)
    data = stages.prepare_data(config, run)
    hold = decoded_once(data.holdout, run.directory.cache / 'holdout')
    judge = stages.evaluator(config, run, segmentor, data)
    seen = TrainingData(train=data.train, holdout=hold, crop_size=data.train_crop_size)
    discriminator = networks.build_discriminator(config, run.directory)
    trainer = stages._discriminator_trainer(config, discriminator, judge.num_classes, run.distribution)
    options = stages._adversarial_options(config)
    return TensorFlowPlayers(segmentor, trainer, judge, seen, options, run.directory, run.stop, save_every=100)


def windows(players: TensorFlowPlayers, batch_size: int, **how) -> Iterable[dict]:
    colour = padding_colour(players.segmentor)
    data = players.data
    return training_batches(data.train, crop_size=data.crop_size, batch_size=batch_size, seed=0, colour=colour, **how)


def measure_maps(players: TensorFlowPlayers) -> label_maps.LabelMapSet:
    numbers = iter(range(10**6))
    sets: list[label_maps.LabelMapSet] = []

    def make() -> None:
        name = f'end-{next(numbers)}'
        players.make_maps(MapSet(name, 'g0'))
        sets.append(label_maps.read_set(players.run.buffer, name))

    both = [forward(players, examples) for examples in (players.data.train, players.data.holdout)]
    take_turns('label maps made and stored / forward passes', make, lambda: [work() for work in both], turns=5)

    def read() -> None:
        stored = label_maps.read_set(players.run.buffer, sets[-1].name)
        for split in ('train', 'holdout'):
            for row in range(len(stored.ids(split))):
                stored.read(split, row)

    take_turns('label maps made and stored / checked and read', make, read, turns=2)
    return sets[-1]


def measure_propagation(players: TensorFlowPlayers, run: stages.Run) -> None:
    steps = players.options.steps_per_propagation
    in_memory = list(itertools.islice(windows(players, players.options.batch_size), steps))
    over_holdout = forward(players, players.data.holdout)

    def least() -> None:
        for batch in in_memory:
            np.asarray(players._step(batch['image'], batch['label']).finite)
        over_holdout()

    state = dataclasses.replace(LoadState.initial(0.5), phase=PROPAGATE)
    run.directory.amend_state(load=state.to_json())
    limits = Limits(beta_l=1, beta_u=1, patience=10**6, peak_patience=1, max_cycles=1, buffer_size=2, total_cycles=0)
    times, began, saved = [], time.perf_counter(), 0.0

    def watch(*_: object) -> None:
        nonlocal began, saved
        spent, saving = time.perf_counter() - began, players.stopwatch.seconds['saving']
        times.append((spent, spent - (saving - saved), seconds(least)))
        run.stop.requested = len(times) > TURNS + 1
        began, saved = time.perf_counter(), saving

    try:
        run_lookahead(players, limits, run.directory, watch=watch, stop=run.stop)
    except Stopped:
        whole, unsaved, needed = zip(*times[2:], strict=True)  # In the first two, functions are traced.
        tell('propagation / its steps and forward passes', list(zip(whole, needed, strict=True)))
        tell('propagation without saving / the same', list(zip(unsaved, needed, strict=True)))


def measure_input(name: str, batches: Callable[[], Iterable[dict]], step: Callable[[dict], object]) -> None:
    def train(batches: Iterable[dict]) -> None:
        for batch in batches:
            step(batch)

    def under_way(use: Callable[[Iterable[dict]], object]) -> float:
        """Seconds of using batches once those are used that were made while nobody waited."""
        made = iter(batches())
        use(itertools.islice(made, PREFETCHED + 1))
        return seconds(lambda: use(itertools.islice(made, STEPS)))

    stored = list(itertools.islice(batches(), STEPS))
    train(stored)  # Traced.
    beside = [(under_way(train), seconds(lambda: train(stored))) for _ in range(TURNS)]
    tell(f'{name}, batches made beside / in memory', beside)
    alone = [(under_way(list), seconds(lambda: train(stored))) for _ in range(3)]
    tell(f'batches made alone / {name}, in memory', alone)


def measure_inputs(config: Config, players: TensorFlowPlayers, maps: label_maps.LabelMapSet) -> None:
    segmentor, trainer, data = players.segmentor, players.trainer, players.data
    optimizer = Momentum(segmentor.trainable_variables, learning_rate=0.0, momentum=config.pixelwise_momentum)
    of_stage_1 = pixelwise_step(segmentor, optimizer, config, ignore_label=data.train.spec.ignore_label)
    measure_input(
        'steps of stage 1',
        lambda: windows(players, config.pixelwise_batch_size, scales=config.scales),
        lambda batch: of_stage_1(batch['image'], batch['label'], tf.constant(0)).losses.numpy(),
    )
    measure_input(
        'steps of g',
        lambda: windows(players, players.options.batch_size),
        lambda batch: float(players._step(batch['image'], batch['label']).ce),
    )
    measure_input(
        'steps of D',
        lambda: itertools.chain.from_iterable(
            discriminator_batches(
                data.train, [maps], crop_size=data.crop_size, batch_size=trainer.options.batch_size, seed=0,
                epoch=epoch, paired=trainer.options.paired, augment=True, colour=padding_colour(segmentor),
            )
            for epoch in itertools.count()
        ),
        lambda batch: float(trainer._train(batch).loss),
    )  # fmt: skip


def job(config: Config) -> None:
    with tempfile.TemporaryDirectory() as folder:
        config = dataclasses.replace(config, run_dir=f'{folder}/run')
        with stages.run_directory(config) as run:
            players = players_of(config, run)
            players.snapshot('g0')
            run.directory.write_state(run.directory.read_state(), snapshots=['g0'])
            count = f'{len(players.data.train)} training images, hold-out of {len(players.data.holdout)}'
            print(f'{processors.processor()}; {count}, windows of {players.evaluator.crop_size}')
            once = forward(players, players.data.holdout)
            players.evaluate(), once()
            take_turns('evaluation of the hold-out / forward passes', players.evaluate, once)
            maps = measure_maps(players)
            measure_inputs(config, players, maps)
            measure_propagation(players, run)


if __name__ == '__main__':
    run_command(Config, job)
