"""Folders that users name for results."""

import os
import pathlib

from deeplab_load.errors import UserError


def writable_folder(folder: str | os.PathLike, flag: str) -> pathlib.Path:
    """The folder that a flag names, made if need be; raises UserError if it cannot be."""
    path = pathlib.Path(folder).expanduser()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f'{flag}={folder} cannot be made: {error.strerror}; give another folder.') from error
    return path
