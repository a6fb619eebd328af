"""Unpacks an archive of a stranger's: files and folders only, inside one folder, of bounded size."""

import gzip
import os
import pathlib
import shutil
import tarfile
import zlib

from deeplab_load.errors import UserError
from deeplab_load.files import sync_tree

# Weights hardly compress: an archive that grows more than this is none of weights.
LARGEST_GROWTH = 20
ALWAYS_ALLOWED = 16 << 20  # bytes, whatever the archive's size
MOST_MEMBERS = 1000
_LONGEST_READ = 1 << 20


def unpack(archive: pathlib.Path, final: pathlib.Path) -> None:
    """Unpacks a .tar.gz into the folder `final`, which appears whole or not at all.

    Where everything in the archive is in one folder, that is the folder which becomes `final`.

    Raises:
        UserError: the archive is damaged, leads out of its folder, holds links, devices or a name twice, or is larger
            than its kind.
    """
    staging = final.with_name(f'.part-{final.name}')
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        _extract(archive, staging)
        entries = list(staging.iterdir())
        if not entries:
            raise UserError(f'the archive {archive.name} holds nothing; it is not unpacked')
        sync_tree(staging)
        single = len(entries) == 1 and entries[0].is_dir()
        os.replace(entries[0] if single else staging, final)
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error, ValueError) as error:
        raise UserError(f'the archive {archive.name} is cut or damaged ({error}); download it again') from error
    except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
        raise UserError(f'the archive {archive.name} holds a name twice; it is not unpacked') from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


class _BoundedStream:
    """A gzip stream that refuses to be read further than a bound, or much at once."""

    def __init__(self, stream: gzip.GzipFile, bound: int, name: str) -> None:
        self.stream, self.bound, self.name = stream, bound, name

    def read(self, size: int) -> bytes:
        """At most `size` bytes; tarfile takes a whole header at once, however long it says that it is."""
        self.require(size <= _LONGEST_READ and self.tell() + size <= self.bound + _LONGEST_READ)
        return self.stream.read(size)

    def seek(self, position: int) -> int:
        """Goes to a position within the bound."""
        self.require(position <= self.bound)
        return self.stream.seek(position)

    def tell(self) -> int:
        """The position in the uncompressed stream."""
        return self.stream.tell()

    def require(self, holds: bool) -> None:
        """Refuses the archive as too large unless the condition holds."""
        if not holds:
            raise UserError(f'the archive {self.name} unpacks to more than {self.bound} bytes; it is not unpacked')


def _extract(archive: pathlib.Path, folder: pathlib.Path) -> None:
    bound = ALWAYS_ALLOWED + LARGEST_GROWTH * archive.stat().st_size
    with gzip.open(archive) as unzipped:
        stream = _BoundedStream(unzipped, bound, archive.name)
        with tarfile.open(fileobj=stream, mode='r:') as tar:  # type: ignore[call-overload]
            for count, member in enumerate(tar, start=1):
                _require_harmless(member, archive.name)
                stream.require(member.size <= bound - member.offset_data)
                if count > MOST_MEMBERS:
                    raise UserError(f'the archive {archive.name} holds more than {MOST_MEMBERS} files')
                _write(tar, member, folder)
        while stream.read(_LONGEST_READ):  # Its end has the checksum.
            pass


def _require_harmless(member: tarfile.TarInfo, archive: str) -> None:
    path = pathlib.PurePosixPath(member.name)
    if path.is_absolute() or '..' in path.parts:
        raise UserError(f'the archive {archive} holds {member.name!r}, which leaves its folder; it is not unpacked')
    if not (member.isdir() or member.type in (tarfile.REGTYPE, tarfile.AREGTYPE)):
        raise UserError(f'the archive {archive} holds {member.name!r}, a link or a device; it is not unpacked')


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: pathlib.Path) -> None:
    target = folder / member.name
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    source = tar.extractfile(member)
    assert source is not None, 'a plain file has content'
    with source, open(target, 'xb') as file:
        shutil.copyfileobj(source, file, _LONGEST_READ // 2)
