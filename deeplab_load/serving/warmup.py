"""Requests that TF Serving answers while it loads a model, so that the first user does not wait for its set-up."""

import pathlib

import numpy as np
import tensorflow as tf

EXTRA = 'assets.extra'
_SIDE = 64  # Every image is padded to the crop: a small one sets up as much as a large one.


def write_warmup_requests(saved_model: pathlib.Path) -> None:
    """Adds a request for each signature of `ServedSegmentor` to a SavedModel, where TF Serving looks for them.

    The messages of TF Serving are put together here, from the numbers of their fields, because its package of them is
    needed by clients only.
    """
    images = np.zeros([1, _SIDE, _SIDE, 3], np.uint8)
    file = tf.io.encode_png(images[0]).numpy()
    extra = saved_model / EXTRA
    extra.mkdir()
    with tf.io.TFRecordWriter(str(extra / 'tf_serving_warmup_requests')) as writer:
        writer.write(_prediction_log('serving_default', 'ImageTensor', images))
        writer.write(_prediction_log('serving_bytes', 'ImageTensor_bytes', [file]))
        writer.write(_prediction_log('probabilities', 'ImageTensor', images))


def _prediction_log(signature: str, name: str, value: np.ndarray | list[bytes]) -> bytes:
    """A PredictionLog (prediction_log.proto) of a PredictRequest (predict.proto) with one input."""
    model_spec = _field(1, b'segmentor') + _field(3, signature.encode())  # name, signature_name
    tensor = tf.make_tensor_proto(value).SerializeToString()
    request = _field(1, model_spec) + _field(2, _field(1, name.encode()) + _field(2, tensor))  # model_spec, inputs
    return _field(6, _field(1, request))  # predict_log, request


def _field(number: int, payload: bytes) -> bytes:
    """A field of a protocol buffer with its length before it; of fields 1 to 15."""
    return bytes([number << 3 | 2]) + _varint(len(payload)) + payload


def _varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value % 128 + 128]) + _varint(value // 128)
