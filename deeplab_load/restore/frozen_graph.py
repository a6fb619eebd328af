"""Frozen graphs (`frozen_inference_graph.pb`): their constants by the names of the variables that they once were."""

import math
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from deeplab_load.errors import UserError
from deeplab_load.models.slim import SMALLEST_EPSILON

_VARIABLE = re.compile(r'.+/(weights|biases|depthwise_weights|gamma|beta|moving_mean|moving_variance)')
_KERNELS = {'Conv2D': 'weights', 'DepthwiseConv2dNative': 'depthwise_weights'}
# What may stand between a convolution and its bias: the end of an atrous depthwise convolution.
_PASSED = ('BatchToSpaceND', 'Identity')

LARGEST_GRAPH = 1 << 30  # bytes; the largest that is published has 0.3e9

Nodes = Mapping[str, Any]


class FrozenGraph:
    """The variables in a frozen graph, under the methods of TF's checkpoint reader.

    Where batch normalisation was folded into a convolution its variables are such that they scale by one and add the
    convolution's bias.

    Raises:
        UserError: the file is no frozen graph, cut, or larger than any.
    """

    def __init__(self, path: pathlib.Path) -> None:
        nodes = _read_nodes(path)
        try:
            _require_values(nodes, path)
            named = {name: _value(node) for name, node in _constants(nodes)}
            self._values: dict[str, np.ndarray] = {**named, **_unfolded(nodes, named)}
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise UserError(
                f'the frozen graph {path} is damaged: parts of it are missing; download it again'
            ) from error

    def get_variable_to_shape_map(self) -> dict[str, tuple[int, ...]]:
        """The shapes by name."""
        return {name: value.shape for name, value in self._values.items()}

    def get_variable_to_dtype_map(self) -> dict[str, tf.DType]:
        """The types by name."""
        return {name: tf.as_dtype(value.dtype) for name, value in self._values.items()}

    def get_tensor(self, name: str) -> np.ndarray:
        """The value of a variable."""
        return self._values[name]


def _read_nodes(path: pathlib.Path) -> Nodes:
    if path.stat().st_size > LARGEST_GRAPH:
        raise UserError(f'{path} is larger than any frozen graph of a DeepLab model; give another file')
    try:
        graph = tf.compat.v1.GraphDef.FromString(path.read_bytes())
    except DecodeError as error:
        raise UserError(f'{path} is cut or no frozen graph; download it again') from error
    nodes = {node.name: node for node in graph.node}
    if not any(_VARIABLE.fullmatch(name) or node.op in _KERNELS for name, node in nodes.items()):
        raise UserError(f'{path} is no frozen graph of a DeepLab model: there are no weights in it')
    return nodes


def _require_values(nodes: Nodes, path: pathlib.Path) -> None:
    """Refuses constants that unpack to more than a graph can hold: a single number may stand for a whole tensor."""
    tensors = (node.attr['value'].tensor for node in nodes.values() if node.op == 'Const')
    sizes = ([dim.size for dim in tensor.tensor_shape.dim] for tensor in tensors)
    if sum(math.prod(map(abs, size)) for size in sizes) > LARGEST_GRAPH // 4:
        raise UserError(f'{path} holds constants larger than those of any DeepLab model; give another file')


def _value(node: Any) -> np.ndarray:
    """The value of a constant; raises TypeError for one that holds no numbers."""
    value = tf.make_ndarray(node.attr['value'].tensor)
    if value.dtype == object:
        raise TypeError(f'{node.name} holds no numbers')
    return value


def _constants(nodes: Nodes) -> Iterator[tuple[str, Any]]:
    return ((name, node) for name, node in nodes.items() if node.op == 'Const' and _VARIABLE.fullmatch(name))


def _unfolded(nodes: Nodes, named: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The variables of the layers whose batch normalisation was folded: those with a bias under no variable's name.

    They win over constants of the same names, which a tool may have left unused.
    """
    variables = {}
    for convolution, bias in _biases(nodes):
        layer = convolution.name.rpartition('/')[0]
        if f'{layer}/biases' not in named:
            kernel = _source(nodes, convolution.input[1])
            variables[f'{layer}/{_KERNELS[convolution.op]}'] = _value(kernel)
            variables |= {f'{layer}/BatchNorm/{name}': value for name, value in _adding(layer, bias).items()}
    return variables


def _biases(nodes: Nodes) -> Iterator[tuple[Any, np.ndarray]]:
    """The convolutions that a constant is added to, with it."""
    for node in nodes.values():
        if node.op in ('BiasAdd', 'Add', 'AddV2'):
            convolution, bias = (_source(nodes, name) for name in node.input[:2])
            if convolution.op in _KERNELS and bias.op == 'Const':
                yield convolution, _value(bias)


def _source(nodes: Nodes, name: str) -> Any:
    """The node that an input comes from, past those that hand it on; raises ValueError where these go in a circle."""
    for _ in range(len(nodes)):
        node = nodes[name.lstrip('^').partition(':')[0]]
        if node.op not in _PASSED:
            return node
        name = node.input[0]
    raise ValueError(f'{name} is its own source')


def _adding(layer: str, bias: np.ndarray) -> dict[str, np.ndarray]:
    """Batch normalisation that only adds: its epsilon, which differs between backbones and heads, is undone."""
    epsilon = 1e-3 if layer.startswith(('Mobilenet', 'xception_')) else SMALLEST_EPSILON
    ones = np.ones_like(bias)
    gamma = ones * np.sqrt(1 + epsilon).astype(bias.dtype)
    return {'gamma': gamma, 'beta': bias, 'moving_mean': 0 * ones, 'moving_variance': ones}
