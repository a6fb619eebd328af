"""Where an exported version spends its time: `python -m bench.operations VERSION [--batch=1] [--turns=15]`.

A line of JSON for each type of operation, the slowest first: how many there are, what is fused into them, the sum of
their median times on one thread, and its share.
"""

import argparse
import collections
import json
import pathlib
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from bench.inference import images_of

v1 = tf.compat.v1


@dataclass
class Spent:
    """The nodes of one type of operation: the milliseconds of each turn, by the node's name."""

    nodes: dict[str, list[float]] = field(default_factory=lambda: collections.defaultdict(list))

    @property
    def milliseconds(self) -> float:
        """The sum of the nodes' medians."""
        return float(sum(np.median(times) for times in self.nodes.values()))


def traced(version: pathlib.Path, images: np.ndarray, turns: int) -> dict[str, Spent]:
    """What each type of operation of a SavedModel takes on one thread, with what is fused into it."""
    one_thread = v1.ConfigProto(intra_op_parallelism_threads=1, inter_op_parallelism_threads=1)
    with v1.Session(graph=tf.Graph(), config=one_thread) as session:
        served = v1.saved_model.load(session, ['serve'], str(version)).signature_def['serving_default']
        feed = {served.inputs['ImageTensor'].name: images}
        result = served.outputs['SemanticPredictions'].name
        session.run(result, feed)
        spent: dict[str, Spent] = collections.defaultdict(Spent)
        for _ in range(turns):
            _add_turn(spent, _trace(session, result, feed))
    return spent


def _trace(session: v1.Session, result: str, feed: dict[str, np.ndarray]) -> v1.RunMetadata:
    options = v1.RunOptions(trace_level=v1.RunOptions.FULL_TRACE, output_partition_graphs=True)
    found = v1.RunMetadata()
    session.run(result, feed, options=options, run_metadata=found)
    return found


def _add_turn(spent: dict[str, Spent], found: v1.RunMetadata) -> None:
    nodes = {node.name: node for graph in found.partition_graphs for node in graph.node}
    for device in found.step_stats.dev_stats:
        for stats in device.node_stats:
            if stats.node_name in nodes:
                node = nodes[stats.node_name]
                fused = [name.decode() for name in node.attr['fused_ops'].list.s]
                milliseconds = (stats.op_end_rel_micros - stats.op_start_rel_micros) / 1e3
                spent['+'.join([node.op, *fused])].nodes[node.name].append(milliseconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('version', type=pathlib.Path)
    parser.add_argument('--batch', type=int, default=1)
    parser.add_argument('--turns', type=int, default=15)
    given = parser.parse_args()
    spent = traced(given.version, images_of(given.batch), given.turns)
    total = sum(kind.milliseconds for kind in spent.values())
    for name, kind in sorted(spent.items(), key=lambda item: -item[1].milliseconds):
        row = {'operation': name, 'count': len(kind.nodes), 'ms': round(kind.milliseconds, 2)}
        print(json.dumps({**row, 'share': round(kind.milliseconds / total, 3)}), flush=True)


if __name__ == '__main__':
    main()
