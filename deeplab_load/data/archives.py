"""Archives of data sets: recognised, told apart, unpacked; a stopped unpacking goes on."""

import hashlib
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from deeplab_load.errors import UserError
from deeplab_load.reporting.progress import progress

SUFFIXES = ('.zip', '.tar', '.tar.gz', '.tgz')
BLOCKS = 64
BLOCK_BYTES = 1 << 16


def find_archives(path: Path) -> tuple[Path, ...]:
    """The archive itself, or the archives of a folder that holds no folders; none if the data lie there unpacked."""
    if path.is_file():
        return (path,)
    entries = sorted(path.iterdir())
    if any(entry.is_dir() for entry in entries):
        return ()
    return tuple(entry for entry in entries if entry.name.lower().endswith(SUFFIXES) and entry.name[0] != '.')


def archives_digest(archives: Sequence[Path]) -> str:
    """Hex digest of the files' sizes and of blocks spread evenly over them, read in a moment however large they are."""
    digests = sorted(_digest(path) for path in archives)
    return digests[0] if len(digests) == 1 else hashlib.sha256(''.join(digests).encode()).hexdigest()


def _digest(path: Path) -> str:
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open('rb') as archive:
        for block in range(BLOCKS):
            archive.seek(block * size // BLOCKS)
            digest.update(archive.read(BLOCK_BYTES))
    return digest.hexdigest()


def unpack(archives: Sequence[Path], folder: Path) -> Path:
    """Unpacks tars and zips into one folder; files that a stopped unpacking left whole stay.

    Raises:
        UserError: an archive is damaged, is none, or leads out of the folder; nothing unpacked is left then.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for archive in archives:
        try:
            if zipfile.is_zipfile(archive):
                _unpack_zip(archive, folder)
            else:
                _unpack_tar(archive, folder)
        except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError, RuntimeError) as error:
            shutil.rmtree(folder)
            raise UserError(f'{archive} is not a whole tar or zip archive ({error}): get it again.') from error
    return folder


def _unpack_tar(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as tar:
        for member in progress(tar, f'unpacking {archive.name}', unit='file'):
            if not (member.isfile() and _is_whole(folder / member.name, member.size)):
                tar.extract(member, folder, filter='data')


def _unpack_zip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as packed:
        for member in progress(packed.infolist(), f'unpacking {archive.name}', unit='file'):
            if not _is_whole(folder / member.filename, member.file_size):
                packed.extract(member, folder)


def _is_whole(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size
