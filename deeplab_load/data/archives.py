"""Archives of data sets: recognised, told apart, unpacked; a stopped unpacking goes on."""

import gzip
import hashlib
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from deeplab_load import files
from deeplab_load.errors import UserError
from deeplab_load.reporting.progress import progress
from deeplab_load.restore.archive import Bounds, opened, require_count, require_harmless, write

SUFFIXES = ('.zip', '.tar', '.tar.gz', '.tgz')
# Region files of Stanford Background, in text, grow the most: ten times.
OF_DATA = Bounds(growth=100, always=1 << 30, members=1_000_000)
_DAMAGES = (
    *(tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError, ValueError),
    *(NotImplementedError, RuntimeError, FileExistsError, IsADirectoryError, NotADirectoryError),
)
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
        UserError: an archive is damaged, is none, leads out of the folder, or holds links, devices or more than any of
            its kind, and nothing unpacked is left then; or the disk is full.
    """
    with files.writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for archive in archives:
            try:
                (_unpack_zip if zipfile.is_zipfile(archive) else _unpack_tar)(archive, folder)
            except _DAMAGES as error:
                shutil.rmtree(folder)
                raise UserError(f'{archive} is not a whole tar or zip archive ({error}): get it again.') from error
            except UserError:
                shutil.rmtree(folder)
                raise
    return folder


def _unpack_tar(archive: Path, folder: Path) -> None:
    with opened(archive, OF_DATA) as (tar, members):
        for member in progress(members, f'unpacking {archive.name}', unit='file'):
            place = folder / member.name
            if not (member.isfile() and _is_whole(place, member.size)):
                if member.isfile():
                    place.unlink(missing_ok=True)  # What a stopped unpacking left cut.
                write(tar, member, folder)


def _unpack_zip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as packed:
        members = packed.infolist()
        require_count(len(members), OF_DATA, archive.name)
        if sum(member.file_size for member in members) > OF_DATA.bytes_of(archive):
            raise UserError(f'the archive {archive.name} unpacks to more than its size allows; it is not unpacked')
        for member in progress(members, f'unpacking {archive.name}', unit='file'):
            kind = stat.S_IFMT(member.external_attr >> 16)
            require_harmless(member.filename, kind in (0, stat.S_IFREG, stat.S_IFDIR), archive.name)
            if not _is_whole(folder / member.filename, member.file_size):
                packed.extract(member, folder)


def _is_whole(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size
