"""The zoo's table: what can be measured is, under the setting of its row, and what cannot says what is missing."""

import shutil

import pytest

from deeplab_load.catalog import CATALOG, row
from deeplab_load.config import EvaluateConfig
from deeplab_load.data.specs import get_spec
from deeplab_load.published import _under, compared

NAME = 'mobilenetv2_dm05_coco_voc_trainaug'


@pytest.fixture
def few_voc(testdata, tmp_path):
    """A VOCdevkit of four validation images."""
    source, root = testdata / 'data/voc2012_subset/VOCdevkit/VOC2012', tmp_path / 'VOCdevkit/VOC2012'
    ids = (source / 'ImageSets/Segmentation/val.txt').read_text().split()[:4]
    (root / 'ImageSets/Segmentation').mkdir(parents=True)
    (root / 'ImageSets/Segmentation/val.txt').write_text('\n'.join(ids))
    for folder, suffix in (('JPEGImages', 'jpg'), ('SegmentationClass', 'png')):
        (root / folder).mkdir()
        for image_id in ids:
            shutil.copy(source / folder / f'{image_id}.{suffix}', root / folder)
    return str(root.parent)


def test_a_row_is_measured_beside_what_was_published(testdata, few_voc, tmp_path):
    archives = str(testdata / 'data' / 'zoo')
    config = EvaluateConfig(zoo=NAME, checkpoints_dir=archives, vocdevkit=few_voc, data_dir=str(tmp_path / 'data'))
    header, _, line = compared(config).splitlines()
    assert header.split() == [
        'checkpoint', 'split', 'stride', 'scales', 'flip', 'published', 'measured', 'difference', 'images',
    ]  # fmt: skip
    name, split, stride, scales, flip, published, measured, difference, *images = line.split()
    assert (name, split, stride, scales, flip, published) == (NAME, 'val', '16', '1', 'no', '70.19')
    assert float(measured) - float(published) == pytest.approx(float(difference), abs=0.011)
    assert 40 < float(measured) < 100
    assert images == ['4', 'of', '1449']


def test_a_damaged_archive_is_told_and_the_others_are_measured(testdata, few_voc, tmp_path, capsys):
    archives = tmp_path / 'archives'
    archives.mkdir()
    (archives / row(NAME).folder).symlink_to(testdata / 'data' / 'zoo' / row(NAME).folder)
    damaged = row('mobilenetv2_coco_voc_trainaug')
    (archives / damaged.folder).mkdir()
    (archives / damaged.folder / 'model.ckpt-30000.index').write_bytes(b'no index')
    config = EvaluateConfig(
        zoo='all', checkpoints_dir=str(archives), vocdevkit=few_voc, data_dir=str(tmp_path / 'data')
    )
    table, _, missing = compared(config).partition('\n\n')
    measured = [line.split() for line in table.splitlines() if line.endswith('4 of 1449')]
    assert [words[0] for words in measured] == [NAME]
    assert f'{NAME}: mIoU {measured[0][6]} %, published 70.19 %.' in capsys.readouterr().out
    (words,) = [line for line in missing.splitlines() if line.startswith(damaged.name)]
    assert 'model.ckpt-30000' in words


def test_everything_is_missing_from_empty_folders(tmp_path):
    config = EvaluateConfig(zoo='all', checkpoints_dir=str(tmp_path), data_dir=str(tmp_path / 'data'))
    table, _, missing = compared(config).partition('\n\n')
    results = sum(len(entry.results) for entry in CATALOG)
    assert len(table.splitlines()) == 2 + results
    assert all(line.split()[-3:] == ['-', '-', '-'] for line in table.splitlines()[2:])
    lines = dict(line.split(': ', 1) for line in missing.splitlines())
    assert list(lines) == [entry.name for entry in CATALOG if entry.results]
    for name, words in lines.items():
        assert f'`python -m deeplab_load.zoo download {name}`' in words
        assert f'`python -m deeplab_load.data check --dataset={row(name).dataset} --' in words
        tested = any(result.split == 'test' for result in row(name).results)
        assert ('--split=test' in words) == tested
    assert (
        '--output_stride=8 --eval_scales=0.75,1,1.25,1.5,1.75,2 --eval_flip'
        in lines['xception71_dpc_cityscapes_trainval']
    )


def test_the_settings_are_the_rows():
    config = EvaluateConfig(zoo='all', dataset='cityscapes', manual_dir='city', eval_batch_size=1)
    many = row('mobilenetv2_coco_cityscapes_trainfine')
    found = _under(config, many, many.results[1])
    assert (found.checkpoint, found.dataset, found.manual_dir, found.split) == (many.name, 'cityscapes', 'city', 'val')
    assert (found.output_stride, found.eval_scales, found.eval_flip) == (8, (0.75, 1.0, 1.25), True)
    assert found.eval_crop_size == ()
    assert get_spec('cityscapes').eval_crop_size == (1025, 2049)
    alone = _under(EvaluateConfig(zoo=many.name, manual_dir='city'), many, many.results[0])
    assert alone.manual_dir == 'city'
    scenes = row('mobilenetv2_ade20k_train')
    found = _under(config, scenes, scenes.results[0])
    assert (found.dataset, found.manual_dir, found.eval_crop_size) == ('ade20k', None, (257, 257))
    assert (found.min_resize_value, found.max_resize_value, found.resize_factor) == (257, 257, 16)
