"""A user's mistakes with checkpoints and data: one sentence that says what, where and what to do."""

import re

import pytest

from deeplab_load.catalog import Architecture
from deeplab_load.config import Config, EvaluateConfig
from deeplab_load.errors import UserError
from deeplab_load.evaluate import job as evaluate
from deeplab_load.main import job as main
from deeplab_load.models.deeplab import build_segmentor
from deeplab_load.restore.restoring import save


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    prefix = tmp_path_factory.mktemp('checkpoint') / 'model.ckpt'
    save(build_segmentor(Architecture('mobilenet_v2', num_classes=21, depth_multiplier=0.1)), prefix)
    return str(prefix)


def refused(job, config):
    with pytest.raises(UserError) as info:
        job(config)
    sentence = str(info.value)
    assert '\n' not in sentence
    return sentence


def run_config(tmp_path, **options):
    return Config(run_dir=str(tmp_path / 'run'), data_dir=str(tmp_path / 'data'), **options)


def test_nothing_to_start_from(tmp_path):
    sentence = refused(main, run_config(tmp_path, dataset='shapes'))
    assert 'give --checkpoint, or stage 1 by --pixelwise_epochs' in sentence


def test_a_missing_checkpoint(tmp_path):
    sentence = refused(main, run_config(tmp_path, dataset='shapes', checkpoint='no/model.ckpt'))
    assert 'there is no checkpoint at no/model.ckpt' in sentence
    sentence = refused(evaluate, EvaluateConfig(checkpoint='runs/no'))
    assert 'there is no checkpoint at runs/no: give another path' in sentence
    sentence = refused(evaluate, EvaluateConfig(dataset='shapes'))
    assert '--checkpoint is missing' in sentence


def test_a_checkpoint_of_another_variant_is_named(tmp_path, checkpoint):
    config = run_config(tmp_path, dataset='pascal_voc', checkpoint=checkpoint, depth_multiplier=0.5)
    sentence = refused(main, config)
    assert 'is MobileNetV2, depth multiplier 0.1, 21 classes, no ASPP, no decoder' in sentence
    assert 'asked for is MobileNetV2, depth multiplier 0.5' in sentence


def test_a_checkpoint_of_another_number_of_classes(tmp_path, checkpoint):
    config = run_config(tmp_path, dataset='stanford_background', checkpoint=checkpoint, depth_multiplier=0.1)
    assert re.search(r'has 21 classes, but 8 .*--fresh_head', refused(main, config))
    config = EvaluateConfig(dataset='cityscapes', checkpoint=checkpoint, data_dir=str(tmp_path))
    assert re.search(r'has 21 classes and cityscapes has 19', refused(evaluate, config))


def test_unknown_data_set(tmp_path, checkpoint):
    with pytest.raises(UserError, match=r'--dataset=pascal must be one of pascal_voc, '):
        EvaluateConfig(dataset='pascal', checkpoint=checkpoint, data_dir=str(tmp_path))


@pytest.mark.parametrize(('source', 'word'), [(None, '--vocdevkit'), ('nowhere', 'nowhere'), ('', 'empty')])
def test_missing_or_empty_data(tmp_path, checkpoint, source, word):
    folder = tmp_path / 'empty'
    folder.mkdir()
    config = run_config(
        tmp_path,
        dataset='pascal_voc',
        checkpoint=checkpoint,
        depth_multiplier=0.1,
        vocdevkit=str(folder) if source == '' else source,
    )
    sentence = refused(main, config)
    assert word in sentence
    assert '--vocdevkit' in sentence


def test_a_mistake_leaves_the_run_directory_free_for_the_next_try(tmp_path, checkpoint):
    refused(main, run_config(tmp_path, dataset='shapes', checkpoint=checkpoint, seed=1))
    assert 'nothing to start from' in refused(main, run_config(tmp_path, dataset='shapes', seed=2))
