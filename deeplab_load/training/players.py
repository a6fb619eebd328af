"""The players of Algorithm 3 in TensorFlow: the segmentor g, the discriminator D and the data they see."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from deeplab_load.data import label_maps
from deeplab_load.data.batches import discriminator_batches, seen_examples, training_batches
from deeplab_load.data.examples import Examples
from deeplab_load.evaluation.evaluation import Evaluator
from deeplab_load.lookahead.algorithm import Losses, Retraining
from deeplab_load.lookahead.buffer import MapSet
from deeplab_load.metrics import summarise
from deeplab_load.models.foreign import padding_colour
from deeplab_load.reporting.progress import say
from deeplab_load.restore.names import named_variables
from deeplab_load.shortages import memory_for
from deeplab_load.training.discriminator import DiscriminatorTrainer
from deeplab_load.training.distribution import ONE_DEVICE, Distribution
from deeplab_load.training.durable import RunDirectory
from deeplab_load.training.momentum import Momentum
from deeplab_load.training.resumption import Resumption
from deeplab_load.training.steps import AdversarialOutcome, adversarial_step
from deeplab_load.training.stopping import StopSignal
from deeplab_load.training.stopwatch import Stopwatch

SLOT = '/Momentum'
MAPS_PER_SHARD = 128  # What a kill costs at most; less than a hold-out of the article's data sets.

Step = Callable[[tf.Tensor, tf.Tensor], AdversarialOutcome]


@dataclass(frozen=True)
class AdversarialOptions:
    """How g is trained in the adversarial stage; names as the flags."""

    learning_rate: float
    momentum: float
    batch_size: int
    weight: float
    straight_through: bool
    steps_per_propagation: int
    seed: int
    mixed_precision: bool = False
    keep_slots: bool = False
    fakes_of_seen: bool = False


@dataclass(frozen=True)
class TrainingData:
    """What the players see: the training images, the hold-out, and the window of training."""

    train: Examples
    holdout: Examples
    crop_size: tuple[int, int]


class TensorFlowPlayers:
    """g and D; implements `lookahead.algorithm.Players`. Only weights, slots and D's weights are its state."""

    def __init__(
        self,
        segmentor: keras.Model,
        trainer: DiscriminatorTrainer,
        evaluator: Evaluator,
        data: TrainingData,
        options: AdversarialOptions,
        run: RunDirectory,
        stop: StopSignal,
        *,
        save_every: int,
        distribution: Distribution = ONE_DEVICE,
    ):
        self.distribution = distribution
        self.segmentor, self.trainer, self.evaluator = segmentor, trainer, evaluator
        self.data, self.options, self.run, self.stop, self.save_every = data, options, run, stop, save_every
        with distribution.scope():
            self.optimizer = Momentum(
                segmentor.trainable_variables, learning_rate=options.learning_rate, momentum=options.momentum
            )
        self._step = distribution.replicated(self._make_step())
        self._variables = named_variables(segmentor)
        self._batches: Iterator[dict] = iter(())
        self._next_batch = -1
        self.keeps_slots = options.keep_slots
        self.stopwatch = Stopwatch()

    def _make_step(self, **more: Any) -> Step:
        """The step of g, with more of what `adversarial_step` takes."""
        return adversarial_step(
            self.segmentor,
            self.trainer.model,
            self.optimizer,
            adversarial_weight=self.options.weight,
            straight_through=self.options.straight_through,
            mixed_precision=self.options.mixed_precision,
            **more,
        )

    def propagate(self, propagation: int) -> Losses:
        """Trains g for `steps_per_propagation` steps; puts g back where a loss or a weight was not finite."""
        return self._take_steps(propagation)[0]

    @memory_for('training g', '--adversarial_batch_size or --train_crop_size')
    def _take_steps(self, propagation: int) -> tuple[Losses, list[AdversarialOutcome]]:
        with self.stopwatch('steps'):
            return self._try_steps(propagation)

    def _try_steps(self, propagation: int) -> tuple[Losses, list[AdversarialOutcome]]:
        before = [tf.convert_to_tensor(v) for v in self.segmentor.variables]
        steps, ce, adv, outcomes = self.options.steps_per_propagation, 0.0, 0.0, []
        for number in range(steps):
            batch = self._batch(propagation * steps + number)
            outcome = self._step(batch['image'], batch['label'])
            outcomes.append(outcome)
            ce, adv = ce + float(outcome.ce) / steps, adv + float(outcome.adv) / steps
            if not bool(outcome.finite):
                for variable, value in zip(self.segmentor.variables, before, strict=True):
                    variable.assign(value)
                self.optimizer.reset()  # The cycle ends here; nothing that is not finite may reach a snapshot.
                return Losses(ce=ce, adv=adv, finite=False), outcomes
        return Losses(ce=ce, adv=adv), outcomes

    def _batch(self, number: int) -> dict:
        if number != self._next_batch:
            batches = training_batches(
                self.data.train,
                crop_size=self.data.crop_size,
                batch_size=self.options.batch_size,
                seed=self.options.seed,
                first_batch=number,
                part=self.distribution.part,
                colour=padding_colour(self.segmentor),
            )
            self._batches = iter(batches)
        self._next_batch = number + 1
        return next(self._batches)

    def evaluate(self) -> float:
        """The mIoU of g on the hold-out, over the classes that occur in its ground truth."""
        with self.stopwatch('evaluation'):
            confusion = self.evaluator.confusion(self.data.holdout, 'hold-out', interruptible=False)
        return summarise(confusion).miou_present

    def snapshot(self, name: str) -> None:
        """Stores g as a TF1 checkpoint in the run directory."""
        with self.stopwatch('saving'):
            self.run.save_snapshot(name, self.weights())

    def restore(self, name: str) -> None:
        """Sets g to a snapshot and the momentum to zero, unless that is kept."""
        self._assign(self.run.read_snapshot(name))
        if not self.keeps_slots:
            self.optimizer.reset()

    def make_maps(self, map_set: MapSet) -> None:
        """Writes the label-map set of a snapshot: maps of the hold-out images and of all training images, or of those
        that the model has seen.
        """
        with self.stopwatch('maps'):
            self.restore(map_set.snapshot)
            name, shards, origin = map_set.name, self._shards(map_set), self._origin(map_set)
            if self.distribution.workers == 1:
                label_maps.write_set(self.run.buffer, name, shards, origin)
            elif not self.distribution.by_chief(lambda: label_maps.is_made(self.run.buffer, name, origin)):
                self._make_part(name, shards, origin)

    def _make_part(self, name: str, shards: list[label_maps.Shard], origin: label_maps.Origin) -> None:
        """Writes this worker's shards of a set, of N workers every N-th, which the chief then joins with the others'.

        The workers look together at whether to stop before each of their shards.
        """
        worker, workers = self.distribution.part
        looks = [self.stop.check] * -(-len(shards) // workers)

        def maps(shard: label_maps.Shard) -> Iterable[tuple[str, np.ndarray]]:
            looks.pop()()
            return shard.maps()

        own = [dataclasses.replace(s, maps=functools.partial(maps, s)) for s in shards[worker::workers]]
        if own:
            label_maps.write_set(self.run.buffer, label_maps.part_name(name, worker, workers), own, origin)
        for look in looks:
            look()
        parts = [label_maps.part_name(name, i, workers) for i in range(min(workers, len(shards)))]
        self.distribution.by_chief(lambda: str(label_maps.join_sets(self.run.buffer, name, parts, origin)))

    def _covered(self, map_set: MapSet) -> Sequence[int]:
        """The numbers of the training images that a set has maps of.

        g_0 has seen all; another model counts as having seen what the run had trained on when it was stored.
        """
        count = len(self.data.train)
        if not (self.options.fakes_of_seen and map_set.propagation):
            return range(count)
        batches = map_set.propagation * self.options.steps_per_propagation
        return seen_examples(count, seed=self.options.seed, batch_size=self.options.batch_size, batches=batches)

    def repair(self, map_set: MapSet) -> None:
        """Makes the damaged shards of a label-map set again, and says which; g is its snapshot afterwards.

        A set that is not there at all is made where it is needed.

        Raises:
          UserError: the snapshot that the set was made by is missing or damaged.
        """
        if not self._is_there(map_set):
            return
        self.restore(map_set.snapshot)
        name, shards, origin = map_set.name, self._shards(map_set), self._origin(map_set)
        made = self.distribution.by_chief(lambda: label_maps.repair_set(self.run.buffer, name, shards, origin))
        say(f'Label-map set {map_set.name}: {", ".join(made) or "nothing"} made again.')

    def _is_there(self, map_set: MapSet) -> bool:
        return self.distribution.by_chief(lambda: (self.run.buffer / map_set.name).exists())

    def _shards(self, map_set: MapSet) -> list[label_maps.Shard]:
        """The shards of g's maps, each evaluated by itself, so that any can be made again to the same bytes."""
        train = self.data.train.at(self._covered(map_set))
        return [
            label_maps.Shard(split, i, count, functools.partial(self._maps, examples, i, f'label maps, {split}'))
            for split, examples in (('train', train), ('holdout', self.data.holdout))
            for count in [-(-len(examples) // MAPS_PER_SHARD)]
            for i in range(count)
        ]

    def _maps(self, examples: Examples, shard: int, title: str) -> Iterator[tuple[str, np.ndarray]]:
        numbers = range(shard * MAPS_PER_SHARD, min((shard + 1) * MAPS_PER_SHARD, len(examples)))
        return self.evaluator.label_maps(examples.at(numbers), f'{title}, shard {shard}')

    def _origin(self, map_set: MapSet) -> label_maps.Origin:
        data = f'{self.data.train.fingerprint}-{self.data.holdout.fingerprint}'
        return label_maps.Origin(fingerprint(self.run.read_snapshot(map_set.snapshot)), data)

    def retrain_discriminator(self, cycle: int, sets: tuple[MapSet, ...]) -> Retraining:
        """Trains D on the training images' real maps and those of the sets."""
        options = self.trainer.options
        stored = [self._read_set(s) for s in sets]
        covered = {'train': [self._covered(s) for s in sets]}

        def batches(examples: Examples, split: str, epoch: int, first_batch: int, augment: bool) -> Iterable[dict]:
            return discriminator_batches(
                examples, stored, map_split=split, crop_size=self.data.crop_size, batch_size=options.batch_size,
                seed=self.options.seed, epoch=epoch, paired=options.paired, augment=augment, first_batch=first_batch,
                colour=padding_colour(self.segmentor), covered=covered.get(split), part=self.distribution.part,
            )  # fmt: skip

        with self.stopwatch('discriminator'):
            return self.trainer.retrain(
                cycle,
                training_batches=lambda epoch, first: batches(self.data.train, 'train', epoch, first, True),
                holdout_batches=lambda first: batches(self.data.holdout, 'holdout', 0, first, False),
                resumption=Resumption(
                    self.run,
                    f'discriminator-{cycle}',
                    self.trainer.variables(),
                    save_every=self.save_every,
                    stop=self.stop,
                ),
            )

    def _read_set(self, map_set: MapSet) -> label_maps.LabelMapSet:
        """Reads a set; makes it again where it was deleted."""
        if not self._is_there(map_set):
            self.make_maps(map_set)
        return label_maps.read_set(self.run.buffer, map_set.name, self._origin(map_set))

    def weights(self) -> dict[str, tf.Tensor]:
        """The values of g under their TF1 names."""
        return {name: tf.convert_to_tensor(variable) for name, variable in self._variables.items()}

    def _assign(self, values: dict[str, np.ndarray]) -> None:
        for name, variable in self._variables.items():
            variable.assign(values[name])

    def save_working_state(self, name: str) -> None:
        """Stores g and its momentum, so that the run can go on in the middle of a cycle."""
        self.run.save_snapshot(name, self._working_state())

    def restore_working_state(self, name: str) -> None:
        """Sets g and its momentum to what `save_working_state` stored."""
        self._assign_working_state(self.run.read_snapshot(name))

    def _working_state(self) -> dict[str, tf.Tensor]:
        return {**self.weights(), **{name: tf.convert_to_tensor(slot) for name, slot in self._slots()}}

    def _assign_working_state(self, values: dict[str, np.ndarray]) -> None:
        self._assign(values)
        for key, slot in self._slots():
            slot.assign(values[key])

    def _slots(self) -> Iterable[tuple[str, tf.Variable]]:
        names = {id(v): name for name, v in self._variables.items()}
        return [(names[id(v)] + SLOT, s) for v, s in zip(self.optimizer.variables, self.optimizer.slots, strict=True)]

    def save_discriminator(self, name: str) -> None:
        """Stores D, with its optimiser's slots where they are kept."""
        self.run.save_snapshot(name, {key: tf.convert_to_tensor(v) for key, v in self.trainer.kept_variables().items()})

    def restore_discriminator(self, name: str) -> None:
        """Sets D to what `save_discriminator` stored."""
        values = self.run.read_snapshot(name)
        for key, variable in self.trainer.kept_variables().items():
            variable.assign(values[key])


def fingerprint(values: dict[str, np.ndarray]) -> str:
    """A digest of named values."""
    digest = hashlib.sha256()
    for name in sorted(values):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(values[name]).tobytes())
    return digest.hexdigest()[:16]
