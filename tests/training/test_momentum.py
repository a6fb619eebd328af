"""Momentum against numbers worked out by hand."""

import keras
import numpy as np

from deeplab_load.training.momentum import Momentum


def test_the_learning_rate_stays_outside_the_accumulator():
    variable = keras.Variable([1.0])
    optimizer = Momentum([variable], learning_rate=0.1, momentum=0.5)
    optimizer.apply([np.array([2.0], np.float32)])  # a = 2, w = 1 − 0.2
    np.testing.assert_allclose(variable, [0.8], rtol=1e-6)
    optimizer.learning_rate.assign(0.01)
    optimizer.apply([np.array([4.0], np.float32)])  # a = 5, w = 0.8 − 0.05
    np.testing.assert_allclose(variable, [0.75], rtol=1e-6)


def test_reset_forgets_the_past():
    variable = keras.Variable([1.0])
    optimizer = Momentum([variable], learning_rate=0.1, momentum=0.5)
    optimizer.apply([np.array([2.0], np.float32)])
    optimizer.reset()
    optimizer.apply([np.array([0.0], np.float32)])
    np.testing.assert_allclose(variable, [0.8], rtol=1e-6)
