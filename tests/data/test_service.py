"""Batches that workers of tf.data service make: real processes on this machine."""

import os
import queue
import signal
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from deeplab_load.data import service
from deeplab_load.data.batches import discriminator_batches, training_batches
from deeplab_load.data.examples import at_workers, copy_for_workers
from deeplab_load.data.specs import ScaleRange
from deeplab_load.errors import UserError

from ..input_service import InputService, end, free_port, start
from .test_batches import assert_same, sets, take  # noqa: F401 (a fixture)

CROP = (17, 33)


def at(address, examples, folder):
    copy_for_workers(examples, folder)
    return at_workers(examples, address, folder)


@pytest.fixture(scope='module')
def processes():
    found = InputService()
    found.add_worker()
    found.add_worker()
    yield found
    found.end()


@pytest.fixture
def at_service(voc_train, processes, tmp_path):
    return at(processes.address, voc_train, tmp_path / 'copy')


@pytest.mark.parametrize('scales', [None, ScaleRange(0.5, 2.0, 0.25)])
@pytest.mark.parametrize('part', [(0, 1), (1, 2)])
def test_training_batches_of_workers_are_those_made_here(voc_train, at_service, monkeypatch, scales, part):
    monkeypatch.setattr(service, 'CHUNK', 3)
    options = {'crop_size': CROP, 'batch_size': 3, 'seed': 2, 'first_batch': 1, 'scales': scales, 'part': part}
    found = take(training_batches(at_service, **options), 8)
    assert_same(found, take(training_batches(voc_train, **options), 8))


@pytest.mark.parametrize('paired', [True, False])
@pytest.mark.parametrize('part', [(0, 1), (1, 2), (2, 3)])
def test_discriminator_batches_of_workers_are_those_made_here(voc_train, at_service, sets, paired, part):  # noqa: F811
    options = {'crop_size': CROP, 'batch_size': 4, 'seed': 2, 'epoch': 1, 'paired': paired, 'augment': True}
    options |= {'first_batch': 1, 'part': part}
    found = take(discriminator_batches(at_service, sets, **options), 100)
    assert_same(found, take(discriminator_batches(voc_train, sets, **options), 100))


def test_a_subset_reads_its_own_records(voc_train, at_service):
    options = {'crop_size': CROP, 'batch_size': 2, 'seed': 0}
    found = take(training_batches(at_service.at([2, 1]), **options), 3)
    assert_same(found, take(training_batches(voc_train.at([2, 1]), **options), 3))


def test_the_copy_is_made_once_and_again_where_it_is_not_whole(voc_train, processes, tmp_path):
    at(processes.address, voc_train, tmp_path / 'copy')
    file = tmp_path / 'copy' / service.RECORDS
    whole, written = file.read_bytes(), file.stat().st_mtime_ns
    at(processes.address, voc_train, tmp_path / 'copy')
    assert file.stat().st_mtime_ns == written
    file.write_bytes(whole[:-1])
    at(processes.address, voc_train, tmp_path / 'copy')
    assert file.read_bytes() == whole
    at(processes.address, voc_train.at([0]), tmp_path / 'copy')
    assert file.read_bytes() != whole


def test_after_a_damaged_record_the_copy_is_made_again(voc_train, processes, tmp_path):
    options = {'crop_size': CROP, 'batch_size': 3, 'seed': 0}
    examples = at(processes.address, voc_train, tmp_path / 'copy')
    file = tmp_path / 'copy' / service.RECORDS
    data = bytearray(file.read_bytes())
    data[40] ^= 1
    file.write_bytes(data)
    with pytest.raises(UserError, match=r'--data_service=grpc://localhost:\d+: .*corrupted record.*copy in .* deleted'):
        take(training_batches(examples, **options), 3)
    examples = at(processes.address, voc_train, tmp_path / 'copy')
    assert_same(take(training_batches(examples, **options), 3), take(training_batches(voc_train, **options), 3))


@pytest.fixture
def made_here(monkeypatch):
    """The tables whose batches were made in this process."""
    tables = []

    def maker(element):
        make = service_maker(element)

        def counted(table):
            if tf.executing_eagerly():
                tables.append(table)
            return make(table)

        return counted

    service_maker = service._maker
    monkeypatch.setattr(service, '_maker', maker)
    return tables


def test_a_killed_worker_takes_no_batch_along(voc_train, tmp_path, monkeypatch, made_here):
    last = 16
    monkeypatch.setattr(service, 'LOST', 2)
    monkeypatch.setattr(service, 'CHUNK', last)
    found = InputService()
    try:
        found.add_worker()
        found.add_worker()
        examples = at(found.address, voc_train, tmp_path / 'copy')
        options = {'crop_size': (700, 700), 'batch_size': 3, 'seed': 2}
        batches = iter(training_batches(examples, **options))
        first = take(batches, 1)
        found.workers[0].kill()
        assert_same([*first, *take(batches, last - 1)], take(training_batches(voc_train, **options), last))
        assert 0 < len(made_here) < last
    finally:
        found.end()


class Scripted:
    """Arrivals by a list of numbers, None for a second without any; then only silence."""

    def __init__(self, numbers):
        self.numbers = list(numbers)

    def next(self, timeout):
        number = self.numbers.pop(0) if self.numbers else None
        if number is None:
            CLOCK[0] += timeout
            raise queue.Empty
        CLOCK[0] += 0.1
        return number, {'n': tf.constant(number)}

    def close(self):
        pass


CLOCK = [0.0]


def ordered(monkeypatch, numbers, count, check=lambda: None):
    """What comes of arrivals, and which batches were made here, after how many seconds each."""
    monkeypatch.setattr(service.time, 'monotonic', lambda: CLOCK[0])
    made, began = [], CLOCK[0]

    def make(table):
        made.append((int(table[0, 0]), round(CLOCK[0] - began)))
        return {'n': table[0, 0]}

    chunk = np.arange(count).reshape(-1, 1, 1)
    batches = service._in_order(Scripted(numbers), chunk, make, check)
    return [int(batch['n']) for batch in batches], made


def test_a_batch_that_does_not_come_while_others_do_is_made_here(monkeypatch):
    found, made = ordered(monkeypatch, [1, *range(2, 300)], 300)
    assert found == list(range(300))
    assert made == [(0, service.LOST)]


def test_batches_out_of_order_are_put_in_order(monkeypatch):
    assert ordered(monkeypatch, [2, None, 1, 0, 4, None, 3], 5) == ([0, 1, 2, 3, 4], [])


def test_what_is_lost_at_the_end_is_made_here_and_silence_ends(monkeypatch):
    found, made = ordered(monkeypatch, [0, 1, 3], 5)
    assert found == [0, 1, 2, 3, 4]
    assert made == [(2, service.LOST), (4, service.LOST + 1)]
    with pytest.raises(queue.Empty):
        ordered(monkeypatch, [], 2)
    assert len(ordered(monkeypatch, [0], 280)[0]) == 280
    with pytest.raises(queue.Empty):
        ordered(monkeypatch, [0], 400)


def test_a_stop_is_seen_while_nothing_comes(monkeypatch):
    def check():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ordered(monkeypatch, [None], 1, check)


def test_what_a_slow_worker_makes_is_waited_for(voc_train, at_service, made_here):
    options = {'crop_size': CROP, 'batch_size': 3, 'seed': 2}
    assert_same(take(training_batches(at_service, **options), 40), take(training_batches(voc_train, **options), 40))
    assert not made_here


def test_without_workers_the_wait_ends_in_a_sentence(voc_train, tmp_path, monkeypatch):
    monkeypatch.setattr(service, 'PATIENCE', 2)
    examples = at(InputService().address, voc_train, tmp_path / 'copy')
    with pytest.raises(UserError, match=r'no batch has come for 2 s; start the dispatcher and workers'):
        take(training_batches(examples, crop_size=CROP, batch_size=3, seed=0), 1)


def test_a_dispatcher_that_has_gone_is_told(voc_train, tmp_path):
    port = free_port()
    end(start('dispatcher', f'--port={port}'))
    examples = at(f'grpc://localhost:{port}', voc_train, tmp_path / 'copy')
    with pytest.raises(UserError, match=r'does not answer'):
        take(training_batches(examples, crop_size=CROP, batch_size=3, seed=0), 1)


def test_an_address_where_nothing_listens_is_told(voc_train, tmp_path):
    examples = at(f'grpc://localhost:{free_port()}', voc_train, tmp_path / 'copy')
    with pytest.raises(UserError, match=r'--data_service=grpc://localhost:\d+ does not answer: Connection refused; st'):
        take(training_batches(examples, crop_size=CROP, batch_size=3, seed=0), 1)


def test_the_processes_stop_at_a_signal(processes):
    worker = start('worker', f'--dispatcher={processes.address}')
    os.kill(worker.pid, signal.SIGTERM)
    try:
        output, _ = worker.communicate(timeout=60)
    finally:
        end(worker)
    assert (worker.returncode, output) == (0, 'stopped.\n')


@pytest.mark.parametrize(
    ('arguments', 'sentence'),
    [
        (['worker', '--dispatcher=localhost:5050'], 'must be an address of the form grpc://host:port'),
        (['worker', '--dispatcher=grpc://localhost:1'], 'does not answer: Connection refused'),
        (['dispatcher', '--port=0'], '--port=0 must be from 1 to 65535'),
    ],
)
def test_mistakes_are_told_in_a_sentence(arguments, sentence):
    command = [sys.executable, '-m', 'deeplab_load.data', *arguments]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 2
    assert sentence in found.stderr
    assert 'Traceback' not in found.stderr


def test_a_taken_port_is_told(processes):
    port = processes.address.rpartition(':')[2]
    command = [sys.executable, '-m', 'deeplab_load.data', 'dispatcher', f'--port={port}']
    found = subprocess.run(command, capture_output=True, text=True)
    assert (found.returncode, found.stderr.count('\n')) == (2, 1), found.stderr
    assert f'--port={port} cannot be used: Address already in use' in found.stderr
