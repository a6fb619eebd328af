"""Segments the images of a folder by TF Serving over gRPC: `python clients/grpc_client.py photos maps`.

Needs grpcio, numpy, pillow and tensorflow-serving-api (`pip install 'deeplab_load[clients]'`).
"""

import argparse
import sys

import grpc
import numpy as np
import tensorflow as tf
from folders import RequestError, options, segment_folder
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

# A label map of int32 is larger than gRPC's bound of 4 MB from 1024x1024 on.
UNBOUNDED = [('grpc.max_receive_message_length', -1), ('grpc.max_send_message_length', -1)]


def segment(file: bytes, stub: PredictionServiceStub, given: argparse.Namespace) -> np.ndarray:
    """The label map of an encoded image, uint8 [height, width]."""
    request = PredictRequest(inputs={'ImageTensor_bytes': tf.make_tensor_proto([file])})
    request.model_spec.name, request.model_spec.signature_name = given.model, 'serving_bytes'
    try:
        answer = stub.Predict(request, timeout=given.timeout)
    except grpc.RpcError as error:
        raise RequestError(f'{error.code().name}: {error.details()}') from error
    return tf.make_ndarray(answer.outputs['SemanticPredictions'])[0].astype(np.uint8)


def main() -> int:
    """Entry of the command."""
    given = options('Segments the images of a folder by TF Serving over gRPC.', 'localhost:8500')
    with grpc.insecure_channel(given.server, options=UNBOUNDED) as channel:
        stub = PredictionServiceStub(channel)
        return segment_folder(given, lambda file: segment(file, stub, given))


if __name__ == '__main__':
    sys.exit(main())
