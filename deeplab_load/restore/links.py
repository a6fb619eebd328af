"""Folders under names that TensorFlow does not take for patterns."""

import atexit
import functools
import pathlib
import re
import shutil
import tempfile

PATTERN = re.compile(r'[\[\\]')


def plain_folder(folder: pathlib.Path) -> pathlib.Path:
    """The folder, or a link to it that lasts as long as the process where its path has a bracket or a backslash.

    TensorFlow looks for a checkpoint's index as for the matches of a pattern, and does not find it there.
    """
    return _link(folder.absolute()) if PATTERN.search(str(folder)) else folder


@functools.cache
def _link(folder: pathlib.Path) -> pathlib.Path:
    home = pathlib.Path(tempfile.mkdtemp(prefix='link-'))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    (home / 'to').symlink_to(folder)
    return home / 'to'
