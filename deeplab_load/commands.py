"""Running a command: flags in, one job, words out; a user's mistake is one sentence."""

import importlib
import os
import sys
import tempfile
import types
from collections.abc import Callable
from typing import TypeVar

from absl import app, flags, logging

from deeplab_load.config import define_flags, from_flags
from deeplab_load.errors import UserError

C = TypeVar('C')


def run_command(cls: type[C], job: Callable[..., None], *, operands: bool = False) -> None:
    """Runs a command: its flags from the dataclass `cls`, then `job` with them.

    With `operands` the job also gets a list of the arguments that are no flags; otherwise there may be none. A user's
    mistake is told in one sentence on the standard error, with exit status 2.
    """
    for name in define_flags(cls):
        flags.FLAGS.register_key_flag_for_module(sys.argv[0], flags.FLAGS[name])  # --help lists key flags.
    try:
        app.run(lambda left: job(from_flags(cls), *_operands(left, operands)), flags_parser=_parse)
    except UserError as error:
        sys.exit(_complain(error))
    except KeyboardInterrupt:  # Where a run listens to the signal, it stops by itself.
        _complain('stopped.')
        sys.exit(130)


def _parse(argv: list[str]) -> list[str]:
    try:
        left = flags.FLAGS(argv)
    except (flags.Error, OSError) as error:
        sys.exit(_complain(' '.join(str(error).split())))
    except UnicodeDecodeError:
        sys.exit(_complain('a file given with --flagfile is not UTF-8 text; give one with an option a line.'))
    return left


def _operands(left: list[str], wanted: bool) -> list[list[str]]:
    if wanted:
        return [left[1:]]
    if len(left) > 1:
        raise UserError(f'unexpected argument {left[1]!r}; options are written --name=value, without spaces.')
    return []


def _complain(words: object) -> int:
    print(f'deeplab_load: {words}', file=sys.stderr)
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
