"""Preparing a data set once, from the files of its owners to records in `data_dir`."""

import contextlib
import dataclasses
import errno
import fcntl
import io
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import tensorflow_datasets as tfds
from absl import logging

from deeplab_load import files
from deeplab_load.data.ade20k.builder import Ade20k
from deeplab_load.data.builder import SegmentationBuilder
from deeplab_load.data.cityscapes.builder import Cityscapes
from deeplab_load.data.download import download_archives
from deeplab_load.data.examples import Examples, open_examples
from deeplab_load.data.folder.builder import Folder
from deeplab_load.data.journal import Journal
from deeplab_load.data.pascal_voc.builder import PascalVoc
from deeplab_load.data.preprocessing import IGNORE_LABEL
from deeplab_load.data.shapes.builder import Shapes
from deeplab_load.data.sources import Source, source_path
from deeplab_load.data.specs import SPECS, DatasetSpec, ResizeRange, get_spec, spec_from_json
from deeplab_load.data.stanford_background.builder import StanfordBackground
from deeplab_load.errors import UserError

BUILDERS: dict[str, type[SegmentationBuilder]] = {
    builder.name: builder for builder in (PascalVoc, Cityscapes, StanfordBackground, Ade20k, Shapes, Folder)
}


@dataclass(frozen=True)
class Counts:
    """What the pixels of a split are: `pixels` and `images` count those of each label 0 to 255."""

    pixels: tuple[int, ...]
    images: tuple[int, ...]
    labelled: bool

    @property
    def void_share(self) -> float:
        """The share of void among all pixels."""
        return self.pixels[IGNORE_LABEL] / sum(self.pixels)

    def share(self, label: int) -> float | None:
        """The share of a class among the pixels that are not void; None if all are."""
        known = sum(self.pixels) - self.pixels[IGNORE_LABEL]
        return self.pixels[label] / known if known else None


@dataclass(frozen=True)
class Prepared:
    """A data set that lies whole in `data_dir`, with the splits that its source offered; `resize` is its examples'."""

    builder: SegmentationBuilder
    resize: ResizeRange | None = None

    @property
    def spec(self) -> DatasetSpec:
        """The data set's row in specs.py, or that of the folder it was prepared from."""
        name = self.builder.name
        return SPECS[name] if name in SPECS else spec_from_json(self.builder.info.metadata['spec'])

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that can be read."""
        return tuple(self.builder.info.metadata['splits'])

    def counts(self, split: str) -> Counts:
        """What the pixels of a split are, as counted when it was prepared."""
        columns = self.builder.info.metadata['splits'][split]
        return Counts(tuple(columns['pixels']), tuple(columns['images']), columns['labelled'])

    def examples(self, split: str, *, labelled: bool = True) -> Examples:
        """The examples of a split.

        Raises UserError if the source had no such split, or if `labelled` and it has no labels.
        """
        source = self.builder.info.metadata['source']
        if split not in self.splits:
            hint = f': {self.builder.hints[split]}' if split in self.builder.hints else ''
            there = ', '.join(self.splits)
            raise UserError(f'{self.spec.name} as prepared from {source} has no split {split!r}, only {there}{hint}.')
        examples = dataclasses.replace(open_examples(self.builder, self.spec, split), resize=self.resize)
        if labelled and not examples.labelled:
            raise UserError(
                f'Split {split!r} of {self.spec.name} as prepared from {source} has no labels: it can be predicted, '
                'but neither trained nor evaluated on.'
            )
        return examples


def prepare(
    name: str,
    *,
    data_dir: str | os.PathLike,
    manual_dir: str | os.PathLike | None = None,
    download: bool = False,
    resize: ResizeRange | None = None,
    progress: bool = True,
    check: Callable[[], None] = lambda: None,
    beam: Sequence[str] = (),
) -> Prepared:
    """Makes sure that data set `name` lies in `<data_dir>/<name>/<version>`, preparing it if need be.

    Every image and label map is checked on the way. What is prepared appears only when it is whole and remembers its
    source; with `manual_dir` None whatever is prepared is served, or downloaded first if `download`. A stopped
    preparation goes on. `check` is called after every image and may raise, to stop. With options of Apache Beam, such
    as runner=DirectRunner, its workers prepare a folder; then nothing of a stopped preparation stays.

    Raises:
        UserError: unknown name, missing or damaged files, or data prepared from another source.
    """
    folder = Path(data_dir).expanduser().absolute()
    builder = _builder(name, folder)
    if not builder.is_present:
        with _locked(folder, name):
            if not builder.is_present:
                if download and not manual_dir and not builder.spec.is_built_in:
                    manual_dir = download_archives(builder.spec, folder / 'downloads' / name)
                _generate(builder, builder.find_source(manual_dir), folder, progress=progress, check=check, beam=beam)
        builder = _builder(name, folder)
    _check_whole(builder)
    if manual_dir or builder.spec.is_built_in:
        _check_source(builder, builder.find_source(manual_dir))
    return Prepared(builder, resize)


def find_spec(name: str, *, data_dir: str | os.PathLike, manual_dir: str | os.PathLike | None = None) -> DatasetSpec:
    """The row of data set `name` before it is prepared: of a user's own data, by its folder or what is prepared of it.

    Only an archive has to be prepared for that.

    Raises:
        UserError: unknown name, or a folder that is missing or not complete.
    """
    builder = _builder(name, Path(data_dir).expanduser().absolute())
    if name in SPECS:
        return SPECS[name]
    if builder.is_present and not manual_dir:
        return Prepared(builder).spec
    path = source_path(manual_dir, builder.spec)
    return prepare(name, data_dir=data_dir, manual_dir=path).spec if path.is_file() else builder.open_folder(path).spec


def _builder(name: str, folder: Path) -> SegmentationBuilder:
    if name not in BUILDERS:
        get_spec(name)  # Raises UserError with the names there are.
    return BUILDERS[name](data_dir=folder)


@contextlib.contextmanager
def _locked(folder: Path, name: str) -> Iterator[None]:
    """Lets one process at a time prepare a data set; another one waits and then finds it prepared."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / f'.{name}.lock').open('w')
    except OSError as error:
        raise UserError(f'--data_dir={folder} cannot be written: {error.strerror}; give another folder.') from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _check_whole(builder: SegmentationBuilder) -> None:
    records = [Path(path) for split in builder.info.splits.values() for path in split.filepaths]
    if not records or not all(path.is_file() for path in records):
        raise UserError(f'{builder.data_dir} holds no whole data set: delete this folder to have it prepared again.')


def _check_source(builder: SegmentationBuilder, source: Source) -> None:
    prepared_from = builder.info.metadata['source']
    if builder.info.metadata['source_digest'] != source.digest:
        changed = 'has changed since' if prepared_from == source.path else f'is not {prepared_from}, from which'
        raise UserError(
            f'{source.path} {changed} {builder.data_dir} was prepared: delete the latter, or take another --data_dir.'
        )


def _generate(
    builder: SegmentationBuilder,
    source: Source,
    folder: Path,
    *,
    progress: bool,
    check: Callable[[], None],
    beam: Sequence[str],
) -> None:
    """Prepares the data; an archive is unpacked beside them and its files are removed afterwards.

    The unpacked files and the journal of what was checked stay where it stops.
    """
    for left_over in Path(builder.data_dir).parent.glob('*incomplete*'):
        shutil.rmtree(left_over)
    unpacked = folder / f'{builder.name}-unpacked-{source.digest[:12]}'
    contents = source.open(unpacked)
    place = folder / f'.{builder.name}-{builder.version}.journal'
    with files.writing(folder), _failing_as_others(), _quiet_tfds(), Journal(place) as journal:
        builder.prepare_from(source, contents, journal, progress=progress, check=check, beam=beam)
    journal.delete()
    shutil.rmtree(unpacked, ignore_errors=True)


@contextlib.contextmanager
def _failing_as_others() -> Iterator[None]:
    """Raises OSError where the writer of records, which raises RuntimeError, or the journal's find the disk full."""
    try:
        yield
    except (RuntimeError, sqlite3.OperationalError) as error:
        if not any(words in str(error) for words in ('No space left', 'disk is full', 'disk I/O error')):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error


@contextlib.contextmanager
def _quiet_tfds() -> Iterator[None]:
    """Silences TFDS's own bars, bold lines and log: there is one bar, ours."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.enable_progress_bar()
        logging.set_verbosity(verbosity)
