"""Momentum as TF1 has it: the learning rate stays outside the accumulator."""

from collections.abc import Sequence

import keras
import tensorflow as tf


class Momentum:
    """a ← m·a + g; w ← w − lr·a, for a fixed list of variables (TF1 `tf.train.MomentumOptimizer`, not Nesterov).

    Keras' SGD multiplies the learning rate into its accumulator, which differs once the learning rate changes.
    """

    def __init__(self, variables: Sequence[keras.Variable], *, learning_rate: float, momentum: float):
        self.variables = tuple(variables)
        self.learning_rate = tf.Variable(learning_rate, dtype=tf.float32, trainable=False)
        self.momentum = momentum
        self.slots = tuple(tf.Variable(tf.zeros(v.shape), trainable=False) for v in self.variables)

    def apply(self, gradients: Sequence[tf.Tensor]) -> None:
        """Updates the variables with `gradients`, one for each of them in order."""
        for variable, slot, gradient in zip(self.variables, self.slots, gradients, strict=True):
            tf.raw_ops.ResourceApplyMomentum(
                var=variable.value.handle,
                accum=slot.handle,
                lr=self.learning_rate.read_value(),
                grad=gradient,
                momentum=self.momentum,
            )

    def reset(self) -> None:
        """Sets every accumulator to zero."""
        for slot in self.slots:
            slot.assign(tf.zeros_like(slot))
