"""The folders and archives that users give: finding them, telling them apart, unpacking them."""

import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deeplab_load.data.pairs import DecodeLabels, Pair, RawPair, decode_index_png, read_files
from deeplab_load.data.specs import DatasetSpec
from deeplab_load.errors import UserError

Pairs = Mapping[str, Sequence[Pair]]


class Faults(UserError):
    """All mistakes found in a data set; told by the first, and how many more there are."""

    def __init__(self, sentences: Sequence[str]) -> None:
        more = len(sentences) - 1
        count = (
            f' There {"is" if more == 1 else "are"} {more} more: `python -m deeplab_load.data check` with the same '
            'options for the data tells all.'
        )
        super().__init__(sentences[0] + (count if more else ''))
        self.sentences = tuple(sentences)


@dataclass(frozen=True)
class Contents:
    """What a data set is made of: the pairs of each split it offers, and how their bytes and labels are read.

    `labels_text` is what else than a label file's bytes decides how its labels are read.
    """

    spec: DatasetSpec
    pairs: Pairs
    read: Callable[[Sequence[Pair]], Iterator[RawPair]] = read_files
    decode_labels: DecodeLabels = decode_index_png
    labels_text: str = ''

    def key(self, raw: RawPair) -> str:
        """Hex digest of all that decides the outcome of a pair's check."""
        digest = hashlib.sha256(f'{self.spec} {self.decode_labels.__qualname__} {self.labels_text}'.encode())
        for part in (raw.image, raw.labels or b''):
            digest.update(hashlib.sha256(part).digest())
        return digest.hexdigest()


class MissingFiles(Faults):
    """The files that are missing, before anything is read; `rest` is what can be."""

    def __init__(self, sentences: Sequence[str], rest: Contents) -> None:
        super().__init__(sentences)
        self.rest = rest


@dataclass(frozen=True)
class Source:
    """Where a data set is prepared from; `open` gives its contents, unpacking archives into the folder named."""

    path: str
    digest: str
    open: Callable[[Path], Contents]


def source_path(manual_dir: str | os.PathLike | None, spec: DatasetSpec) -> Path:
    """The absolute path of the folder or archive the user named; raises UserError if there is none."""
    if not manual_dir:
        download = ', or let --download fetch it' if spec.downloads else ''
        raise UserError(f'{spec.name} is not prepared yet: name {spec.source} with {spec.source_flag}{download}.')
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


def folder_digest(contents: Contents) -> str:
    """Hex digest of the lists, of the size of every file listed, and of the text that says how labels are read.

    An edit that keeps all sizes is not seen. Raises MissingFiles naming every listed file that is missing.
    """
    lines, faults = [contents.labels_text], []
    whole: dict[str, list[Pair]] = {split: [] for split in contents.pairs}
    for split in sorted(contents.pairs):
        for pair in contents.pairs[split]:
            try:
                sizes = [path.stat().st_size for path in (pair.image, pair.labels) if path]
                lines.append(f'{split} {pair.image_id} {sizes}\n')
                whole[split].append(pair)
            except OSError as error:
                faults.append(
                    f'{error.filename} is missing, although split {split!r} has the image {pair.image_id!r}: '
                    'complete the folder or leave the image out.'
                )
    if faults:
        raise MissingFiles(faults, dataclasses.replace(contents, pairs=whole))
    return hashlib.sha256(''.join(lines).encode()).hexdigest()


def find_files(folder: Path, pattern: str) -> list[Path]:
    """The files that match a pattern, sorted; raises UserError for one whose name can be no image's."""
    found = sorted(folder.glob(pattern))
    for path in found:
        check_name(path)
    return found


def check_name(path: Path) -> None:
    """Raises UserError for a file whose name is not UTF-8, or nothing but dots before its ending."""
    try:
        path.name.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f'{path.parent} has a file whose name is not UTF-8, {os.fsencode(path.name)!r}: rename it.'
        ) from error
    if path.stem in ('.', '..'):
        raise UserError(f'{path.parent} has an image without a name, {path.name}: rename it.')


def check_ids(ids: Sequence[str], path: Path) -> None:
    """Raises UserError naming the list `path` if it is empty, or has an entry twice or one that is no name."""
    if not ids:
        raise UserError(f'{path} lists no images: complete it, or remove it so that {path.stem!r} is not offered.')
    nameless = [i for i in ids if {'', '.', '..'}.intersection(i.split('/'))]
    if nameless:
        raise UserError(f'{path} lists {nameless[0]!r}, which is no name of an image: take it off the list.')
    if len(set(ids)) < len(ids):
        seen: set[str] = set()
        twice = next(i for i in ids if i in seen or seen.add(i))  # type: ignore[func-returns-value]
        raise UserError(f'{path} lists {twice!r} more than once: take the second entry off the list.')
