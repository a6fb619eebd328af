"""Downloads archives of the model zoo: resumed where they were cut, checked, and unpacked whole or not at all."""

import hashlib
import http.client
import math
import os
import pathlib
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

from deeplab_load.catalog import ARCHIVES, CATALOG, ZooRow
from deeplab_load.errors import UserError
from deeplab_load.files import sync, write_text
from deeplab_load.reporting.progress import progress
from deeplab_load.restore.archive import unpack

TIMEOUT = 60  # seconds without a byte
LARGEST_ARCHIVE = 2 << 30  # bytes; the largest that is published has 0.5e9
_CHUNK = 1 << 20


def download(row: ZooRow, home: str | os.PathLike, *, base_url: str = ARCHIVES) -> pathlib.Path:
    """Brings a published checkpoint into a folder, unless it is there.

    The archive and its SHA-256 digest, that of the first download, stay beside the unpacked folder. A transfer that was
    cut goes on where it stopped.

    Args:
        row: which checkpoint.
        home: the folder of checkpoints; made if need be.
        base_url: what the archive's name is appended to.

    Returns:
        The folder `home/row.folder`.

    Raises:
        UserError: the transfer failed or was cut, or the archive is not what it was or cannot be unpacked safely.
    """
    home = pathlib.Path(home).expanduser()
    final, archive = home / row.folder, home / row.archive
    if final.is_dir():
        return final
    try:
        home.mkdir(parents=True, exist_ok=True)
        if not archive.exists():
            part = home / f'.part-{row.archive}'
            fetch(base_url.rstrip('/') + '/' + row.archive, part)
            sync(part)
            os.replace(part, archive)
        _adopt(archive, final)
    except OSError as error:
        raise UserError(
            f'{home} cannot be written: {error.strerror or error}; make room, or give another folder'
        ) from error
    return final


def downloaded(path: str | os.PathLike, home: str | os.PathLike) -> pathlib.Path:
    """The path of a checkpoint: `path` itself, or where the published checkpoint of this name was unpacked.

    Raises:
        UserError: the published checkpoint is not in `home`.
    """
    entry = next((r for r in CATALOG if r.name == os.fspath(path)), None)
    if entry is None or os.path.exists(path):
        return pathlib.Path(path)
    home = pathlib.Path(home).expanduser()
    if not (home / entry.folder).is_dir():
        raise UserError(
            f'{entry.name} is not in {home}: download it by `python -m deeplab_load.zoo download {entry.name}`, '
            f'or unpack {entry.url} there'
        )
    return home / entry.folder


def _adopt(archive: pathlib.Path, final: pathlib.Path) -> None:
    """Unpacks an archive that is what it was; deletes one that is not, or that cannot be unpacked."""
    digest = _digest(archive)
    known = archive.with_name(f'{archive.name}.sha256')
    first = (known.read_text(errors='replace').split() or [''])[0] if known.exists() else digest
    try:
        if digest != first:
            raise UserError(
                f'{archive.name} has the digest {digest[:12]}..., but {first[:12]}... is kept in {known}: '
                'download it again, or delete that file if the archive was published anew'
            )
        unpack(archive, final)
    except UserError:
        archive.unlink()
        raise
    write_text(known, f'{digest}  {archive.name}\n')


def _digest(path: pathlib.Path) -> str:
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def fetch(url: str, part: pathlib.Path) -> None:
    """Transfers what `part` lacks of a URL; what came of a cut transfer stays in it.

    Raises:
        UserError: the transfer failed or was cut, or the file is larger than any published archive.
    """
    have = part.stat().st_size if part.exists() else 0
    try:
        response = _open(url, have)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416 and have:  # Nothing follows what is there: it is of another file.
            part.unlink()
            return fetch(url, part)
        raise UserError(f'{url} cannot be downloaded: the server says {error.code} {error.reason}') from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, 'reason', error)
        raise UserError(
            f'{url} cannot be downloaded: {reason}; check the network and give the command again'
        ) from error
    with response:
        return _receive(response, url, part, have if response.status == 206 else 0)


def _open(url: str, have: int) -> Any:
    headers = {'Range': f'bytes={have}-'} if have else {}
    return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)


def _receive(response: Any, url: str, part: pathlib.Path, have: int) -> None:
    total = _total(response, have)
    if total is not None and total > LARGEST_ARCHIVE:
        raise UserError(f'{url} is {total} bytes long, more than any published archive: check the address')
    chunks = None if total is None else math.ceil((total - have) / _CHUNK)
    with open(part, 'r+b' if have else 'wb') as file:
        file.seek(have)
        for chunk in progress(_chunks(response, have), url.rpartition('/')[2], total=chunks, unit='MiB'):
            file.write(chunk)
        have = file.tell()
    if have > LARGEST_ARCHIVE:
        part.unlink()
        raise UserError(f'{url} is longer than any published archive: check the address')
    if total is not None and have != total:
        raise UserError(f'the transfer of {url} was cut at {have} of {total} bytes: give the command again to go on')


def _total(response: Any, have: int) -> int | None:
    """The length of the whole file, where the server tells it."""
    whole = re.fullmatch(rf'bytes {have}-\d+/(\d+)', response.headers.get('Content-Range', ''))
    length = response.headers.get('Content-Length', '')
    return int(whole[1]) if whole else have + int(length) if length.isdigit() else None


def _chunks(response: Any, have: int) -> Iterator[bytes]:
    """What the server sends until it ends, breaks off or goes on beyond the largest archive."""
    try:
        while have <= LARGEST_ARCHIVE and (chunk := response.read(_CHUNK)):
            have += len(chunk)
            yield chunk
    except (OSError, http.client.HTTPException):
        return
