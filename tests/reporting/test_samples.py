"""The few images that a run keeps for its report."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from deeplab_load.data import label_maps
from deeplab_load.data.examples import Examples
from deeplab_load.data.specs import get_spec
from deeplab_load.reporting import samples
from deeplab_load.reporting.image_rows import contact_sheet, cycle_rows
from deeplab_load.reporting.runs import Run


def png(array):
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, format='PNG')
    return stream.getvalue()


@pytest.fixture
def examples():
    """Ten images of 600 x 900 pixels with a void column each; the first id has a slash."""
    label = np.zeros((600, 900), np.uint8)
    label[:, 0] = 255
    ids = ('town/0', *(f'image {n}' for n in range(1, 10)))
    records = [
        {'image_id': i.encode(), 'image': png(np.zeros((600, 900, 3), np.uint8)), 'label': png(label)} for i in ids
    ]
    return Examples(
        spec=get_spec('shapes'), split='val', ids=ids, sizes=((600, 900),) * 10, digests=ids, image_digests=ids,
        positions=tuple(range(10)), records=records,
    )  # fmt: skip


def write_set(run_dir, name, examples, label):
    maps = [(image_id, np.full((600, 900), label, np.uint8)) for image_id in examples.ids]
    shard = label_maps.Shard('holdout', 0, 1, lambda: maps)
    label_maps.write_set(run_dir / 'buffer', name, [shard], label_maps.Origin('m', 'd'))


def test_the_choice_depends_on_the_ids_alone(examples):
    chosen = samples.choose(examples)
    assert len(chosen) == samples.IMAGES
    assert samples.choose(examples.subset(reversed(examples.ids))).ids == chosen.ids
    assert chosen.ids != examples.ids[: samples.IMAGES]


def test_a_name_of_any_length_has_a_folder(examples, tmp_path):
    names = ['图' * 80, '图' * 79 + '片']
    long = dataclasses.replace(
        examples.at([1, 2]),
        ids=tuple(names),
        records=[{**r, 'image_id': n.encode()} for r, n in zip(examples.records[1:3], names, strict=True)],
        positions=(0, 1),
    )
    samples.write_evaluated(
        tmp_path, 'g0', long, lambda chosen: ((i, np.zeros((600, 900), np.uint8)) for i in chosen.ids)
    )
    homes = list((tmp_path / samples.SAMPLES / 'evaluation').iterdir())
    assert len(homes) == 2
    assert all(len(home.name) < 255 and (home / 'g0.png').exists() for home in homes)


def test_a_picture_that_is_not_whole_yet_is_passed_over(examples, tmp_path):
    write_set(tmp_path, 'end-0', examples, 1)
    samples.keep_sets(tmp_path, examples)
    for home in (tmp_path / samples.SAMPLES / 'holdout').iterdir():
        (home / '.part-end-1.png').write_bytes(b'')
    rows = cycle_rows(Run(tmp_path, {}, [], {}))
    assert [title for title, _ in rows[0].pictures] == ['input', 'truth', 'end of cycle 0']


def test_what_is_kept_is_small_and_holds_the_labels(examples, tmp_path):
    segment = lambda chosen: ((i, np.full((600, 900), 6, np.uint8)) for i in chosen.ids)  # noqa: E731
    samples.write_evaluated(tmp_path, 'g0', examples, segment)
    homes = sorted((tmp_path / samples.SAMPLES / 'evaluation').iterdir())
    assert len(homes) == samples.IMAGES
    assert [sorted(p.name for p in home.iterdir()) for home in homes] == [['g0.png', 'image.jpg', 'truth.png']] * 6
    with Image.open(homes[0] / 'g0.png') as stored, Image.open(homes[0] / 'truth.png') as truth:
        assert stored.size == (480, 320)
        assert set(np.unique(stored)) == {6}
        assert tuple(stored.convert('RGB').getpixel((5, 5))) == examples.spec.colours[6]
        assert set(np.unique(truth)) <= {0, 255}


def test_the_maps_of_sets_stay_when_the_sets_leave_the_buffer(examples, tmp_path):
    write_set(tmp_path, 'g0', examples, 0)
    samples.keep_sets(tmp_path, examples)
    write_set(tmp_path, 'end-0', examples, 1)
    write_set(tmp_path, 'peak-0', examples, 2)
    samples.keep_sets(tmp_path, examples)
    label_maps.delete_set(tmp_path / 'buffer', 'g0')
    write_set(tmp_path, 'end-10', examples, 3)
    samples.keep_sets(tmp_path, examples)
    rows = cycle_rows(Run(tmp_path, {}, [], {}))
    titles = ['input', 'truth', 'g0', 'peak of cycle 0', 'end of cycle 0', 'end of cycle 10']
    assert [[title for title, _ in row.pictures] for row in rows] == [titles] * samples.IMAGES
    assert {row.image_id for row in rows} == set(samples.choose(examples).ids)
    labels = [int(np.array(Image.open(file)).max()) for _, file in rows[0].pictures[2:]]
    assert labels == [0, 2, 1, 3]
    assert contact_sheet(rows).height >= 160 * len(rows)


def test_a_set_that_was_kept_is_not_read_again(examples, tmp_path):
    write_set(tmp_path, 'g0', examples, 0)
    samples.keep_sets(tmp_path, examples)
    next((tmp_path / 'buffer' / 'g0').glob('holdout*')).write_bytes(b'damaged')
    samples.keep_sets(tmp_path, examples)
