"""A step of g in several processes, and what a model of it tells: `python -m bench.scaling [--workers=1,2,4]`.

The model (docs/scaling.md): a step takes as long as its slice takes without the others, and then as long as the sums
of the gradients over the processes take by themselves. All processes share this machine's cores, so that the slices
together are the work of one device, in smaller pieces; what is checked is what being several costs.

A line of JSON for each number of processes: medians in seconds, their sum, and the ratio of a step to it.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import tensorflow as tf

from bench.training import CLASSES, MOMENTUM, NETWORK, RATE, windows
from deeplab_load import replicas
from deeplab_load.allocation import keep_freed_memory
from deeplab_load.data.batches import shares
from deeplab_load.models.deeplab import build_segmentor
from deeplab_load.models.discriminator import build_discriminator
from deeplab_load.training.devices import Devices
from deeplab_load.training.distribution import ONE_DEVICE, Distribution, open_distribution
from deeplab_load.training.momentum import Momentum
from deeplab_load.training.steps import adversarial_step
from tests.parity import start_workers

BATCH, TURNS = 4, 15
Work = Callable[[], object]


def step_of(distribution: Distribution, part: tuple[int, int]) -> tuple[Work, list[tf.Tensor]]:
    """The adversarial step of g on a part of a batch, and what its gradients are like."""
    with distribution.scope():
        segmentor, discriminator = build_segmentor(NETWORK), build_discriminator(CLASSES)
        optimizer = Momentum(segmentor.trainable_variables, momentum=MOMENTUM, learning_rate=RATE)
    step = distribution.replicated(
        adversarial_step(segmentor, discriminator, optimizer, adversarial_weight=1.0, straight_through=True)
    )
    first, last = shares(BATCH, part[1])[part[0]]
    images, labels = (values[first:last] for values in windows(BATCH))
    gradients = [tf.zeros_like(v.value) for v in optimizer.variables]
    return lambda: step(images, labels).ce.numpy(), gradients


def sums_of(distribution: Distribution, gradients: list[tf.Tensor]) -> Work:
    """The sums of a step by themselves: of the gradients, of two losses."""

    @tf.function
    def add_up() -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        return replicas.total(gradients), replicas.total([tf.zeros(()), tf.zeros(())])

    run = distribution.replicated(add_up)
    return lambda: run()[1][0].numpy()


def seconds(work: Work, together: Work) -> float:
    """The median time of the work, which all processes begin together."""
    work(), work()
    times = []
    for _ in range(TURNS):
        together()
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def measure() -> dict:
    """What this process, one of those of TF_CONFIG, measures."""
    keep_freed_memory()
    distribution = open_distribution(Devices(strategy='multi_worker'))
    together = sums_of(distribution, [tf.zeros(())])
    step, gradients = step_of(distribution, distribution.part)
    alone, _ = step_of(ONE_DEVICE, distribution.part)
    sums = sums_of(distribution, gradients)
    return {
        'step': seconds(step, together),
        'slice': seconds(alone, together),
        'sums': seconds(sums, together),
        'smallest_sums': seconds(together, together),
        'gradient_mb': sum(g.shape.num_elements() for g in gradients) * 4 / 1e6,
    }


def compare(workers: int) -> dict:
    """The slowest of so many processes in each respect."""
    command = [sys.executable, '-m', 'bench.scaling', '--measure']
    started = start_workers(command, workers, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    found = [json.loads(process.communicate()[0].splitlines()[-1]) for process in started]
    worst = {name: round(max(f[name] for f in found), 4) for name in found[0]}
    told = worst['slice'] + (worst['sums'] if workers > 1 else 0)
    return {'workers': workers, **worst, 'told': round(told, 4), 'step_by_told': round(worst['step'] / told, 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--workers', default='1,2,4')
    parser.add_argument('--measure', action='store_true', help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure()))
        return
    for workers in map(int, given.workers.split(',')):
        print(json.dumps(compare(workers)), flush=True)


if __name__ == '__main__':
    main()
