"""Files and folders that appear under their names whole and on the disk, or not at all."""

import contextlib
import errno
import json
import os
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

from deeplab_load.errors import UserError

PART = '.part-'  # What is not whole yet begins with this; nothing reads it, and whoever finds it may delete it.


@contextlib.contextmanager
def replacing(final: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Gives the path at which to write a file or a folder; it is then synced and takes the name `final`.

    Where the writing fails, nothing of it stays, and what `final` was before is as it was.

    Raises:
      UserError: the disk is full, or the place cannot be written.
    """
    final = pathlib.Path(final)
    part = final.with_name(f'{PART}{final.name}')
    remove(part)
    try:
        with writing(final):
            final.parent.mkdir(parents=True, exist_ok=True)
            yield part
            sync_tree(part)
            _put(part, final)
    except Exception:
        remove(part)
        raise


def _put(part: pathlib.Path, final: pathlib.Path) -> None:
    """Gives what is written its name. A folder that has this name is put aside first, and never seen half deleted."""
    old = final.with_name(f'{PART}old-{final.name}')
    if part.is_dir() and final.exists():  # A folder cannot be renamed onto one that holds something.
        remove(old)
        os.replace(final, old)
    try:
        os.replace(part, final)
    except OSError:
        if old.exists():
            os.replace(old, final)
        raise
    sync(final.parent)
    remove(old)


@contextlib.contextmanager
def writing(path: str | os.PathLike) -> Iterator[None]:
    """Tells in one sentence that `path` cannot be written.

    Raises:
      UserError: in place of an OSError.
    """
    try:
        yield
    except OSError as error:
        raise UserError(cannot_write(path, error)) from error


def cannot_write(path: str | os.PathLike, error: OSError) -> str:
    """A sentence on why a file or folder could not be written, and what to do."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    advice = 'make room and give the same command again' if full else 'give another place, or make this one writable'
    return f'{path} cannot be written: {error.strerror or error}; {advice}.'


def write_text(final: str | os.PathLike, text: str) -> None:
    """Writes a text file whole or not at all; raises UserError as `replacing`."""
    with replacing(final) as part:
        part.write_text(text, encoding='utf-8')


def read_json(path: pathlib.Path, advice: str) -> dict[str, Any]:
    """The JSON object that a file holds.

    Raises:
      UserError: the file cannot be read, or holds anything else; the sentence ends in `advice`.
    """
    try:
        found = json.loads(path.read_text(encoding='utf-8'))
    except OSError as error:
        raise UserError(f'{path} cannot be read: {error.strerror}; {advice}.') from error
    except (ValueError, RecursionError) as error:
        raise UserError(f'{path} is damaged; {advice}.') from error
    if not isinstance(found, dict):
        raise UserError(f'{path} is damaged; {advice}.')
    return found


def remove(path: pathlib.Path) -> None:
    """Deletes a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync_tree(path: pathlib.Path) -> None:
    """Waits until a file, or a folder with all that it holds, is on the disk."""
    if path.is_dir():
        for entry in path.iterdir():
            sync_tree(entry)
    sync(path)


def sync(path: pathlib.Path) -> None:
    """Waits until a file's bytes, or a folder's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
