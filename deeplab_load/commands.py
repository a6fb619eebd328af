"""Running a command: flags in, one job, words out; a user's mistake is one sentence."""

import importlib
import os
import sys
import tempfile
import types
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from absl import app, flags, logging

from deeplab_load.absl_flags import define_flags, from_flags, parse, unexpected
from deeplab_load.allocation import keep_freed_memory
from deeplab_load.errors import UserError, printable

C = TypeVar('C')


def run_command(cls: type[C], job: Callable[..., None], *, operands: bool = False) -> None:
    """Runs a command: its flags from the dataclass `cls`, then `job` with them.

    With `operands` the job also gets a list of the arguments that are no flags; otherwise there may be none. A user's
    mistake is told in one sentence on the standard error, with exit status 2.
    """
    keep_freed_memory()
    for name in define_flags(cls):
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[name])  # --help lists key flags.
    try:
        app.run(lambda left: _start(cls, job, _operands(left, operands)), flags_parser=_parse)
    except UserError as error:
        sys.exit(complain(error))
    except BrokenPipeError:  # Whoever read what is told has gone; nor could more be told at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:  # Where a run listens to the signal, it stops by itself.
        complain('stopped.')
        sys.exit(130)


def _parse(argv: list[str]) -> list[str]:
    return [argv[0], *parse(argv, flags.FLAGS)]


def _start(cls: type[C], job: Callable[..., None], operands: list[list[str]]) -> None:
    config = from_flags(cls)
    require_text(vars(config))
    job(config, *operands)


def require_text(options: Mapping[str, Any]) -> None:
    """Raises UserError for a value that is not UTF-8 text, as a file's name may be: TensorFlow opens no such path."""
    for name, value in options.items():
        for item in value if isinstance(value, list | tuple) else [value]:
            try:
                str(item).encode()
            except UnicodeEncodeError as error:
                raise UserError(f'{name} is {item}, which is not UTF-8: give another name.') from error


def _operands(left: list[str], wanted: bool) -> list[list[str]]:
    if wanted:
        return [left[1:]]
    if len(left) > 1:
        raise unexpected(left[1])
    return []


def complain(words: object) -> int:
    """Tells a mistake in one line; returns the exit status of mistakes."""
    print(f'deeplab_load: {printable(words)}', file=sys.stderr)
    return 2


def load_quietly(module: str) -> types.ModuleType:
    """Imports a module that loads TensorFlow without TensorFlow's start-up messages.

    They are written by C++ straight to the standard error before any log level counts; should the import fail, they
    are shown after all.
    """
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
    loaded = None
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)
        try:
            loaded = importlib.import_module(module)
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            if loaded is None:
                aside.seek(0)
                os.write(2, aside.read())
    logging.set_verbosity(logging.WARNING)  # The libraries tell at INFO what no user asked for.
    return loaded
