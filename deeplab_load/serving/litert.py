"""LiteRT (TensorFlow Lite) models of a segmentor: float32, float16 and int8."""

import warnings
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from deeplab_load.serving.network import CropFunction, Network, crop_function

# How much mIoU each kind may lose by its rounding; None: its label maps must agree.
KINDS = {'float32': None, 'float16': 0.005, 'int8': 0.015}


def convert(network: Network, crop_size: tuple[int, int], kind: str, calibration: Sequence[np.ndarray] = ()) -> bytes:
    """The model from `ImageTensor`, float32 [1, *crop_size, 3] in 0..255, to `SemanticPredictions`, int32 labels.

    Args:
        network: of `network.frozen`.
        crop_size: (height, width).
        kind: 'float16' halves the weights and computes in float32; 'int8' computes in integers, but for the input.
        calibration: crops [1, *crop_size, 3] that tell 'int8' the ranges of activations.
    """
    module = tf.Module()
    module.function = crop_function(network, crop_size, batch=1)
    concrete = module.function.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], module)
    if kind != 'float32':
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == 'float16':
        converter.target_spec.supported_types = [tf.float16]
    if kind == 'int8':
        converter.representative_dataset = lambda: ([crop] for crop in calibration)
    with warnings.catch_warnings():
        # Of the input, which stays float32.
        warnings.filterwarnings('ignore', 'Statistics for quantized inputs were expected')
        return converter.convert()


def runner(model: bytes, threads: int | None = None) -> CropFunction:
    """The model in ai-edge-litert's interpreter: from crops [1, height, width, 3] to labels [1, height, width]."""
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(model_content=model, num_threads=threads).get_signature_runner()
    return lambda crops: run(ImageTensor=crops)['SemanticPredictions']
