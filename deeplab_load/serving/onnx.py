"""ONNX models of a segmentor."""

from typing import Any

import numpy as np

from deeplab_load.serving.network import CropFunction, Network, crop_function

OPSET = 18
_NAMES = {'imagetensor': 'ImageTensor'}  # TensorFlow writes the names of a function's inputs in small letters.


def convert(network: Network, crop_size: tuple[int, int]) -> bytes:
    """The model from `ImageTensor`, float32 [batch, *crop_size, 3] in 0..255, to `SemanticPredictions`, int32."""
    import tf2onnx

    function = crop_function(network, crop_size, batch=None)
    model, _ = tf2onnx.convert.from_function(function, input_signature=function.input_signature, opset=OPSET)
    for node in model.graph.node:
        node.input[:] = [_NAMES.get(name, name) for name in node.input]
    for value in model.graph.input:
        value.name = _NAMES[value.name]
    _resize_to_sizes(model)
    return model.SerializeToString()


def _resize_to_sizes(model: Any) -> None:
    """Makes resizes tell whole sizes; tf2onnx writes their ratio, whose rounding may cost a row of pixels."""
    import onnx

    ratios = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == 'Resize':
            image, _, ratio = node.input
            # Shapes before this node can be inferred now that the resizes before it are right.
            inferred = onnx.shape_inference.infer_shapes(model).graph.value_info
            shape = next(value.type.tensor_type.shape for value in inferred if value.name == image)
            sizes = np.rint(ratios[ratio][2:] * [side.dim_value for side in shape.dim[2:]]).astype(np.int64)
            model.graph.initializer.append(onnx.numpy_helper.from_array(sizes, f'{node.name}/sizes'))
            node.input[:] = [image, '', '', f'{node.name}/sizes']
            node.attribute.append(onnx.helper.make_attribute('axes', [2, 3]))
    used = {name for node in model.graph.node for name in node.input}
    for tensor in [tensor for tensor in model.graph.initializer if tensor.name not in used]:
        model.graph.initializer.remove(tensor)


def runner(model: bytes, threads: int = 0) -> CropFunction:
    """The model in onnxruntime on the CPU: from crops [batch, height, width, 3] to labels [batch, height, width]."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=['CPUExecutionProvider'])
    return lambda crops: session.run(['SemanticPredictions'], {'ImageTensor': crops})[0]
