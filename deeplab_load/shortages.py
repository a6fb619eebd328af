"""What TensorFlow says where memory or the disk is full, in words that help."""

import contextlib
import errno
import re
from collections.abc import Iterator

import tensorflow as tf

from deeplab_load.errors import UserError

# What surrounds the sentence in TensorFlow's errors.
_OPERATION = re.compile(r'\{\{function_node .*?\}\} | \[Op:.*')


@contextlib.contextmanager
def memory_for(what: str, flags: str) -> Iterator[None]:
    """Names the flags to lower where memory runs out; a decorator, too.

    Raises:
      UserError: in place of a MemoryError or of TensorFlow's ResourceExhaustedError.
    """
    try:
        yield
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        raise UserError(f'There is not enough memory for {what}; lower {flags}.') from error


@contextlib.contextmanager
def tensorflow_writes() -> Iterator[None]:
    """Lets TensorFlow's writers fail as all others do.

    Raises:
      OSError: in place of TensorFlow's errors, of which ResourceExhaustedError is a full disk.
    """
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        raise OSError(errno.ENOSPC, 'No space left on device') from error
    except tf.errors.OpError as error:
        raise OSError(errno.EIO, _OPERATION.sub('', error.message)) from error
