"""The convolutions of an ONNX model in PyTorch, to compare the two runtimes on the same network, and to train it."""

from collections.abc import Callable

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn
from torch.nn import functional

Run = Callable[[np.ndarray], np.ndarray]


class OnnxNetwork(nn.Module):
    """The operations of an exported segmentor, node by node."""

    def __init__(self, model: onnx.ModelProto):
        super().__init__()
        self.nodes = list(model.graph.node)
        self.constants = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in model.graph.initializer}

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Crops [batch, height, width, 3] to labels [batch, height, width]."""
        return self.values(images, self.nodes)['SemanticPredictions']

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Crops [batch, height, width, 3] to what the best class is taken of."""
        last = next(i for i, node in enumerate(self.nodes) if node.op_type == 'ArgMax')
        return self.values(images, self.nodes[:last])[self.nodes[last].input[0]]

    def values(self, images: torch.Tensor, nodes: list[onnx.NodeProto]) -> dict[str, torch.Tensor]:
        """What the nodes give, by name."""
        values = {**self.constants, 'ImageTensor': images}
        for node in nodes:
            attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            inputs = [values[name] if name else None for name in node.input]
            values[node.output[0]] = OPERATIONS[node.op_type](inputs, attributes)
        return values


def convolution(inputs: list, attributes: dict) -> torch.Tensor:
    """Conv, whose padding may differ between the sides."""
    x, kernel, bias = (*inputs, None)[:3]
    top, left, bottom, right = attributes.get('pads', (0, 0, 0, 0))
    strides, dilations = attributes.get('strides', [1, 1]), attributes.get('dilations', [1, 1])
    padding = (top, left)
    if (top, left) != (bottom, right):
        x, padding = functional.pad(x, (left, right, top, bottom)), (0, 0)
    return functional.conv2d(x, kernel, bias, strides, padding, dilations, attributes.get('group', 1))


def padding(inputs: list, attributes: dict) -> torch.Tensor:
    """Pad, with a constant; torch lists the last axis first."""
    x, pads, *value = inputs
    axes = len(pads) // 2
    sides = [side for axis in reversed(range(axes)) for side in pads[axis::axes].tolist()]
    return functional.pad(x, sides, value=float(value[0]) if value else 0.0)


OPERATIONS: dict[str, Callable] = {
    'Add': lambda i, a: i[0] + i[1],
    'ArgMax': lambda i, a: torch.argmax(i[0], a['axis'], bool(a.get('keepdims', 1))),
    'Cast': lambda i, a: i[0].to(torch.int32),
    'Clip': lambda i, a: torch.clamp(i[0], float(i[1]), float(i[2])),
    'Concat': lambda i, a: torch.cat(i, a['axis']),
    'Conv': convolution,
    'GlobalAveragePool': lambda i, a: i[0].mean((2, 3), keepdim=True),
    'Mul': lambda i, a: i[0] * i[1],
    'Pad': padding,
    'ReduceMean': lambda i, a: i[0].mean(tuple(i[1].tolist()), bool(a.get('keepdims', 1))),
    'Relu': lambda i, a: torch.relu(i[0]),
    'Reshape': lambda i, a: i[0].reshape(i[1].tolist()),
    'Resize': lambda i, a: functional.interpolate(i[0], tuple(i[3].tolist()), mode='bilinear', align_corners=True),
    'Squeeze': lambda i, a: i[0].squeeze(i[1].tolist()),
    'Transpose': lambda i, a: i[0].permute(a['perm']),
}


def traced(model: bytes, threads: int) -> Run:
    """The network in channels-last order, traced, frozen and optimised for inference."""
    torch.set_num_threads(threads)
    parsed = onnx.load_from_string(model)
    side = [dim.dim_value for dim in parsed.graph.input[0].type.tensor_type.shape.dim[1:3]]
    with torch.inference_mode():
        module = torch.jit.trace(OnnxNetwork(parsed).eval(), torch.zeros(1, *side, 3))
        module = torch.jit.optimize_for_inference(torch.jit.freeze(module))

    def run(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return module(torch.from_numpy(images.astype(np.float32))).numpy()

    return run


def trained(model: bytes, threads: int, *, learning_rate: float, momentum: float) -> Callable:
    """A step on the cross-entropy of all weights, as a plain program takes it: images and labels to the loss.

    The convolutions of an exported network have their batch norm folded; here each but the last has one as a layer
    behind it, frozen: with fixed statistics, 0 and 1, and a scale and an offset that are trained.
    """
    torch.set_num_threads(threads)
    network = OnnxNetwork(onnx.load_from_string(model))
    convolutions = [node for node in network.nodes if node.op_type == 'Conv']
    names = {name for node in convolutions for name in node.input[1:]}
    weights = [network.constants[name].requires_grad_() for name in sorted(names)]
    for node in convolutions[:-1]:
        channels = len(network.constants[node.input[1]])
        added = {'/offset': torch.zeros(channels), '/scale': torch.ones(channels)}
        node.op_type = NORMALISED
        for name, value in list(added.items())[len(node.input) - 2 :]:
            node.input.append(node.output[0] + name)
            weights.append(value.requires_grad_())
            network.constants[node.input[-1]] = value
    optimizer = torch.optim.SGD(weights, learning_rate, momentum)

    def step(images: np.ndarray, labels: np.ndarray) -> float:
        logits = network.logits(torch.from_numpy(images))
        loss = functional.cross_entropy(logits, torch.from_numpy(labels.astype(np.int64)), ignore_index=255)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def normalised(inputs: list, attributes: dict) -> torch.Tensor:
    """Conv without biases, then batch norm in evaluation mode."""
    x, kernel, offset, scale = inputs
    x = convolution([x, kernel], attributes)
    return functional.batch_norm(x, torch.zeros_like(offset), torch.ones_like(offset), scale, offset)


NORMALISED = 'Conv, normalised'
OPERATIONS[NORMALISED] = normalised
