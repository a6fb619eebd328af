"""Downloads archives of data sets: resumed where they were cut, and checked."""

import hashlib
import os
from pathlib import Path

from deeplab_load.data.specs import DatasetSpec, Download
from deeplab_load.errors import UserError
from deeplab_load.files import sync, writing
from deeplab_load.restore.download import fetch


def download_archives(spec: DatasetSpec, folder: Path) -> Path:
    """Brings a data set's archives into a folder, those that are not there, and gives the folder.

    Raises:
        UserError: its owners give it out after a login only, a transfer failed, was cut or brought another file, or
            the disk is full.
    """
    if not spec.downloads:
        raise UserError(
            f'{spec.name} cannot be downloaded without a login: get {spec.source} from its owners and name it with '
            f'{spec.source_flag}.'
        )
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for download in spec.downloads:
            if not (folder / download.file).exists():
                _bring(download, folder)
    return folder


def _bring(download: Download, folder: Path) -> None:
    part = folder / f'.part-{download.file}'
    fetch(download.url, part)
    digest = _md5(part)
    if digest != download.md5:
        part.unlink()
        raise UserError(
            f'{download.url} is not the archive that was published (MD5 {digest}, not {download.md5}): try again, or '
            'get it elsewhere and name it with --manual_dir.'
        )
    sync(part)
    os.replace(part, folder / download.file)


def _md5(path: Path) -> str:
    digest = hashlib.md5()
    with path.open('rb') as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
