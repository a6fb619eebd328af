"""What the TFDS builders of all data sets share: features, checks and what is remembered of the source."""

import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from deeplab_load.data.pairs import CheckedPair, Pair, check_pair, read_bytes
from deeplab_load.data.sources import Pairs, Source, archive_digest, folder_digest, source_path
from deeplab_load.data.specs import DatasetSpec


class SegmentationBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """A TFDS builder of image and label-map pairs; images are stored byte for byte as found.

    A data set says where its files are (`find_root`, `list_pairs`) and how its labels are read (`read_labels`).
    """

    VERSION = tfds.core.Version('1.0.0')
    spec: ClassVar[DatasetSpec]

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
    def find_source(cls, manual_dir: str | os.PathLike | None) -> Source:
        """The folder or archive that the user named; raises UserError if it is missing or not complete."""
        path = source_path(manual_dir, cls.spec)
        if path.is_file():
            return Source(str(path), archive_digest(path))
        pairs = cls.list_pairs(cls.find_root(path))
        return Source(str(path), folder_digest(pairs), pairs)

    @classmethod
    def find_root(cls, folder: Path) -> Path:
        """The data set's own folder in the one that the user named; raises UserError if it is not there."""
        raise NotImplementedError

    @classmethod
    def list_pairs(cls, root: Path) -> dict[str, list[Pair]]:
        """The pairs of every split that the folder offers, in the order in which they are stored."""
        raise NotImplementedError

    @classmethod
    def read_labels(cls, path: Path) -> np.ndarray:
        """The uint8 [height, width] label map in a file."""
        raise NotImplementedError

    def read_pair(self, pair: Pair) -> CheckedPair:
        """Reads and checks one pair; raises UserError naming the file at fault."""
        read = CheckedPair(pair.image_id, read_bytes(pair.image), self.read_labels(pair.labels))
        check_pair(read, self.spec, image_name=pair.image, labels_name=pair.labels)
        return read

    def prepare_from(self, source: Source, pairs: Pairs, *, progress: bool) -> None:
        """Writes the records of all pairs and what their source is."""
        self._pairs = pairs
        self.info.metadata.update(source=source.path, source_digest=source.digest, splits={})
        total = sum(len(listed) for listed in pairs.values())
        # None leaves the bar out where the output is no terminal.
        disable = None if progress else True
        with (
            tqdm(total=total, desc=f'preparing {self.spec.name}', unit='image', disable=disable) as self._bar,
            tempfile.TemporaryDirectory() as no_downloads,
        ):
            self.download_and_prepare(
                file_format='array_record',
                download_dir=no_downloads,
                download_config=tfds.download.DownloadConfig(try_download_gcs=False),
            )

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            'image': tfds.features.Image(encoding_format=self.spec.image_format),
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
        return {split: self._generate_examples(split, pairs) for split, pairs in self._pairs.items()}

    def _generate_examples(self, split: str, pairs: Sequence[Pair]) -> Iterator[tuple[int, dict]]:
        columns: dict[str, list] = {'ids': [], 'sizes': [], 'digests': []}
        self.info.metadata['splits'][split] = columns
        for index, pair in enumerate(pairs):
            read = self.read_pair(pair)
            label = read.encoded_label_map()
            columns['ids'].append(read.image_id)
            columns['sizes'].append(read.label_map.shape)
            columns['digests'].append(hashlib.sha256(read.image + label).hexdigest()[:32])
            self._bar.update()
            # Keys spread over TFDS's 128-bit range keep the order and still let it sort bucket by bucket on disk.
            yield (index << 128) // len(pairs), {'image': read.image, 'label': label, 'image_id': read.image_id}
