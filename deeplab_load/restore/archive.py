"""Unpacks an archive of a stranger's: files and folders only, inside one folder, of bounded size."""

import contextlib
import gzip
import os
import pathlib
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from deeplab_load.errors import UserError
from deeplab_load.files import sync_tree


class Bounds(NamedTuple):
    """What an archive of a kind may unpack to: so many times its size and so many bytes more, in so many files."""

    growth: int
    always: int
    members: int

    def bytes_of(self, archive: pathlib.Path) -> int:
        """The largest size of what an archive unpacks to."""
        return self.always + self.growth * archive.stat().st_size


# Weights hardly compress: an archive that grows more than this is none of weights.
OF_WEIGHTS = Bounds(growth=20, always=16 << 20, members=1000)
_LONGEST_READ = 1 << 20
_GZIP = b'\x1f\x8b'
_PLAIN = (tarfile.REGTYPE, tarfile.AREGTYPE)


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
    """An uncompressed stream that refuses to be read further than a bound, or much at once."""

    def __init__(self, stream: BinaryIO, bound: int, name: str) -> None:
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
    with opened(archive, OF_WEIGHTS) as (tar, members):
        for member in members:
            write(tar, member, folder)


@contextlib.contextmanager
def opened(archive: pathlib.Path, bounds: Bounds) -> Iterator[tuple[tarfile.TarFile, Iterator[tarfile.TarInfo]]]:
    """Opens a .tar or .tar.gz, and gives its members one by one, each once it is known to be harmless.

    Raises:
        UserError: a member leads out of its folder, is a link or a device, or there is more than `bounds` allow.
    """
    with open(archive, 'rb') as file:
        is_compressed = file.read(2) == _GZIP
    with gzip.open(archive) if is_compressed else open(archive, 'rb') as unzipped:
        stream = _BoundedStream(unzipped, bounds.bytes_of(archive), archive.name)  # type: ignore[arg-type]
        with tarfile.open(fileobj=stream, mode='r:') as tar:  # type: ignore[call-overload]
            yield tar, _harmless(tar, stream, bounds)
        while stream.read(_LONGEST_READ):  # The end of a compressed one has the checksum.
            pass


def _harmless(tar: tarfile.TarFile, stream: _BoundedStream, bounds: Bounds) -> Iterator[tarfile.TarInfo]:
    for count, member in enumerate(tar, start=1):
        require_harmless(member.name, member.isdir() or member.type in _PLAIN, stream.name)
        stream.require(member.size <= stream.bound - member.offset_data)
        require_count(count, bounds, stream.name)
        yield member


def require_count(count: int, bounds: Bounds, archive: str) -> None:
    """Refuses an archive of more files than its kind has."""
    if count > bounds.members:
        raise UserError(f'the archive {archive} holds more than {bounds.members} files; it is not unpacked')


def require_harmless(name: str, is_plain: bool, archive: str) -> None:
    """Refuses a member of an archive without a name, one that leads out, and what is neither plain file nor folder."""
    if not name:
        raise UserError(f'the archive {archive} holds a file without a name; it is not unpacked')
    path = pathlib.PurePosixPath(name)
    if path.is_absolute() or '..' in path.parts:
        raise UserError(f'the archive {archive} holds {name!r}, which leaves its folder; it is not unpacked')
    if not is_plain:
        raise UserError(f'the archive {archive} holds {name!r}, a link or a device; it is not unpacked')


def write(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: pathlib.Path) -> None:
    """Writes a file or a folder of an archive into a folder; raises FileExistsError for a file that is there."""
    target = folder / member.name
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    source = tar.extractfile(member)
    assert source is not None, 'a plain file has content'
    with source, open(target, 'xb') as file:
        shutil.copyfileobj(source, file, _LONGEST_READ // 2)
