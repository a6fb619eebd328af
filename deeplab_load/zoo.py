"""The model zoo: `python -m deeplab_load.zoo list | download NAME | inspect PATH | verify PATH`, and to other formats.

`convert PATH OUT.keras` goes to Keras, and `to-tf1 MODEL OUT` back to the original. A PATH is the prefix of a TF1
checkpoint, its folder, a frozen graph (*.pb), or the NAME of a checkpoint that was downloaded.
"""

import argparse
import pathlib
import sys
from collections.abc import Callable
from typing import Any

from deeplab_load.catalog import ARCHIVES, CATALOG, MODEL_VARIANTS, ZooRow, row
from deeplab_load.commands import complain, load_quietly, require_text
from deeplab_load.errors import UserError
from deeplab_load.reporting.progress import say
from deeplab_load.restore import download as downloads

PATH = 'TF1 checkpoint (prefix or folder), frozen graph (*.pb), or NAME of a downloaded checkpoint'


def main(arguments: list[str] | None = None) -> None:
    """Entry of the command: its arguments, one call, words out; a user's mistake is one sentence and status 2."""
    options = parser().parse_args(arguments)
    try:
        require_text(vars(options))
        say(options.job(options))
    except UserError as error:
        sys.exit(complain(error))
    except KeyboardInterrupt:
        print('deeplab_load: stopped.', file=sys.stderr)
        sys.exit(130)


def parser() -> argparse.ArgumentParser:
    """What the command takes."""
    top = argparse.ArgumentParser('deeplab_load.zoo', description='The published checkpoints of the original DeepLab.')
    top.add_argument('--home', default='checkpoints', help='folder of the downloaded checkpoints')
    commands = top.add_subparsers(required=True, metavar='COMMAND')

    def add(title: str, job: Callable[[Any], str], text: str, **arguments: str) -> argparse.ArgumentParser:
        command = commands.add_parser(title, help=text, description=text)
        for argument, meaning in arguments.items():
            command.add_argument(argument, metavar=argument.upper(), help=meaning)
        command.set_defaults(job=job)
        return command

    add('list', listed, 'lists what was published')
    command = add('download', download, 'downloads, checks and unpacks a checkpoint', name='as `list` shows it')
    command.add_argument('--base_url', default=ARCHIVES, help="what the archive's name is appended to")
    add('inspect', inspect, 'tells what a checkpoint is, from its index alone', path=PATH)
    add('verify', verify, 'reads every value of a checkpoint and restores a model from it', path=PATH)
    command = add(
        'convert',
        convert,
        'writes a checkpoint as a Keras file',
        path=f'run directory, {PATH}',
        out='file ending in .keras',
    )
    command.add_argument('--output_stride', type=int, help="8, 16 or 32; the run's or as published if absent")
    add('to-tf1', to_tf1, 'writes a TF1 checkpoint for the original', model=f'.keras file, {PATH}', out='prefix')
    return top


def listed(options: argparse.Namespace) -> str:
    """A line for each published checkpoint."""
    lines = [_columns('NAME', 'NETWORK', 'DATA', 'mIoU', 'MB', '')]
    for entry in CATALOG:
        here = 'downloaded' if (pathlib.Path(options.home) / entry.folder).is_dir() else ''
        miou = f'{entry.results[0].miou:.2f}' if entry.results else ''
        megabytes = '' if entry.megabytes is None else f'{entry.megabytes:g}'
        lines.append(_columns(entry.name, _network(entry), entry.dataset, miou, megabytes, here))
    return '\n'.join(lines)


def _columns(name: str, network: str, dataset: str, miou: str, megabytes: str, here: str) -> str:
    return f'{name:39s}  {network:38s}  {dataset:10s}  {miou:>5s}  {megabytes:>5s}  {here}'.rstrip()


def _network(entry: ZooRow) -> str:
    depth = '' if entry.depth_multiplier == 1.0 else f' {entry.depth_multiplier:g}'
    head = {'pooling': '', 'none': ', backbone'}.get(entry.head, f', {entry.head}')
    decoder = '' if entry.decoder_output_stride is None else f', decoder {entry.decoder_output_stride}'
    return f'{MODEL_VARIANTS[entry.model_variant]}{depth}{head}{decoder}'


def download(options: argparse.Namespace) -> str:
    """Downloads a checkpoint."""
    return f'{downloads.download(row(options.name), options.home, base_url=options.base_url)}'


def inspect(options: argparse.Namespace) -> str:
    """Tells what a checkpoint is."""
    return _conversion().described(downloads.downloaded(options.path, options.home))


def verify(options: argparse.Namespace) -> str:
    """Reads and restores everything."""
    return _conversion().verified(downloads.downloaded(options.path, options.home))


def convert(options: argparse.Namespace) -> str:
    """Writes a .keras file."""
    location = load_quietly('deeplab_load.evaluation.trained').locate(options.path, options.home)
    given = {'output_stride': options.output_stride} if options.output_stride else {}
    restoration = _conversion().to_keras(location.path, options.out, location.architecture(given))
    return f'{restoration.table()}\n{options.out}: load it with `import deeplab_load` and `keras.models.load_model`.'


def to_tf1(options: argparse.Namespace) -> str:
    """Writes a TF1 checkpoint."""
    return f'{_conversion().to_tf1(downloads.downloaded(options.model, options.home), options.out)}'


def _conversion() -> Any:
    return load_quietly('deeplab_load.restore.conversion')


if __name__ == '__main__':
    main()
