"""Preparation by Apache Beam, whose workers, on this machine or others, read, check and write the pairs of a folder."""

import dataclasses
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
from apache_beam.runners.runner import create_runner

from deeplab_load.data.columns import Columns, Facts, facts_of
from deeplab_load.data.pairs import Pair, check_pair
from deeplab_load.data.sources import Contents, Faults
from deeplab_load.errors import UserError

FACTS = 'facts'


def pipeline_options(options: Sequence[str]) -> PipelineOptions:
    """Beam's options from such as runner=DirectRunner; raises UserError for a value or a runner that it has not."""
    found = PipelineOptions([f'--{option}' for option in options])
    try:
        runner = found.view_as(StandardOptions).runner
        create_runner(runner or 'DirectRunner')
        found.get_all_options()
    except (ValueError, ImportError, SystemExit) as error:
        raise UserError(f'--beam_options={",".join(options)} is not for Apache Beam: {error}.') from error
    return found


class CheckedPairs(beam.PTransform):
    """Checks the pairs of a split: gives (key, record), and writes what is to be remembered to files in a folder."""

    def __init__(self, contents: Contents, split: str, folder: Path):
        super().__init__(f'check {split}')
        # Every worker gets what follows; of the pairs it gets its own alone.
        self._contents = dataclasses.replace(contents, pairs={})
        self._pairs, self._split, self._folder = contents.pairs[split], split, folder

    def expand(self, pipeline: Any) -> Any:
        """The keys and records of the checked pairs."""
        numbered = list(enumerate(self._pairs))
        pairs = pipeline | 'pairs' >> beam.Create(numbered) | 'spread' >> beam.Reshuffle()
        checked = pairs | 'check' >> beam.Map(_check, self._contents, len(numbered))
        told = checked | 'facts' >> beam.Map(lambda found: json.dumps(found[1]))
        _ = told | 'remember' >> beam.io.WriteToText(str(self._folder / FACTS / self._split))
        return checked | 'records' >> beam.Map(lambda found: found[0])


def _check(numbered: tuple[int, Pair], contents: Contents, count: int) -> tuple[tuple[int, dict], dict]:
    """A pair's key and record, and its facts or what is wrong with it."""
    number, pair = numbered
    label, found = b'', {}
    try:
        (raw,) = contents.read([pair])
        image = raw.image
        checked = check_pair(raw, contents.spec, contents.decode_labels)
        label, found = checked.label_map, dataclasses.asdict(facts_of(raw, checked))
    except UserError as fault:
        image, found = b'', {'fault': str(fault)}
    record = {'image': image, 'label': label, 'image_id': pair.image_id}
    return ((number << 128) // count, record), {'number': number, **found}


def columns(folder: Path, counts: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    """The columns of splits of so many pairs from the files in a folder, which are deleted.

    Raises Faults naming every fault, and UserError if the files do not tell of all pairs.
    """
    found = {split: sorted(_read(folder, split), key=lambda facts: facts['number']) for split in counts}
    for split, count in counts.items():
        if [facts['number'] for facts in found[split]] != list(range(count)):
            raise UserError(
                f'Apache Beam left {len(found[split])} facts of {count} pairs of {split} in {folder}: all of its '
                'workers must find --data_dir under the same path.'
            )
    if faults := [facts['fault'] for split in counts for facts in found[split] if 'fault' in facts]:
        raise Faults(faults)
    shutil.rmtree(folder / FACTS)
    return {split: _column(listed) for split, listed in found.items()}


def _read(folder: Path, split: str) -> Iterator[dict]:
    for path in (folder / FACTS).glob(f'{split}-*-of-*'):
        yield from map(json.loads, path.read_text().splitlines())


def _column(listed: Sequence[dict]) -> dict[str, Any]:
    found = Columns()
    for facts in listed:
        names = [field.name for field in dataclasses.fields(Facts)]
        values = {name: facts[name] for name in names}
        pixels = {int(label): number for label, number in facts['pixels'].items()}
        found.add(Facts(**{**values, 'size': tuple(facts['size']), 'pixels': pixels}))
    return found.metadata()
