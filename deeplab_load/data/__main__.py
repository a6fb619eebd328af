"""Data sets by themselves: `python -m deeplab_load.data check --dataset=pascal_voc --vocdevkit=VOCdevkit`.

`check` prepares the data set, unless it is, which checks every image and label map; tells every fault with its file, or
else what is in the data; and reads every prepared record once. `dispatcher` and `worker` are the processes that make
batches for a training with --data_service; they run until they are stopped.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass

from deeplab_load.commands import load_quietly, run_command
from deeplab_load.config import DataOptions
from deeplab_load.spellings import demand, host_and_port, option


@dataclass(frozen=True)
class CheckOptions(DataOptions):
    """Which data, and who prepares them."""

    beam_options: tuple[str, ...] = option(
        (), 'Let Apache Beam prepare a folder: its options, such as runner=DirectRunner,direct_num_workers=8.'
    )


@dataclass(frozen=True)
class DispatcherOptions:
    """Where the dispatcher of input workers listens."""

    port: int = option(5050, 'Port at which trainings and workers reach the dispatcher.')

    def __post_init__(self) -> None:
        """Raises UserError for what is no port."""
        demand(0 < self.port < 2**16, self, 'port', 'from 1 to 65535')


@dataclass(frozen=True)
class WorkerOptions:
    """Whose batches a worker makes, and where it is reached."""

    dispatcher: str = option('grpc://localhost:5050', 'Address of the dispatcher.')
    host: str = option(
        '', 'Name or address by which the trainings reach this machine; by default what it calls itself.'
    )
    port: int = option(0, 'Port at which the trainings reach the worker; 0: one that is free.')

    def __post_init__(self) -> None:
        """Raises UserError for what is no address."""
        host_and_port(self.dispatcher, 'dispatcher')
        demand(0 <= self.port < 2**16, self, 'port', 'from 0 to 65535')


def main() -> None:
    """Entry of the command: `check`, `dispatcher` or `worker`, then flags."""
    command = sys.argv[1] if len(sys.argv) > 1 else ''
    if command in ('-h', '--help'):
        print(f'{__doc__}\n`check --help`, `dispatcher --help` and `worker --help` list the options.')
        sys.exit()
    if command not in COMMANDS:
        print(
            'deeplab_load: give the command `check` and its options: check --dataset=NAME; or `dispatcher`, `worker`.',
            file=sys.stderr,
        )
        sys.exit(2)
    del sys.argv[1]
    run_command(*COMMANDS[command])


def check(config: CheckOptions) -> None:
    """Checks a data set and tells what is in it."""
    config.require_dataset()
    preflight = load_quietly('deeplab_load.data.preflight')
    preflight.check(
        config.dataset,
        data_dir=config.data_dir,
        manual_dir=config.source,
        download=config.download,
        beam=config.beam_options,
    )


def dispatch(config: DispatcherOptions) -> None:
    """Hands out batches to workers until it is stopped."""
    load_quietly('deeplab_load.data.servers').dispatch(config.port)


def work(config: WorkerOptions) -> None:
    """Makes batches until it is stopped."""
    load_quietly('deeplab_load.data.servers').work(config.dispatcher, config.host, config.port)


COMMANDS: dict[str, tuple[type, Callable[..., None]]] = {
    'check': (CheckOptions, check),
    'dispatcher': (DispatcherOptions, dispatch),
    'worker': (WorkerOptions, work),
}


if __name__ == '__main__':
    main()
