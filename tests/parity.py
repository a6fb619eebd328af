"""Ten steps of every training on numbers of devices or of processes, to compare their losses and what they train.

`python -m tests.parity` prints the table of docs/distribution.md: each training's largest relative difference of a loss
to one device's. `python -m tests.parity STRATEGY:REPLICAS,... BATCH FOLDER` prints a JSON object: for each strategy the
losses of each training and the norm of its variables, and the counts of an evaluation, in batches and image after
image. It prepares the built-in data set in FOLDER.
"""

import itertools
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from unittest import mock

STEPS = 10
DEADLINE = 600  # Seconds.
ROOT = pathlib.Path(__file__).parents[1]
CLASSES, CROP = 7, (65, 65)


def places(number):
    """A TF_CONFIG for each of so many workers on this machine."""
    sockets = [socket.socket() for _ in range(number)]
    for s in sockets:
        s.bind(('localhost', 0))
    cluster = {'worker': [f'localhost:{s.getsockname()[1]}' for s in sockets]}
    for s in sockets:
        s.close()
    return [json.dumps({'cluster': cluster, 'task': {'type': 'worker', 'index': i}}) for i in range(number)]


def start_workers(command, number, **options):
    """Starts a command as so many workers."""
    environments = [{**os.environ, 'TF_CONFIG': place} for place in places(number)]
    return [subprocess.Popen(command, cwd=ROOT, env=env, text=True, **options) for env in environments]


def measure(strategies, folder, *, processes=1, batch=4):
    """What each process says of the ten steps, for every strategy."""
    command = [sys.executable, '-m', 'tests.parity', ','.join(strategies), str(batch), str(folder)]
    started = start_workers(command, processes, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    outputs = [process.communicate(timeout=DEADLINE) for process in started]
    for process, (_, errors) in zip(started, outputs, strict=True):
        assert process.returncode == 0, errors
    return [json.loads(output.splitlines()[-1]) for output, _ in outputs]


def tabulate():
    """Prints the losses' differences to one device's, on replicas and on workers."""
    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        runs = [('one_device:1', 1), ('mirrored:2', 1), ('mirrored:4', 1), ('multi_worker:2', 2), ('multi_worker:4', 4)]
        found = {s: measure([s], folder, processes=number)[0][s]['trainings'] for s, number in runs}
    expected = found.pop('one_device:1')
    print('| training |', ' | '.join(found), '|')
    print('| --- |', ' | '.join('---' for _ in found), '|')
    for name, training in expected.items():
        losses = np.array(training['losses'])
        worst = [np.max(np.abs(np.array(other[name]['losses']) - losses) / np.abs(losses)) for other in found.values()]
        print(f'| {name} |', ' | '.join(f'{value:.1e}' for value in worst), '|')


def main(strategies, batch, folder):
    """Prints what this process finds with the strategies."""
    import tensorflow as tf

    tf.config.experimental.enable_op_determinism()
    print(json.dumps({strategy: _trained(strategy, int(batch), folder) for strategy in strategies.split(',')}))


def _trained(strategy, batch, folder):
    import keras

    from deeplab_load.data.preparation import prepare
    from deeplab_load.training.devices import Devices
    from deeplab_load.training.distribution import open_distribution

    keras.utils.set_random_seed(0)
    kind, replicas = strategy.split(':')
    distribution = open_distribution(Devices(strategy=kind, replicas=int(replicas) if kind == 'mirrored' else 0))
    examples = distribution.chief_first(lambda: prepare('shapes', data_dir=folder)).examples('train')
    trainings = {
        'stage 1': lambda: stage_1(distribution, examples, batch, fine_tune=False),
        'stage 1, batch norm': lambda: stage_1(distribution, examples, batch, fine_tune=True),
        'adversarial': lambda: adversarial(distribution, examples, batch, alternating=False),
        'alternating': lambda: adversarial(distribution, examples, batch, alternating=True),
        'discriminator': lambda: discriminator(distribution, examples, batch),
        'discriminator, one couple': lambda: one_couple(distribution, examples),
    }
    trained = {name: train() for name, train in trainings.items()}
    counts = [evaluation(distribution, examples, batch, singly) for singly in (False, True)]
    return {'trainings': trained, 'counts': counts}


def _report(losses, variables, seconds):
    import numpy as np

    norm = float(np.sqrt(sum((np.asarray(v.numpy(), np.float64) ** 2).sum() for v in variables)))
    return {'losses': losses, 'norm': norm, 'seconds': seconds}


def _timed(step, batches):
    """The losses of the steps, and the median of their seconds without the first."""
    losses, times = [], []
    for number, batch in enumerate(batches):
        start = time.perf_counter()
        losses.append(step(number, batch))
        times.append(time.perf_counter() - start)
    return losses, statistics.median(times[1:] or times)


def _segmentor(distribution, fine_tune, size=CROP):
    """A small network of DeepLab's layers: DeepLab itself takes long to trace on every replica."""
    import keras

    from deeplab_load.models.slim import ArgScope, biased_convolution, convolution, depthwise
    from deeplab_load.replicas import Dropout

    scope = ArgScope(activation='relu6', epsilon=1e-3, decay=0.9, frozen=not fine_tune, stddev=None, seed=1)
    with distribution.scope():
        image = keras.Input((*size, 3))
        x = convolution(keras.layers.Rescaling(1 / 128, -1)(image), 8, 'first', scope, kernel_size=3, stride=2)
        x = convolution(depthwise(x, 'second', scope, stride=2), 16, 'aspp0', scope)
        x = Dropout(0.1, seed=1, name='concat_projection_dropout')(x)
        return keras.Model(image, biased_convolution(x, CLASSES, 'logits.semantic', scope), name='segmentor')


def _batches(distribution, examples, batch):
    from deeplab_load.data.batches import training_batches

    batches = training_batches(examples, crop_size=CROP, batch_size=batch, seed=0, part=distribution.part)
    return itertools.islice(batches, STEPS)


def stage_1(distribution, examples, batch, *, fine_tune):
    import tensorflow as tf

    from deeplab_load.training.momentum import Momentum
    from deeplab_load.training.recipe import Recipe
    from deeplab_load.training.steps import pixelwise_step

    segmentor = _segmentor(distribution, fine_tune)
    with distribution.scope():
        optimizer = Momentum(segmentor.trainable_variables, learning_rate=0.01, momentum=0.9)
    recipe = Recipe(fine_tune_batch_norm=fine_tune, weight_decay=4e-5)
    step = distribution.replicated(pixelwise_step(segmentor, optimizer, recipe))
    losses, seconds = _timed(
        lambda n, b: float(step(b['image'], b['label'], tf.constant(n)).losses[0]),
        _batches(distribution, examples, batch),
    )
    return _report(losses, segmentor.variables, seconds)


def _discriminator(distribution):
    from deeplab_load.models.discriminator import build_discriminator

    with distribution.scope():
        return build_discriminator(
            CLASSES, network='cnn', size=32, alpha=0.25, dropout=0.3, seed=2, synchronised=distribution.replicas > 1
        )


def _trainer(distribution, model=None):
    from deeplab_load.training.discriminator import DiscriminatorOptions, DiscriminatorTrainer

    options = DiscriminatorOptions(learning_rate=0.01, batch_size=4, paired=True, patience=1, epochs=1)
    model = model or _discriminator(distribution)
    trainer = DiscriminatorTrainer(model, num_classes=CLASSES, options=options, seed=0, distribution=distribution)
    trainer.seed_dropout(1)
    return trainer


def adversarial(distribution, examples, batch, *, alternating):
    from deeplab_load.training.momentum import Momentum
    from deeplab_load.training.steps import adversarial_step, paired_step

    segmentor, trainer = _segmentor(distribution, False), _trainer(distribution)
    with distribution.scope():
        optimizer = Momentum(segmentor.trainable_variables, learning_rate=0.01, momentum=0.95)
    train = paired_step(trainer.model, trainer.optimizer) if alternating else None
    step = distribution.replicated(
        adversarial_step(
            segmentor,
            trainer.model,
            optimizer,
            adversarial_weight=1.0,
            straight_through=True,
            train_discriminator=train,
        )
    )

    def losses(number, batch):
        outcome = step(batch['image'], batch['label'])
        assert bool(outcome.finite)
        d = [float(outcome.discriminator.loss)] if alternating else []
        return [float(outcome.ce), float(outcome.adv), *d]

    found, seconds = _timed(losses, _batches(distribution, examples, batch))
    return _report(found, [*segmentor.variables, *trainer.model.variables], seconds)


def discriminator(distribution, examples, batch):
    few = examples.subset(examples.ids[: batch * STEPS - 1])  # The last batch is smaller by a couple.
    return _retrained(_trainer(distribution), distribution, few, batch)


def one_couple(distribution, examples):
    """One batch that leaves replicas without a row, of D with a depthwise convolution as MobileNet has."""
    import keras

    keras.utils.set_random_seed(0)
    with distribution.scope():
        layers = [
            keras.layers.Conv2D(8, 3, strides=2, activation='relu'),
            keras.layers.DepthwiseConv2D(3),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(1),
        ]
        model = keras.Sequential([keras.Input((32, 32, 3 * CLASSES)), *layers])
    return _retrained(_trainer(distribution, model), distribution, examples.subset(examples.ids[:1]), 4)


def evaluation(distribution, examples, batch, singly):
    """The confusion matrix of an untrained segmentor on three batches, of which the last has one image."""
    from deeplab_load.evaluation import evaluation as module

    size = (97, 129)
    segmentor = _segmentor(distribution, False, size)
    with mock.patch.object(module, 'is_faster_singly', return_value=singly):
        judge = module.Evaluator(segmentor, crop_size=size, batch_size=batch, distribution=distribution)
    return judge.confusion(examples.subset(examples.ids[: 2 * batch + 1])).tolist()


def _retrained(trainer, distribution, few, batch):
    import numpy as np
    import tensorflow as tf

    from deeplab_load.data.label_maps import Origin, Shard, read_set, write_set

    def maps():
        for index, name in enumerate(few.ids):
            truth = tf.io.decode_png(few.encoded(index)[1])[..., 0].numpy()
            yield name, np.where(truth == 255, 0, np.roll(truth, 9, axis=0)).astype(np.uint8)

    with tempfile.TemporaryDirectory() as buffer:
        write_set(buffer, 'fake', [Shard('train', 0, 1, maps)], Origin('model', 'data'))
        return _retrain(trainer, distribution, few, [read_set(buffer, 'fake', Origin('model', 'data'))], batch)


def _retrain(trainer, distribution, few, fakes, batch):
    from deeplab_load.data.batches import discriminator_batches

    how = {'crop_size': CROP, 'batch_size': 2 * batch, 'seed': 0, 'epoch': 0, 'paired': True, 'augment': True}
    batches = discriminator_batches(few, fakes, **how, part=distribution.part)
    losses, seconds = _timed(lambda n, b: float(trainer._train(b).loss), batches)
    return _report(losses, trainer.model.variables, seconds)


if __name__ == '__main__':
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
    if sys.argv[1:]:
        main(*sys.argv[1:])
    else:
        tabulate()
