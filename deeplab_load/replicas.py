"""Sums over the replicas of a step that `tf.distribute` runs on several devices; on one device nothing is added.

A batch is cut into slices, one for each replica. What a step minimises is a sum over the whole batch: each replica
computes its share, divided by counts of the whole batch, and the gradients of the shares are added up.
"""

import contextlib
import threading
from collections.abc import Iterator
from typing import TypeVar

import keras
import tensorflow as tf

T = TypeVar('T')

_blocks = threading.local()


def count() -> int:
    """The number of replicas of the step that is traced; 1 outside of one."""
    context = tf.distribute.get_replica_context()
    return context.num_replicas_in_sync if context else 1


def total(values: T) -> T:
    """Adds a tensor, or each of a list of tensors, up over the replicas; its gradient is added up as well."""
    if count() == 1:
        return values
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, values)


def mean(values: tf.Tensor) -> tf.Tensor:
    """This replica's share of the mean of `values` over the whole batch; the shares add up to it."""
    if count() == 1:
        return tf.reduce_mean(values)
    return tf.reduce_sum(values) / total(tf.cast(tf.size(values), values.dtype))


@contextlib.contextmanager
def two_blocks() -> Iterator[None]:
    """Lets `Dropout` know that a batch is two equal ones behind each other, each of them sliced by itself."""
    _blocks.number = 2
    try:
        yield
    finally:
        _blocks.number = 1


@keras.saving.register_keras_serializable(package='deeplab_load')
class Dropout(keras.layers.Dropout):
    """Dropout that drops the same of a batch whether or not it is cut into slices."""

    def call(self, inputs, training=False):
        """Drops of `inputs` `[slice, ...]` what Keras would drop of the whole batch."""
        if not training or self.rate == 0 or count() == 1:
            return super().call(inputs, training=training)
        rows, whole = _rows(tf.shape(inputs)[0], getattr(_blocks, 'number', 1))
        ones = tf.ones(tf.concat([[whole], tf.shape(inputs)[1:]], axis=0), inputs.dtype)
        return inputs * tf.gather(super().call(ones, training=True), rows)


def _rows(size: tf.Tensor, blocks: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The numbers that the rows of this replica's slice have in the whole batch, and the whole batch's size."""
    replica = tf.distribute.get_replica_context().replica_id_in_sync_group
    sizes = total(tf.one_hot(replica, count(), dtype=tf.int32) * (size // blocks))
    first, whole = tf.reduce_sum(sizes[:replica]), tf.reduce_sum(sizes)
    starts = tf.range(blocks)[:, None] * whole + first
    return tf.reshape(starts + tf.range(size // blocks), [-1]), blocks * whole
