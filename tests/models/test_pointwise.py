"""Convolutions of 1x1 with gradients as products of matrices: TensorFlow's values and gradients."""

import numpy as np
import pytest
import tensorflow as tf

from deeplab_load.models import pointwise as module
from deeplab_load.models.pointwise import pointwise


def plain(x, kernel):
    return tf.nn.conv2d(x, kernel, 1, 'SAME')


def gradients(convolve, x, kernel):
    with tf.GradientTape() as tape:
        tape.watch([x, kernel])
        y = convolve(x, kernel)
        loss = tf.reduce_sum(tf.sin(y))
    return y, *tape.gradient(loss, [x, kernel])


@pytest.fixture(params=[True, False], ids=['oneDNN', 'without'])
def has_onednn(request, monkeypatch):
    monkeypatch.setattr(module, 'has_dilated_depthwise', lambda: request.param)
    return request.param


@pytest.mark.parametrize('sides', [(9, 13), (1, 1)])
@pytest.mark.parametrize(('dtype', 'tolerance'), [(tf.float32, 2e-6), (tf.float64, 1e-13)])
@pytest.mark.usefixtures('has_onednn')
def test_it_is_tensorflows_convolution(sides, dtype, tolerance):
    random = np.random.default_rng(0)
    x, kernel = (tf.constant(random.normal(size=shape), dtype) for shape in ((3, *sides, 7), (1, 1, 7, 5)))
    for expected, found in zip(gradients(plain, x, kernel), gradients(pointwise, x, kernel), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def test_sides_may_be_unknown(has_onednn):
    x, kernel = tf.random.stateless_normal([2, 5, 6, 4], [0, 0]), tf.random.stateless_normal([1, 1, 4, 3], [0, 1])
    signature = [tf.TensorSpec([None, None, None, 4]), tf.TensorSpec([1, 1, 4, 3])]
    of_any_size = tf.function(lambda x, kernel: gradients(pointwise, x, kernel), input_signature=signature)
    for expected, found in zip(gradients(plain, x, kernel), of_any_size(x, kernel), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    operations = [o.type for o in of_any_size.get_concrete_function().graph.get_operations()]
    assert operations.count('MatMul') == (1 if has_onednn else 2)
    assert 'Conv2DBackpropFilter' not in operations


@pytest.mark.usefixtures('has_onednn')
def test_a_batch_without_images_has_a_gradient_of_zeros():
    _, of_x, of_kernel = gradients(pointwise, tf.zeros([0, 9, 9, 4]), tf.ones([1, 1, 4, 3]))
    assert of_x.shape == (0, 9, 9, 4)
    np.testing.assert_array_equal(of_kernel, np.zeros([1, 1, 4, 3]))
