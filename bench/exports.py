"""Exported versions side by side: `python -m bench.exports VERSION VERSION ... [--batches=1,8] [--turns=15]`.

What LoAd costs at inference is told by the export of a run with `--algorithm=load` and that of its baseline, a run with
`--algorithm=pixelwise`. A line of JSON for each tells whether its graph is the first's but for constants, the sizes of
its files, percentiles of the time for a batch of 513x513 images, and the median as a multiple of the first's. They take
turns (A B A B).
"""

import argparse
import json
import pathlib
import re
from collections import Counter

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from bench.inference import Run, images_of, measure, percentiles

Graph = tuple[Counter[str], list[bytes]]


def graph_and_constants(version: pathlib.Path) -> Graph:
    """The functions of a SavedModel as text, without counters in names and values of constants; and those values."""
    file = (version / 'saved_model.pb').read_bytes()
    graph = saved_model_pb2.SavedModel.FromString(file).meta_graphs[0].graph_def
    nodes = [node for function in graph.library.function for node in function.node_def]
    constants = [node.attr['value'].tensor for node in nodes if node.op == 'Const' and node.attr['dtype'].type == 1]
    values = [constant.SerializeToString() for constant in constants]
    for constant in constants:
        constant.ClearField('tensor_content')
        constant.ClearField('float_val')
    text = [str(sorted(map(str, function.node_def))) for function in graph.library.function]
    # TensorFlow numbers functions and layers through a process.
    return Counter(re.sub(r'_\d+', '', part) for part in text), values


def sizes(version: pathlib.Path) -> dict[str, float]:
    """The MB of every file of a version, by its name."""
    files = sorted(path for path in version.rglob('*') if path.is_file())
    return {path.relative_to(version).as_posix(): round(path.stat().st_size / 1e6, 3) for path in files}


def served(version: pathlib.Path) -> Run:
    """The SavedModel as TensorFlow serves it."""
    serve = tf.saved_model.load(str(version)).signatures['serving_default']
    return lambda images: serve(ImageTensor=tf.constant(images))['SemanticPredictions'].numpy()


def compare(versions: list[pathlib.Path], batch: int, turns: int) -> list[dict]:
    """One row for each version."""
    times = measure({str(version): served(version) for version in versions}, images_of(batch), turns)
    first, graph = times[str(versions[0])], graph_and_constants(versions[0])[0]
    return [
        {
            'version': str(version),
            'batch': batch,
            'same_graph': graph_and_constants(version)[0] == graph,
            'mb': sizes(version),
            **percentiles(times[str(version)]),
            'times_first': round(float(np.median(times[str(version)]) / np.median(first)), 3),
        }
        for version in versions
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('versions', nargs='+', type=pathlib.Path)
    parser.add_argument('--batches', default='1,8')
    parser.add_argument('--turns', type=int, default=15)
    given = parser.parse_args()
    for batch in map(int, given.batches.split(',')):
        for row in compare(given.versions, batch, given.turns):
            print(json.dumps(row), flush=True)


if __name__ == '__main__':
    main()
