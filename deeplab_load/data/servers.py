"""The processes of tf.data service that make batches: a dispatcher, and workers."""

import os
import signal
import socket

import tensorflow as tf
from tensorflow.core.protobuf.service_config_pb2 import DispatcherConfig

from deeplab_load.data.service import require_answer
from deeplab_load.errors import UserError
from deeplab_load.reporting.progress import say
from deeplab_load.spellings import host_and_port

HEARTBEAT, GONE = 5000, 60000  # Milliseconds between a worker's signs, and until what a lost training left is freed.
service = tf.data.experimental.service


def dispatch(port: int) -> None:
    """Runs the dispatcher until SIGINT or SIGTERM; raises UserError if the port is taken."""
    _require_free(port)
    # tf.data's own class of options has no say in freeing what nobody reads any more.
    config = DispatcherConfig(
        port=port,
        protocol='grpc',
        gc_dynamic_sharding_jobs=True,
        job_gc_check_interval_ms=GONE // 2,
        job_gc_timeout_ms=GONE,
        client_timeout_ms=GONE,
        worker_timeout_ms=GONE,
    )
    server = service.DispatchServer(config)
    _wait(server, f'Dispatcher ready: give --data_service=grpc://HOST:{port}, and start workers.')


def work(dispatcher: str, host: str, port: int) -> None:
    """Runs a worker until SIGINT or SIGTERM; raises UserError if nothing answers there or the port is taken."""
    require_answer('--dispatcher', dispatcher)
    address = host_and_port(dispatcher, 'dispatcher')
    host = host or ('localhost' if address[0] == 'localhost' else socket.getfqdn())
    config = service.WorkerConfig(
        dispatcher_address=':'.join(map(str, address)),
        worker_address=f'{host}:%port%',
        port=port,
        heartbeat_interval_ms=HEARTBEAT,
    )
    _require_free(port)
    server = service.WorkerServer(config)
    _wait(server, f'Worker of {dispatcher} ready, for trainings that reach this machine as {host}.')


def _require_free(port: int) -> None:
    """Raises UserError if the port is taken: gRPC would share it with whoever has it."""
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(('', port))
    except OSError as error:
        raise UserError(f'--port={port} cannot be used: {error.strerror}; give another.') from error


def _wait(server: object, words: str) -> None:
    """Says that it is ready and waits for a signal; the server lives as long as this."""
    # Each signal writes a byte, so that one that comes before the wait ends it too: signal.pause() would miss it.
    came, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: None)
    say(words)
    os.read(came, 1)
    say('stopped.')
