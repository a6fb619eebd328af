"""What the TFDS builders of all data sets share: features, checks and what is remembered of the source."""

import dataclasses
import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from deeplab_load.data.archives import archives_digest, find_archives, unpack
from deeplab_load.data.journal import Journal
from deeplab_load.data.pairs import CheckedPair, Pair, RawPair, check_pair, decode_index_png
from deeplab_load.data.sources import Contents, Faults, Source, folder_digest, source_path
from deeplab_load.data.specs import DatasetSpec
from deeplab_load.data.tfrecords import find_shards, open_records, shards_digest
from deeplab_load.errors import UserError


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
        folder_digest(contents)  # Raises Faults for missing files.
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
        self, source: Source, contents: Contents, journal: Journal, *, progress: bool, check: Callable[[], None]
    ) -> None:
        """Writes the records of all pairs and what their source is.

        Raises Faults naming every file at fault.
        """
        self._contents, self._journal, self._may_stop = contents, journal, check
        self._faults: list[str] = []
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
                download_config=tfds.download.DownloadConfig(try_download_gcs=False),
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
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager: object) -> dict[str, Iterator]:
        last = tuple(self._contents.pairs)[-1]
        return {s: self._generate_examples(s, pairs, s == last) for s, pairs in self._contents.pairs.items()}

    def _generate_examples(self, split: str, pairs: Sequence[Pair], last: bool) -> Iterator[tuple[int, dict]]:
        columns: dict[str, list] = {'ids': [], 'sizes': [], 'digests': [], 'image_digests': []}
        pixels, images, labelled = np.zeros(256, np.int64), np.zeros(256, np.int64), True
        for index, raw in enumerate(self._contents.read(pairs)):
            checked, label = self._check(raw), b''
            labelled = labelled and raw.labels is not None
            if checked:
                label = checked.label_map
                pixels, images = pixels + checked.pixels, images + (checked.pixels > 0)
                columns['ids'].append(raw.pair.image_id)
                columns['sizes'].append(checked.size)
                columns['digests'].append(hashlib.sha256(raw.image + label).hexdigest()[:32])
                columns['image_digests'].append(hashlib.sha256(raw.image).hexdigest()[:32])
            self._bar.update()
            self._may_stop()
            # Keys spread over TFDS's 128-bit range keep the order and still let it sort bucket by bucket on disk.
            yield (index << 128) // len(pairs), {'image': raw.image, 'label': label, 'image_id': raw.pair.image_id}
        counts = {'pixels': pixels.tolist(), 'images': images.tolist()}
        self.info.metadata['splits'][split] = {**columns, **counts, 'labelled': labelled}
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
