"""Pipelines of tf.data that call Python functions, and tell a user's mistake as these told it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from deeplab_load.data.service import Batch
from deeplab_load.errors import UserError

# What the functions hand to a pipeline.
BYTES, FLAG, SEED = tf.TensorSpec([], tf.string), tf.TensorSpec([], tf.bool), tf.TensorSpec([2], tf.int32)


@dataclass(frozen=True)
class Pipeline:
    """Batches of a pipeline, and the mistakes that `call` kept while it made them."""

    batches: tf.data.Dataset
    mistakes: list[UserError]

    def __iter__(self) -> Iterator[Batch]:
        """The batches, from the first; raises UserError where a function did, of which TensorFlow tells a traceback."""
        try:
            yield from self.batches
        except tf.errors.OpError as error:
            if self.mistakes:
                raise self.mistakes[0] from error
            raise

    def __len__(self) -> int:
        """Their number; raises TypeError where they have no end."""
        return len(self.batches)


def call(
    function: Callable, number: tf.Tensor, specs: tuple[tf.TensorSpec, ...], mistakes: list[UserError]
) -> list[tf.Tensor]:
    """Calls a Python function of a number in the graph; a UserError that it raises is added to the mistakes."""

    def kept(number: int) -> Any:
        try:
            return function(number)
        except UserError as mistake:
            mistakes.append(mistake)
            raise

    results = tf.numpy_function(kept, [number], [spec.dtype for spec in specs], stateful=False)
    return [tf.ensure_shape(result, spec.shape) for result, spec in zip(results, specs, strict=True)]
