"""Submissions: what the servers of PASCAL VOC and Cityscapes take, complete or refused."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from deeplab_load.data.examples import Examples
from deeplab_load.data.preparation import prepare
from deeplab_load.data.specs import CITYSCAPES, PASCAL_VOC, SHAPES
from deeplab_load.errors import UserError
from deeplab_load.evaluation.evaluation import Prediction
from deeplab_load.evaluation.submission import check_complete, submission_folder, submitted
from deeplab_load.evaluation.trained import decoded


def examples_of(spec, *ids):
    none, sizes, positions = ('',) * len(ids), ((4, 6),) * len(ids), tuple(range(len(ids)))
    return Examples(spec, 'test', ids, sizes, none, none, positions, records=(), labelled=False)


def predictions_of(examples, label=3):
    void = np.full((4, 6), 255, np.uint8)
    return [Prediction(image_id, void, np.full((4, 6), label, np.uint8)) for image_id in examples.ids]


def submit(tmp_path, examples, predictions):
    return list(submitted(predictions, submission_folder(tmp_path, examples), examples))


def test_pascal_voc_takes_palette_pngs_in_its_layout(tmp_path):
    examples = examples_of(PASCAL_VOC, '2008_000001', '2008_000004')
    predictions = predictions_of(examples, label=20)
    assert submit(tmp_path, examples, predictions) == predictions
    folder = tmp_path / 'results' / 'VOC2012' / 'Segmentation' / 'comp6_test_cls'
    assert sorted(p.name for p in folder.iterdir()) == ['2008_000001.png', '2008_000004.png']
    with Image.open(folder / '2008_000001.png') as picture:
        assert (picture.mode, picture.size) == ('P', (6, 4))
        assert (np.asarray(picture) == 20).all()
        assert picture.convert('RGB').getpixel((0, 0)) == PASCAL_VOC.colours[20]


def test_cityscapes_samples_map_back_to_the_original_label_ids(testdata, tmp_path):
    source = testdata / 'data' / 'cityscapes_sample'
    prepared = prepare('cityscapes', data_dir=tmp_path / 'data', manual_dir=source, progress=False)
    examples = prepared.examples('train')
    labels = [decoded(examples, index)[1].numpy() for index in range(len(examples))]
    # The label map itself is predicted; a model predicts no void, which goes out as 0 here and is left aside.
    classes = [np.where(label == 255, 0, label).astype(np.uint8) for label in labels]
    rows = zip(examples.ids, labels, classes, strict=True)
    submit(tmp_path / 'out', examples, [Prediction(*row) for row in rows])
    written = sorted((tmp_path / 'out').iterdir())
    assert len(written) == 2
    for file, label in zip(written, labels, strict=True):
        city, image_id = file.name.split('_')[0], file.name.removesuffix('_pred_labelIds.png')
        original = np.asarray(Image.open(source / f'gtFine/train/{city}/{image_id}_gtFine_labelIds.png'))
        ours = np.asarray(Image.open(file))
        assert ours.shape == (1024, 2048)
        valid = label != 255
        assert valid.mean() > 0.8
        np.testing.assert_array_equal(ours[valid], original[valid])


def test_another_data_set_has_no_server(tmp_path):
    with pytest.raises(UserError, match='pascal_voc and cityscapes, which have test servers; shapes has none'):
        submission_folder(tmp_path, examples_of(SHAPES, 'a'))


def test_files_of_other_images_are_refused(tmp_path):
    examples = examples_of(CITYSCAPES, 'a_000000_000019')
    (tmp_path / 'b_000000_000019_pred_labelIds.png').touch()
    with pytest.raises(UserError, match=r'holds b_000000_000019_pred_labelIds\.png, which is of no image of test'):
        submission_folder(tmp_path, examples)


def test_what_is_missing_or_of_another_size_is_named(tmp_path):
    examples = examples_of(PASCAL_VOC, 'a', 'b')
    with pytest.raises(UserError, match=r'not complete: b\.png is missing'):
        submit(tmp_path, examples, predictions_of(examples)[:1])
    wider = dataclasses.replace(examples, sizes=((4, 6), (4, 7)))
    with pytest.raises(UserError, match=r'b\.png is not 7x4 pixels'):
        submit(tmp_path, wider, predictions_of(examples))
    submit(tmp_path, examples, predictions_of(examples))
    folder = submission_folder(tmp_path, examples)
    Image.new('RGB', (6, 4)).save(folder / 'a.png')
    with pytest.raises(UserError, match=r'a\.png is not 6x4 pixels of labels'):
        check_complete(folder, examples)


def test_a_class_beyond_the_data_set_is_refused(tmp_path):
    examples = examples_of(PASCAL_VOC, 'a')
    with pytest.raises(UserError, match='label map of a holds a class beyond the 21'):
        submit(tmp_path, examples, predictions_of(examples, label=21))
