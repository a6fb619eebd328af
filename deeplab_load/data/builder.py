"""What the TFDS builders of all data sets share: features, checks and what is remembered of the source."""

import dataclasses
import tempfile
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from deeplab_load.data.archives import archives_digest, find_archives, unpack
from deeplab_load.data.columns import Columns, facts_of
from deeplab_load.data.journal import Journal
from deeplab_load.data.pairs import CheckedPair, Pair, RawPair, check_pair, decode_index_png, read_files
from deeplab_load.data.sources import Contents, Faults, Source, folder_digest, source_path
from deeplab_load.data.specs import DatasetSpec
from deeplab_load.data.tfrecords import find_shards, open_records, shards_digest
from deeplab_load.errors import UserError


class Metadata(tfds.core.MetadataDict):
    """What is remembered of a data set; `complete` gives what is known only when all records are written."""

    complete: Callable[[], Mapping[str, Any]] = staticmethod(dict)

    def save_metadata(self, data_dir: Any) -> None:
        """Writes it into the data set's folder."""
        self.update(self.complete())
        super().save_metadata(data_dir)


class SegmentationBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """A TFDS builder of image and label-map pairs; images are stored byte for byte as found.

    A data set says what a folder of its owners' files holds (`open_folder`).
    """

    VERSION = tfds.core.Version('1.1.0')
    spec: ClassVar[DatasetSpec]

    # What to do for a split that a source does not offer.
    hints: ClassVar[Mapping[str, str]] = {}

    # Nothing is downloaded; TFDS would look for a list of checksums, by way of a package that it does not require.
    url_infos: ClassVar[dict] = {}

    def __init_subclass__(cls, **kwargs):
        """Keeps data sets out of TFDS's registry, where their names may be taken."""
        super().__init_subclass__(skip_registration=True, **kwargs)

    @property
    def is_present(self) -> bool:
        """Whether the data set's folder is there; TFDS renames it into place when it is whole."""
        return Path(self.data_dir).exists()

    @classmethod
    def find_source(cls, manual_dir: Any) -> Source:
        """The folder, archives or TFRecords that the user named; raises UserError if missing or not complete."""
        path = source_path(manual_dir, cls.spec)
        if shards := find_shards(path):
            return Source(str(path), shards_digest(shards), lambda _: open_records(shards, cls.spec, cls.decode_record))
        if archives := find_archives(path):
            return Source(str(path), archives_digest(archives), lambda place: cls._open_archives(archives, place))
        contents = cls.open_folder(path)
        return Source(str(path), folder_digest(contents), lambda _: contents)

    @classmethod
    def _open_archives(cls, archives: Sequence[Path], place: Path) -> Contents:
        contents = cls.open_folder(unpack(archives, place))
        folder_digest(contents)  # Raises MissingFiles.
        return contents

    @classmethod
    def decode_record(cls, data: bytes, path: Path) -> np.ndarray:
        """The labels in a TFRecord of the original's scripts, uint8 [height, width] with void as 255."""
        return decode_index_png(data, path)

    @classmethod
    def open_folder(cls, folder: Path) -> Contents:
        """What the user's folder holds; raises UserError if it is not that of the data set, or not complete."""
        raise NotImplementedError

    def prepare_from(
        self,
        source: Source,
        contents: Contents,
        journal: Journal,
        *,
        progress: bool,
        check: Callable[[], None],
        beam: Sequence[str] = (),
    ) -> None:
        """Writes the records of all pairs and what their source is; with options of Apache Beam, by its workers.

        Raises Faults naming every file at fault.
        """
        self._contents, self._journal, self._may_stop = contents, journal, check
        self._faults: list[str] = []
        self._beam = _load_beam(contents) if beam else None
        spec = dataclasses.asdict(contents.spec)
        self.info.metadata.update(source=source.path, source_digest=source.digest, spec=spec, splits={})
        total = sum(len(listed) for listed in contents.pairs.values())
        # None leaves the bar out where the output is no terminal.
        disable = None if progress else True
        with (
            tqdm(total=total, desc=f'preparing {contents.spec.name}', unit='image', disable=disable) as self._bar,
            tempfile.TemporaryDirectory() as no_downloads,
        ):
            self.download_and_prepare(
                file_format='array_record',
                download_dir=no_downloads,
                download_config=tfds.download.DownloadConfig(
                    try_download_gcs=False, beam_options=self._beam and self._beam.pipeline_options(beam)
                ),
            )

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            'image': tfds.features.Image(shape=(None, None, 3)),
            'label': tfds.features.Image(shape=(None, None, 1), encoding_format='png'),
            'image_id': tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,
            metadata=Metadata(),
        )

    def _split_generators(self, dl_manager: object) -> dict[str, Any]:
        if self._beam:
            return self._on_beam(self._beam)
        last = tuple(self._contents.pairs)[-1]
        return {s: self._generate_examples(s, pairs, s == last) for s, pairs in self._contents.pairs.items()}

    def _on_beam(self, on_beam: types.ModuleType) -> dict[str, Any]:
        folder, counts = Path(self.data_dir), {split: len(pairs) for split, pairs in self._contents.pairs.items()}
        self.info.metadata.complete = lambda: {'splits': on_beam.columns(folder, counts)}
        return {split: on_beam.CheckedPairs(self._contents, split, folder) for split in counts}

    def _generate_examples(self, split: str, pairs: Sequence[Pair], last: bool) -> Iterator[tuple[int, dict]]:
        columns = Columns()
        for index, raw in enumerate(self._contents.read(pairs)):
            checked, label = self._check(raw), b''
            if checked:
                label = checked.label_map
                columns.add(facts_of(raw, checked))
            self._bar.update()
            self._may_stop()
            # Keys spread over TFDS's 128-bit range keep the order and still let it sort bucket by bucket on disk.
            yield (index << 128) // len(pairs), {'image': raw.image, 'label': label, 'image_id': raw.pair.image_id}
        self.info.metadata['splits'][split] = columns.metadata()
        if last and self._faults:
            raise Faults(self._faults)

    def _check(self, raw: RawPair) -> CheckedPair | None:
        """The checked pair, by the journal if it knows it; None for a fault, which is kept for the end."""
        key = self._contents.key(raw)
        checked = self._journal.get(key)
        if checked is None:
            try:
                checked = check_pair(raw, self._contents.spec, self._contents.decode_labels)
            except UserError as fault:
                self._faults.append(str(fault))
                return None
            self._journal.add(key, checked)
        return checked


def _load_beam(contents: Contents) -> types.ModuleType:
    """What prepares on Apache Beam; raises UserError if it is not installed, or the pairs are not files."""
    if contents.read is not read_files:
        raise UserError('--beam_options is for images and label maps in a folder; leave it out.')
    try:
        from deeplab_load.data import on_beam
    except ModuleNotFoundError as error:
        raise UserError('--beam_options needs Apache Beam: pip install apache-beam.') from error
    return on_beam
