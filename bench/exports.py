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
from tensorflow.core.protobuf import saved_model_pb2

from bench.inference import Run, images_of, measure, percentiles, served

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


def compare(runs: dict[str, Run], batch: int, turns: int) -> dict[str, dict]:
    """The times of each version."""
    times = measure(runs, images_of(batch), turns)
    first = np.median(next(iter(times.values())))
    return {
        name: {'batch': batch, **percentiles(spent), 'times_first': round(float(np.median(spent) / first), 3)}
        for name, spent in times.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('versions', nargs='+', type=pathlib.Path)
    parser.add_argument('--batches', default='1,8')
    parser.add_argument('--turns', type=int, default=15)
    given = parser.parse_args()
    graphs = {str(version): graph_and_constants(version)[0] for version in given.versions}
    first = graphs[str(given.versions[0])]
    facts = {str(v): {'same_graph': graphs[str(v)] == first, 'mb': sizes(v)} for v in given.versions}
    runs = {str(version): served(version) for version in given.versions}
    for batch in map(int, given.batches.split(',')):
        for name, row in compare(runs, batch, given.turns).items():
            print(json.dumps({'version': name, **facts[name], **row}), flush=True)


if __name__ == '__main__':
    main()
