"""The published MobileNetV2-0.5 on 300 VOC images: the original's own figures on the same files."""

import pytest

from deeplab_load.appraisal import appraise
from deeplab_load.config import EvaluateConfig


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
    return str(tmp_path_factory.mktemp('data'))


@pytest.mark.parametrize(('output_stride', 'miou', 'pixel_accuracy'), [(16, 0.6494, 0.9304), (8, 0.6625, 0.9328)])
def test_the_figures_are_the_originals(testdata, data_dir, output_stride, miou, pixel_accuracy):
    config = EvaluateConfig(
        dataset='pascal_voc',
        checkpoint=str(testdata / 'data' / 'zoo' / 'deeplabv3_mnv2_dm05_pascal_trainaug' / 'model.ckpt'),
        vocdevkit=str(testdata / 'data' / 'voc2012_subset' / 'VOCdevkit'),
        data_dir=data_dir,
        output_stride=output_stride,
    )
    found = appraise(config)
    metrics, classes = found.assessment.metrics, found.examples.spec.classes
    assert metrics.miou == pytest.approx(miou, abs=2e-4)
    assert metrics.pixel_accuracy == pytest.approx(pixel_accuracy, abs=2e-4)
    # No bird occurs, but some pixels are taken for one: its IoU of 0 counts in the original's mean.
    assert metrics.per_class[classes.index('bird')] == 0
    assert metrics.miou_present == pytest.approx(metrics.miou * 21 / 20)
