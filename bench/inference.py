"""Inference side by side: `python -m bench.inference [--networks=...] [--runtimes=...] [--batches=1,8] [--turns=15]`.

Every runtime gets the same images at 513x513 and gives label maps at that size. They take turns (A B A B), and so does
a matrix multiplication. A line of JSON for each tells percentiles of the time for a batch; its median as a multiple of
ours; the share of the multiplication's speed (sgemm) at which it does the network's convolutions; the pixels that have
our label, of all and of the clear ones; the size of the model's file; and the memory that a process takes to build and
run it, beyond TensorFlow and the Keras model. Runtimes that are not installed are left out and named.
DEEPLAB_LOAD_TESTDATA adds the published frozen graph and its weights.

A pixel is clear where the best class leads the second by more than 1e-3 of the logits' range. Below, float32's rounding
decides: these networks are random and the images noise, so that many pixels are near a tie, and 65 layers amplify a
rounding of 1e-7 to 1e-4 of the range. Which runtime rounds, and in what order, then tells the label.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from bench import networks
from deeplab_load.data.specs import PASCAL_VOC
from deeplab_load.models.inference import label_maps, upsampled_logits
from deeplab_load.serving import litert, onnx
from deeplab_load.serving.export import export
from deeplab_load.serving.network import OTHERS, folded, frozen

CROP = networks.CROP
SIDE = 2048
CORES = len(os.sched_getaffinity(0))
CLEAR = 1e-3
Run = Callable[[np.ndarray], np.ndarray]


class Built(NamedTuple):
    """A network in a runtime: from uint8 images [batch, *CROP, 3] to label maps; the MB of its file, if it has one."""

    run: Run
    megabytes: float | None = None


def ours(network: networks.Case) -> Built:
    """The exported SavedModel."""
    with tempfile.TemporaryDirectory() as folder:
        path = export(network.segmentor, folder, crop_size=CROP, output_stride=network.output_stride, spec=PASCAL_VOC)
        return Built(served(path), (path / 'saved_model.pb').stat().st_size / 1e6)


def served(version: pathlib.Path) -> Run:
    """A SavedModel as TensorFlow serves it."""
    serve = tf.saved_model.load(str(version)).signatures['serving_default']
    return lambda images: serve(ImageTensor=tf.constant(images))['SemanticPredictions'].numpy()


def plain(network: networks.Case) -> Built:
    """The Keras model in a tf.function, as the package runs it in Python."""

    @tf.function
    def segment(images: tf.Tensor) -> tf.Tensor:
        return label_maps(network.segmentor, images, crop_size=CROP, output_stride=network.output_stride)

    return Built(lambda images: segment(tf.constant(images)).numpy())


def frozen_graph(network: networks.Case) -> Built:
    """The graph that the original exported; it takes one image."""
    graph, file = tf.Graph(), network.frozen_graph.read_bytes()
    with graph.as_default():
        tf.graph_util.import_graph_def(tf.compat.v1.GraphDef.FromString(file), name='')
    session = tf.compat.v1.Session(graph=graph)
    return Built(lambda images: session.run('SemanticPredictions:0', {'ImageTensor:0': images}), len(file) / 1e6)


def _constant(network: networks.Case):
    return frozen(folded(network.segmentor, largest_rate=OTHERS), CROP)


def lite(network: networks.Case) -> Built:
    """LiteRT in float32, with XNNPACK; one image after the other."""
    model = litert.convert(_constant(network), CROP, 'float32')
    run = litert.runner(model, CORES)
    return Built(
        lambda images: np.concatenate([run(image[np.newaxis].astype(np.float32)) for image in images]),
        len(model) / 1e6,
    )


def onnxruntime(network: networks.Case) -> Built:
    """ONNX in onnxruntime."""
    model = onnx.convert(_constant(network), CROP)
    run = onnx.runner(model, CORES)
    return Built(lambda images: run(images.astype(np.float32)), len(model) / 1e6)


def openvino(network: networks.Case) -> Built:
    """ONNX in OpenVINO, kept from computing in bfloat16."""
    import openvino

    core = openvino.Core()
    options = {'INFERENCE_PRECISION_HINT': 'f32', 'INFERENCE_NUM_THREADS': CORES}
    model = onnx.convert(_constant(network), CROP)
    compiled = core.compile_model(core.read_model(model), 'CPU', options)
    return Built(lambda images: compiled(images.astype(np.float32))['SemanticPredictions'], len(model) / 1e6)


def torch(network: networks.Case) -> Built:
    """The same operations in PyTorch, traced and optimised for inference."""
    from bench.torch_network import traced

    return Built(traced(onnx.convert(_constant(network), CROP), CORES))


RUNTIMES = {
    'ours': (ours, 'tensorflow'),
    'frozen graph': (frozen_graph, 'tensorflow'),
    'tf.function': (plain, 'tensorflow'),
    'litert': (lite, 'ai_edge_litert'),
    'onnxruntime': (onnxruntime, 'onnxruntime'),
    'openvino': (openvino, 'openvino'),
    'torch': (torch, 'torch'),
}


def images_of(batch: int) -> np.ndarray:
    """Smooth noise, uint8 [batch, height, width, 3]: areas and edges, as label maps of photographs have."""
    coarse = tf.random.stateless_uniform([batch, 9, 9, 3], [1, 2], 0, 255)
    return tf.cast(tf.clip_by_value(tf.image.resize(coarse, CROP, 'bicubic'), 0, 255), tf.uint8).numpy()


def multiplication() -> Run:
    """A matrix multiplication of the machine's best speed, whatever it is given."""
    a, b = (tf.random.stateless_normal([SIDE, SIDE], [1, seed]) for seed in (1, 2))
    return lambda _: tf.matmul(a, b).numpy()


def measure(runs: dict[str, Run], images: np.ndarray, turns: int) -> dict[str, np.ndarray]:
    """Seconds of each turn by runtime, turns interleaved, after two turns that do not count."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(-2, turns):
        for name, run in runs.items():
            start = time.perf_counter()
            run(images)
            if turn >= 0:
                times[name].append(time.perf_counter() - start)
    return {name: np.array(spent) for name, spent in times.items()}


def percentiles(spent: np.ndarray) -> dict[str, float]:
    """Milliseconds of a runtime's turns."""
    return {f'p{p}_ms': round(1e3 * float(np.percentile(spent, p)), 1) for p in (10, 50, 90, 99)}


def clear_pixels(case: networks.Case, images: np.ndarray) -> np.ndarray:
    """Where the model's best class leads by more than `CLEAR` of its logits' range: bool [batch, *CROP]."""

    @tf.function
    def lead(image: tf.Tensor) -> tf.Tensor:
        logits = upsampled_logits(case.segmentor(tf.cast(image, tf.float32)), CROP)
        best = tf.math.top_k(logits, 2).values
        return (best[..., 0] - best[..., 1]) / (tf.reduce_max(logits) - tf.reduce_min(logits))

    return np.concatenate([lead(tf.constant(image[np.newaxis])).numpy() > CLEAR for image in images])


def memory(network: str, runtime: str, batch: int) -> int:
    """What `print_memory_of` says in a process of its own."""
    command = [sys.executable, '-m', 'bench.inference', f'--memory_of={network}|{runtime}|{batch}']
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def print_memory_of(network: str, runtime: str, batch: str) -> None:
    """Prints the growth of the resident memory in MB, from before building to the peak of running."""
    case, images = networks.build(network), images_of(int(batch))
    before = resident('VmRSS')
    run = RUNTIMES[runtime][0](case).run
    pathlib.Path('/proc/self/clear_refs').write_text('5')  # The peak counts from here.
    run(images)
    run(images)
    print(resident('VmHWM') - before)


def resident(field: str) -> int:
    """The process's resident memory in MB, now (VmRSS) or at its peak (VmHWM)."""
    lines = pathlib.Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) // 1024


def chosen(case: networks.Case, wanted: list[str], batch: int) -> dict[str, Built]:
    """What can run this network at this batch, built."""
    absent = {name for name in wanted if not importlib.util.find_spec(RUNTIMES[name][1])}
    if case.frozen_graph is None or batch > 1:
        absent.add('frozen graph')
    return {name: RUNTIMES[name][0](case) for name in wanted if name not in absent}


def compare(title: str, wanted: list[str], batch: int, turns: int, *, with_memory: bool) -> list[dict]:
    """One row for each runtime."""
    case, images = networks.build(title), images_of(batch)
    built = chosen(case, wanted, batch)
    runs, clear = {name: found.run for name, found in built.items()}, clear_pixels(case, images)
    maps = {name: run(images) for name, run in runs.items()}
    times = measure({**runs, 'sgemm': multiplication()}, images, turns)
    peak = 2 * SIDE**3 / np.median(times.pop('sgemm'))
    work = batch * networks.convolution_operations(_constant(case).get_concrete_function().graph)
    reference = next(iter(runs))
    return [
        {
            'network': title,
            'batch': batch,
            'runtime': name,
            **percentiles(spent),
            f'times_{reference}': round(float(np.median(spent) / np.median(times[reference])), 3),
            'sgemm_share': round(float(work / np.median(spent) / peak), 3),
            'same_labels': round(float(np.mean(maps[name] == maps[reference])), 6),
            'same_clear_labels': round(float(np.mean((maps[name] == maps[reference])[clear])), 6),
            'clear': round(float(np.mean(clear)), 4),
            'file_mb': built[name].megabytes and round(built[name].megabytes, 2),
            'memory_mb': memory(title, name, batch) if with_memory else None,
        }
        for name, spent in times.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--networks', default=','.join(networks.names()))
    parser.add_argument('--runtimes', default=','.join(RUNTIMES))
    parser.add_argument('--batches', default='1,8')
    parser.add_argument('--turns', type=int, default=15)
    parser.add_argument('--without_memory', action='store_true', help='spare the processes that tell the memory')
    parser.add_argument('--memory_of', help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.memory_of:
        print_memory_of(*given.memory_of.split('|'))
        return
    wanted = given.runtimes.split(',')
    installed = {name: bool(importlib.util.find_spec(RUNTIMES[name][1])) for name in wanted}
    facts = {'machine': networks.processor(), 'cores': CORES}
    facts |= {'tensorflow': tf.__version__, 'python': platform.python_version()}
    print(json.dumps({**facts, 'not_installed': [name for name in wanted if not installed[name]]}), flush=True)
    for title in given.networks.split(','):
        for batch in map(int, given.batches.split(',')):
            for row in compare(title, wanted, batch, given.turns, with_memory=not given.without_memory):
                print(json.dumps(row), flush=True)


if __name__ == '__main__':
    main()
