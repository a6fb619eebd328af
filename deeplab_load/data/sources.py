"""The folders and archives that users give: finding them, telling them apart, unpacking them."""

import hashlib
import os
import shutil
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deeplab_load.data.pairs import Pair
from deeplab_load.data.specs import DatasetSpec
from deeplab_load.errors import UserError

Pairs = Mapping[str, Sequence[Pair]]

ARCHIVE_BLOCKS = 64
ARCHIVE_BLOCK_BYTES = 1 << 16


@dataclass(frozen=True)
class Source:
    """What data are prepared from: the pairs listed in a folder, or an archive still to be unpacked."""

    path: str
    digest: str
    pairs: Pairs | None = None


def source_path(manual_dir: str | os.PathLike | None, spec: DatasetSpec) -> Path:
    """The absolute path of the folder or archive the user named; raises UserError if there is none."""
    if not manual_dir:
        raise UserError(f'{spec.name} is not prepared yet: name {spec.source} with {spec.source_flag}.')
    path = Path(manual_dir).expanduser().absolute()
    if not path.exists():
        raise UserError(f'{path} does not exist: name {spec.source} with {spec.source_flag}.')
    if path.is_dir() and not any(path.iterdir()):
        raise UserError(f'The folder {path} is empty: name {spec.source} with {spec.source_flag}.')
    return path


def only_root(folder: Path, candidates: Iterable[Path], holds: str, spec: DatasetSpec) -> Path:
    """The one candidate that exists and contains `holds`; raises UserError for none or several."""
    found = sorted({candidate.resolve() for candidate in candidates if (candidate / holds).is_dir()})
    if len(found) != 1:
        several = f' (it has {len(found)} such folders)' if found else ''
        raise UserError(f'{folder} has no single {holds}/{several}: name {spec.source} with {spec.source_flag}.')
    return found[0]


def folder_digest(pairs: Pairs) -> str:
    """Hex digest of the lists and of the size of every file listed; an edit that keeps all sizes is not seen.

    Raises UserError naming the first file that a list names but the disk does not hold.
    """
    lines = [f'{split} {pair.image_id} {sizes}\n' for split, pair, sizes in _file_sizes(pairs)]
    return hashlib.sha256(''.join(lines).encode()).hexdigest()


def check_files(pairs: Pairs) -> None:
    """Raises UserError naming the first file that a list names but the disk does not hold."""
    for _ in _file_sizes(pairs):
        pass


def _file_sizes(pairs: Pairs) -> Iterator[tuple[str, Pair, list[int]]]:
    for split in sorted(pairs):
        for pair in pairs[split]:
            yield split, pair, [_file_size(path, pair, split) for path in (pair.image, pair.labels)]


def _file_size(path: Path, pair: Pair, split: str) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise UserError(
            f'{path} is missing, although split {split!r} lists {pair.image_id!r}: '
            'complete the folder or take the entry off the list.'
        ) from error


def archive_digest(path: Path) -> str:
    """Hex digest of an archive's size and of blocks spread evenly over it, read in a moment however large it is."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open('rb') as archive:
        for block in range(ARCHIVE_BLOCKS):
            archive.seek(block * size // ARCHIVE_BLOCKS)
            digest.update(archive.read(ARCHIVE_BLOCK_BYTES))
    return digest.hexdigest()


def unpack(archive: Path, folder: Path) -> Path:
    """Unpacks a tar into `folder`, which appears only when whole; raises UserError naming a damaged archive."""
    if folder.is_dir():
        return folder
    partial = folder.with_name(f'.{folder.name}.partial')
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(partial, filter='data')
    except (tarfile.TarError, EOFError, zlib.error) as error:
        shutil.rmtree(partial)
        raise UserError(f'{archive} is not a whole tar archive ({error}): get it again.') from error
    partial.rename(folder)
    return folder
