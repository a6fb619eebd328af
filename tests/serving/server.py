"""A server that stands for TF Serving: its gRPC and REST interfaces of Predict over a SavedModel, on loopback."""

import base64
import contextlib
import json
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

UNBOUNDED = [('grpc.max_receive_message_length', -1), ('grpc.max_send_message_length', -1)]


class Servicer(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict, with the errors of TF Serving."""

    def __init__(self, signatures):
        self.signatures = signatures

    def Predict(self, request, context):  # noqa: N802 (gRPC's name)
        signature = self.signatures[request.model_spec.signature_name or 'serving_default']
        inputs = {name: tf.constant(tf.make_ndarray(tensor)) for name, tensor in request.inputs.items()}
        try:
            outputs = signature(**inputs)
        except tf.errors.InvalidArgumentError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, error.message)
        response = predict_pb2.PredictResponse()
        for name, value in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value.numpy()))
        return response


def rest_handler(signatures):
    """The handler of POST /v1/models/segmentor:predict with `inputs`, TF Serving's columnar form."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers['Content-Length'])))
            if self.path != '/v1/models/segmentor:predict':
                return self.answer(404, {'error': f'Malformed request: POST {self.path}'})
            signature = signatures[body.get('signature_name', 'serving_default')]
            specs = signature.structured_input_signature[1]
            inputs = {name: tf.constant(plain(value), specs[name].dtype) for name, value in body['inputs'].items()}
            try:
                outputs = {name: value.numpy().tolist() for name, value in signature(**inputs).items()}
            except tf.errors.InvalidArgumentError as error:
                return self.answer(400, {'error': error.message})
            return self.answer(200, {'outputs': outputs if len(outputs) > 1 else next(iter(outputs.values()))})

        def answer(self, status, content):
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header('Content-Length', str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments):
            pass

    return Handler


def plain(value):
    """JSON with {'b64': ...} for bytes as what tf.constant takes."""
    if isinstance(value, list):
        return [plain(part) for part in value]
    return base64.b64decode(value['b64']) if isinstance(value, dict) else value


@contextlib.contextmanager
def grpc_server(signatures):
    """Yields host:port."""
    server = grpc.server(futures.ThreadPoolExecutor(2), options=UNBOUNDED)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Servicer(signatures), server)
    port = server.add_insecure_port('127.0.0.1:0')
    server.start()
    try:
        yield f'127.0.0.1:{port}'
    finally:
        server.stop(None).wait()


@contextlib.contextmanager
def rest_server(signatures):
    """Yields the server's URL."""
    server = ThreadingHTTPServer(('127.0.0.1', 0), rest_handler(signatures))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f'http://127.0.0.1:{server.server_port}'
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
