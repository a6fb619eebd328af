"""Inference side by side: `python -m bench.inference [--networks=...] [--runtimes=...] [--batches=1,8] [--turns=15]`.

Every runtime gets the same images at 513x513 and gives label maps at that size. They take turns (A B A B), and so does
a matrix multiplication. A line of JSON for each tells percentiles of the time for a batch; its median as a multiple of
ours; the share of the multiplication's speed (sgemm) at which it does the network's convolutions; the pixels that have
our label; and the memory that a process takes to build and run it, beyond TensorFlow and the Keras model. Runtimes that
are not installed are left out and named. DEEPLAB_LOAD_TESTDATA adds the published frozen graph and its weights.
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

import numpy as np
import tensorflow as tf

from bench import networks
from deeplab_load.data.specs import PASCAL_VOC
from deeplab_load.models.inference import label_maps
from deeplab_load.serving import litert, onnx
from deeplab_load.serving.export import export
from deeplab_load.serving.network import OTHERS, folded, frozen

CROP = networks.CROP
SIDE = 2048
CORES = len(os.sched_getaffinity(0))
Run = Callable[[np.ndarray], np.ndarray]


def ours(network: networks.Case) -> Run:
    """The exported SavedModel."""
    with tempfile.TemporaryDirectory() as folder:
        path = export(network.segmentor, folder, crop_size=CROP, output_stride=network.output_stride, spec=PASCAL_VOC)
        serve = tf.saved_model.load(str(path)).signatures['serving_default']
    return lambda images: serve(ImageTensor=tf.constant(images))['SemanticPredictions'].numpy()


def plain(network: networks.Case) -> Run:
    """The Keras model in a tf.function, as the package runs it in Python."""

    @tf.function
    def segment(images: tf.Tensor) -> tf.Tensor:
        return label_maps(network.segmentor, images, crop_size=CROP, output_stride=network.output_stride)

    return lambda images: segment(tf.constant(images)).numpy()


def frozen_graph(network: networks.Case) -> Run:
    """The graph that the original exported; it takes one image."""
    graph = tf.Graph()
    with graph.as_default():
        tf.graph_util.import_graph_def(tf.compat.v1.GraphDef.FromString(network.frozen_graph.read_bytes()), name='')
    session = tf.compat.v1.Session(graph=graph)
    return lambda images: session.run('SemanticPredictions:0', {'ImageTensor:0': images})


def _constant(network: networks.Case):
    return frozen(folded(network.segmentor, largest_rate=OTHERS), CROP)


def lite(network: networks.Case) -> Run:
    """LiteRT in float32, with XNNPACK; one image after the other."""
    run = litert.runner(litert.convert(_constant(network), CROP, 'float32'), CORES)
    return lambda images: np.concatenate([run(image[np.newaxis].astype(np.float32)) for image in images])


def onnxruntime(network: networks.Case) -> Run:
    """ONNX in onnxruntime."""
    run = onnx.runner(onnx.convert(_constant(network), CROP), CORES)
    return lambda images: run(images.astype(np.float32))


def openvino(network: networks.Case) -> Run:
    """ONNX in OpenVINO, kept from computing in bfloat16."""
    import openvino

    core = openvino.Core()
    options = {'INFERENCE_PRECISION_HINT': 'f32', 'INFERENCE_NUM_THREADS': CORES}
    compiled = core.compile_model(core.read_model(onnx.convert(_constant(network), CROP)), 'CPU', options)
    return lambda images: compiled(images.astype(np.float32))['SemanticPredictions']


def torch(network: networks.Case) -> Run:
    """The same operations in PyTorch, traced and optimised for inference."""
    from bench.torch_network import traced

    return traced(onnx.convert(_constant(network), CROP), CORES)


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


def memory(network: str, runtime: str, batch: int) -> int:
    """What `print_memory_of` says in a process of its own."""
    command = [sys.executable, '-m', 'bench.inference', f'--memory_of={network}|{runtime}|{batch}']
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def print_memory_of(network: str, runtime: str, batch: str) -> None:
    """Prints the growth of the resident memory in MB, from before building to the peak of running."""
    case, images = networks.build(network), images_of(int(batch))
    before = resident('VmRSS')
    run = RUNTIMES[runtime][0](case)
    pathlib.Path('/proc/self/clear_refs').write_text('5')  # The peak counts from here.
    run(images)
    run(images)
    print(resident('VmHWM') - before)


def resident(field: str) -> int:
    """The process's resident memory in MB, now (VmRSS) or at its peak (VmHWM)."""
    lines = pathlib.Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) // 1024


def chosen_runs(case: networks.Case, wanted: list[str], batch: int) -> dict[str, Run]:
    """What can run this network at this batch, built."""
    absent = {name for name in wanted if not importlib.util.find_spec(RUNTIMES[name][1])}
    if case.frozen_graph is None or batch > 1:
        absent.add('frozen graph')
    return {name: RUNTIMES[name][0](case) for name in wanted if name not in absent}


def compare(title: str, wanted: list[str], batch: int, turns: int) -> list[dict]:
    """One row for each runtime."""
    case, images = networks.build(title), images_of(batch)
    runs = chosen_runs(case, wanted, batch)
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
            **{f'p{p}_ms': round(1e3 * float(np.percentile(spent, p)), 1) for p in (10, 50, 90, 99)},
            f'times_{reference}': round(float(np.median(spent) / np.median(times[reference])), 3),
            'sgemm_share': round(float(work / np.median(spent) / peak), 3),
            'same_labels': round(float(np.mean(maps[name] == maps[reference])), 5),
            'memory_mb': memory(title, name, batch),
        }
        for name, spent in times.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--networks', default=','.join(networks.names()))
    parser.add_argument('--runtimes', default=','.join(RUNTIMES))
    parser.add_argument('--batches', default='1,8')
    parser.add_argument('--turns', type=int, default=15)
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
            for row in compare(title, wanted, batch, given.turns):
                print(json.dumps(row), flush=True)


if __name__ == '__main__':
    main()
