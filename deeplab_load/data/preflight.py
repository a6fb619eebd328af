"""What is in a prepared data set: classes, void, images that two splits share, and whether the records are whole.

Sizes and labels were checked when the data were prepared (`pairs.check_pair`), which also counted the pixels; what is
told here is read from there.
"""

import os
from collections.abc import Sequence
from itertools import combinations

from deeplab_load.data.examples import Examples
from deeplab_load.data.pairs import check_pair
from deeplab_load.data.preparation import Prepared, prepare
from deeplab_load.data.sources import Contents, Faults, MissingFiles
from deeplab_load.errors import UserError, printable
from deeplab_load.reporting.progress import progress, say
from deeplab_load.reporting.tables import percent, table

NAMED = 5


def check(
    name: str,
    *,
    data_dir: str | os.PathLike,
    manual_dir: str | os.PathLike | None = None,
    download: bool = False,
    beam: Sequence[str] = (),
) -> None:
    """Prepares a data set, unless it is, reads all of its records and tells what is in it.

    Raises:
        UserError: there are faults, which were told one by one, or a record is damaged.
    """
    try:
        prepared = prepare(name, data_dir=data_dir, manual_dir=manual_dir, download=download, beam=beam)
    except Faults as faults:
        told = [*faults.sentences, *(faults_in(faults.rest) if isinstance(faults, MissingFiles) else ())]
        say('\n'.join(map(printable, told)))
        raise UserError(f'Faults in {name}: {len(told)}. Mend them and check again.') from faults
    splits = [prepared.examples(split, labelled=False) for split in prepared.splits]
    for examples in splits:
        check_records(examples)
    say(histogram_table(prepared))
    repeated = [note for examples in splits for note in repeated_images(examples)]
    say('\n'.join(map(printable, [*remarks(prepared, prepared.splits), *repeated])))
    say(f'No faults: {name}, {", ".join(f"{len(examples)} images in {examples.split}" for examples in splits)}.')


def faults_in(contents: Contents) -> list[str]:
    """A sentence for every pair of image and label map that is at fault, without preparing them."""
    told = []
    for pair in progress([pair for listed in contents.pairs.values() for pair in listed], 'checking', unit='image'):
        try:
            check_pair(next(contents.read([pair])), contents.spec, contents.decode_labels)
        except UserError as fault:
            told.append(str(fault))
    return told


def histogram_table(prepared: Prepared) -> str:
    """For each class and split the share of the pixels that are not void, in percent, and the images that have it."""
    spec, splits = prepared.spec, [split for split in prepared.splits if prepared.counts(split).labelled]
    counts = [prepared.counts(split) for split in splits]
    rows = [
        [name, *(cell for c in counts for cell in (percent(c.share(label)), str(c.images[label])))]
        for label, name in enumerate(spec.classes)
    ]
    void = [cell for c in counts for cell in (percent(c.void_share), str(c.images[spec.ignore_label]))]
    header = [cell for split in splits for cell in (f'{split} %', 'images')]
    totals = [cell for split in splits for cell in ('', str(len(prepared.examples(split))))]
    return table(['class', *header], [*rows, ['void, of all', *void], ['all', *totals]])


def remarks(prepared: Prepared, splits: Sequence[str]) -> list[str]:
    """What a user should know of these splits: void, classes that never occur, and images that two of them share."""
    told = []
    for split in splits:
        counts = prepared.counts(split)
        if not counts.labelled:
            told.append(f'{split} has no labels.')
            continue
        told.append(f'{split}: {percent(counts.void_share)} % of the pixels are void.')
        absent = [name for label, name in enumerate(prepared.spec.classes) if not counts.images[label]]
        if absent:
            told.append(f'{split}: no pixel of {_named(absent)}.')
    for first, second in combinations(splits, 2):
        told += shared_images(prepared, first, second)
    return told


def shared_images(prepared: Prepared, first: str, second: str) -> list[str]:
    """A sentence if two splits hold the same images, by their bytes; none if they do not."""
    one, other = (prepared.examples(split, labelled=False) for split in (first, second))
    ids = dict(zip(one.image_digests, one.ids, strict=True))
    twins = [(ids[d], i) for d, i in zip(other.image_digests, other.ids, strict=True) if d in ids]
    if not twins:
        return []
    named = _named([i if i == twin else f'{twin} (as {i})' for twin, i in twins])
    return [f'{second} has {len(twins)} of its {len(other)} images in common with {first}: {named}.']


def repeated_images(examples: Examples) -> list[str]:
    """A sentence if a split holds an image more than once, by its bytes; none if it does not."""
    ids: dict[str, list[str]] = {}
    for digest, image_id in zip(examples.image_digests, examples.ids, strict=True):
        ids.setdefault(digest, []).append(image_id)
    twins = [' = '.join(same) for same in ids.values() if len(same) > 1]
    return [f'{examples.split} holds the same image under several names: {_named(twins)}.'] if twins else []


def check_records(examples: Examples) -> None:
    """Reads every record of a split; raises UserError naming the first that is damaged."""
    for index in progress(range(len(examples)), f'reading {examples.split}', unit='image'):
        examples.encoded(index)


def _named(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ', '.join(names[:NAMED]) + (f' and {more} more' if more > 0 else '')
