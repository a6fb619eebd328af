"""Training steps beside the same steps without what makes them fast: `python -m bench.training [--turns=15]`.

- The adversarial step of g (λ > 0, D the article's MobileNet), or with frozen batch norm as layers and nothing compiled
  by XLA.
- The same step with λ = 0, cross-entropy alone; and that in PyTorch, eager, with batch norm layers, where it is
  installed.
- The step of stage 1, frozen batch norm folded as well, or in layers.
- The step of D: its first convolution computed from image and labels, batch norm compiled and most maps made again; or
  the image split by class in the graph, and Keras' layers.

Each kind has a process of its own, and they take turns (A B A B) on the same batches in memory; the others wait. Ours
keeps what is freed, and gives back what compiling took, as the commands do. A line of JSON for each tells percentiles
of the seconds, the median as a multiple of ours, and what the process's memory grows by from before building to the
peak of all steps once it is traced, and to that of building, tracing and compiling it.
"""

import argparse
import contextlib
import functools
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from unittest import mock

import keras
import numpy as np
import tensorflow as tf

from bench.inference import resident
from deeplab_load import losses
from deeplab_load.allocation import give_back_freed_memory, keep_freed_memory
from deeplab_load.catalog import Architecture
from deeplab_load.models import discriminator as d
from deeplab_load.models.deeplab import build_segmentor
from deeplab_load.models.slim import resize_bilinear
from deeplab_load.serving import onnx
from deeplab_load.serving.network import OTHERS, folded, frozen
from deeplab_load.training import objective, steps
from deeplab_load.training.momentum import Momentum
from deeplab_load.training.recipe import Recipe

CLASSES, SIDE, BATCH, OF_D = 21, 321, 5, 16
RATE, MOMENTUM = 1e-6, 0.95
NETWORK = Architecture('mobilenet_v2', CLASSES, 16, atrous_rates=(6, 12, 18), decoder_output_stride=4)
Step = Callable[[], object]


def of_segmentor(adversarial_weight: float) -> Step:
    """A step of g on a batch of 5."""
    segmentor = build_segmentor(NETWORK)
    discriminator = d.build_discriminator(CLASSES)
    optimizer = Momentum(segmentor.trainable_variables, momentum=MOMENTUM, learning_rate=RATE)
    step = steps.adversarial_step(
        segmentor, discriminator, optimizer, adversarial_weight=adversarial_weight, straight_through=True
    )
    images, labels = windows(BATCH)
    return lambda: step(images, labels).ce.numpy()


def of_stage_1() -> Step:
    """A step of stage 1 on a batch of 5, batch norm frozen as the article has it."""
    segmentor = build_segmentor(NETWORK)
    optimizer = Momentum(segmentor.trainable_variables, momentum=MOMENTUM, learning_rate=RATE)
    step = steps.pixelwise_step(segmentor, optimizer, Recipe())
    images, labels = windows(BATCH)
    return lambda: step(images, labels, tf.constant(0)).losses.numpy()


def in_torch() -> Step:
    """A step of g on cross-entropy alone, in PyTorch."""
    from bench.torch_network import trained

    crop = (SIDE, SIDE)
    model = onnx.convert(frozen(folded(build_segmentor(NETWORK, crop_size=crop), largest_rate=OTHERS), crop), crop)
    step = trained(model, len(os.sched_getaffinity(0)), learning_rate=RATE, momentum=MOMENTUM)
    images, labels = (values.numpy() for values in windows(BATCH))
    return lambda: step(images, labels)


def of_discriminator() -> Step:
    """A step of D on a batch of 16 maps."""
    model = d.build_discriminator(CLASSES)
    train, _ = steps.discriminator_steps(model, keras.optimizers.Adagrad(0.01), num_classes=CLASSES)
    images, labels = windows(OF_D)
    real = tf.constant([1.0, 0.0] * (OF_D // 2))
    batch = {'image': images, 'label_map': labels, 'ground_truth': labels, 'real': real, 'weight': tf.ones(OF_D)}
    return lambda: train(batch).loss.numpy()


def windows(batch: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Noise, and label maps of squares of 32 pixels."""
    random = np.random.default_rng(0)
    squares = random.integers(0, CLASSES, (batch, SIDE // 32 + 1, SIDE // 32 + 1), np.uint8)
    labels = squares.repeat(32, axis=1).repeat(32, axis=2)[:, :SIDE, :SIDE]
    return tf.constant(random.uniform(0, 255, (batch, SIDE, SIDE, 3)), tf.float32), tf.constant(labels)


@contextlib.contextmanager
def plainly() -> Iterator[None]:
    """Batch norm stays in its layers, D sees the split, and nothing is compiled by XLA."""

    def in_tensorflow(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)

    def on_labels(model: keras.Model, num_classes: int) -> Callable:
        return lambda images, labels, training: model(
            d.input_of(model, images, tf.one_hot(labels, num_classes)), training=training
        )

    def as_it_is(g: keras.Model, **how: bool) -> keras.Model:
        return g

    layers = {
        'in_training': as_it_is,
        'folded_in_inference': lambda model: model,
        'on_labels': on_labels,
    }
    with (
        mock.patch.multiple(objective, in_training=as_it_is, enlarge=resize_bilinear),
        mock.patch.multiple(steps, **layers, enlarge=resize_bilinear),
        mock.patch.multiple(d, class_split=d.class_split.python_function, enlarge=resize_bilinear),
        mock.patch.object(losses, 'softmax_cross_entropy', in_tensorflow),
    ):
        yield


STEPS: dict[str, Callable[[], Step]] = {
    'g': functools.partial(of_segmentor, 1.0),
    'g, cross-entropy': functools.partial(of_segmentor, 0.0),
    'stage 1': of_stage_1,
    'D': of_discriminator,
}
KINDS: dict[str, Callable] = {'ours': contextlib.nullcontext, 'plain': plainly}


def built(title: str, kind: str) -> Step:
    """A step, traced."""
    with KINDS.get(kind, contextlib.nullcontext)():
        step = in_torch() if kind == 'torch' else STEPS[title]()
        step()
    return step


def kinds_of(title: str) -> list[str]:
    """The kinds that a step has here."""
    has_torch = title == 'g, cross-entropy' and importlib.util.find_spec('torch')
    return [*KINDS, *(['torch'] if has_torch else [])]


class Process:
    """A step in a process of its own."""

    def __init__(self, title: str, kind: str):
        command = [sys.executable, '-m', 'bench.training', f'--serve={title}|{kind}']
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
        self._answer()

    def seconds(self) -> float:
        """Takes the step once."""
        print('step', file=self._process.stdin, flush=True)
        return self._answer()

    def memory(self) -> tuple[int, int]:
        """Ends the process; what its memory grew by in a step and in making it, in MB."""
        self._process.stdin.close()
        return int(self._answer()), int(self._answer())

    def _answer(self) -> float:
        for line in self._process.stdout:
            if line.startswith(ANSWER):
                return float(line.removeprefix(ANSWER))
        raise RuntimeError(f'{self._process.args} ended with status {self._process.wait()}')


ANSWER = 'answer: '


def serve(title: str, kind: str) -> None:
    """Takes the step for each line that comes, and tells the seconds; at the end how memory grew, in MB."""
    if kind == 'ours':
        keep_freed_memory()
    before = resident('VmRSS')
    step = built(title, kind)
    making = resident('VmHWM') - before
    if kind == 'ours':
        give_back_freed_memory()
    pathlib.Path('/proc/self/clear_refs').write_text('5')  # The peak counts from here.
    step()
    print(f'{ANSWER}0', flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        step()
        print(f'{ANSWER}{time.perf_counter() - began}', flush=True)
    print(f'{ANSWER}{resident("VmHWM") - before}', flush=True)
    print(f'{ANSWER}{making}', flush=True)


def compare(title: str, turns: int) -> list[dict]:
    """A row for each kind of a step."""
    processes = {kind: Process(title, kind) for kind in kinds_of(title)}
    times: dict[str, list[float]] = {kind: [] for kind in processes}
    for _ in range(turns):
        for kind, process in processes.items():
            times[kind].append(process.seconds())
    return [
        {
            'step': title,
            'kind': kind,
            **{f'p{p}_s': round(float(np.percentile(spent, p)), 3) for p in (10, 50, 90)},
            'times_ours': round(float(np.median(spent) / np.median(times['ours'])), 3),
            **dict(zip(('memory_mb', 'making_mb'), processes[kind].memory(), strict=True)),
        }
        for kind, spent in times.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--turns', type=int, default=15)
    parser.add_argument('--serve', help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(*given.serve.split('|'))
        return
    for title in STEPS:
        for row in compare(title, given.turns):
            print(json.dumps(row), flush=True)


if __name__ == '__main__':
    main()
