"""The published dense prediction cell (core/dense_prediction_cell.py; Chen et al. 2018)."""

from dataclasses import dataclass

import keras

from deeplab_load.models.heads import DROPOUT_RATE
from deeplab_load.models.slim import ArgScope, convolution, split_separable
from deeplab_load.replicas import Dropout

SCOPE = 'meta_architecture'
FILTERS = 256
# The rates of the table are meant for this output stride and grow at finer ones.
NOMINAL_OUTPUT_STRIDE = 16


@dataclass(frozen=True)
class Branch:
    """A separable 3x3 convolution: its atrous rates for height and width, and the branch it takes (None: features)."""

    rate: tuple[int, int]
    source: int | None


DPC = (
    Branch((1, 6), None),
    Branch((18, 15), 0),
    Branch((6, 3), 1),
    Branch((1, 1), 0),
    Branch((6, 21), 0),
)


def dense_prediction_cell(features: keras.KerasTensor, *, output_stride: int, scope: ArgScope) -> keras.KerasTensor:
    """The branches of the table, concatenated, dropped out and projected (DensePredictionCell.build_cell).

    Args:
        features: [batch, height, width, channels] at the output stride.
        output_stride: image size over feature size, 8 or 16.
        scope: of `heads.arg_scope`.

    Returns:
        [batch, height, width, 256].
    """
    factor = NOMINAL_OUTPUT_STRIDE // output_stride
    outputs: list[keras.KerasTensor] = []
    for index, branch in enumerate(DPC):
        x = features if branch.source is None else outputs[branch.source]
        rate = (branch.rate[0] * factor, branch.rate[1] * factor)
        outputs.append(split_separable(x, FILTERS, f'{SCOPE}.branch{index}', scope, rate=rate))
    x = keras.layers.Concatenate(name=f'{SCOPE}.concat')(outputs)
    # Unlike ASPP, the cell drops out before its projection.
    x = Dropout(DROPOUT_RATE, seed=scope.seed, name=f'{SCOPE}.dropout')(x)
    return convolution(x, FILTERS, f'{SCOPE}.concat_projection', scope)
