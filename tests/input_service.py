"""A dispatcher and workers of tf.data service on this machine, for tests."""

import atexit
import socket
import subprocess
import sys


def free_port():
    with socket.socket() as s:
        s.bind(('localhost', 0))
        return s.getsockname()[1]


def start(*arguments):
    """Starts a process of the service and waits until it is ready."""
    command = [sys.executable, '-m', 'deeplab_load.data', *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert 'ready' in process.stdout.readline()
    return process


class InputService:
    """A dispatcher and its workers.

    The dispatcher lives as long as the tests' process: to one that is gone, clients that still wait for a batch in this
    process would complain once a second, whatever is tested then.
    """

    def __init__(self):
        self.address = f'grpc://localhost:{free_port()}'
        dispatcher = start('dispatcher', f'--port={self.address.rpartition(":")[2]}')
        atexit.register(end, dispatcher)
        self.workers = []

    def add_worker(self):
        self.workers.append(start('worker', f'--dispatcher={self.address}'))

    def end(self):
        for worker in self.workers:
            end(worker)


def end(process):
    process.kill()
    process.communicate()
