"""Values for a segmentor that is not DeepLab's."""

import pathlib
import zipfile

import keras
import tensorflow as tf

from deeplab_load.errors import UserError
from deeplab_load.restore.checkpoint import read_checkpoint
from deeplab_load.restore.names import assign, named_variables
from deeplab_load.restore.restoring import SKIPPED, Restoration, strict_values

KERAS_FILES = ('.h5', '.keras')


def restore_foreign(model: keras.Model, path: str | pathlib.Path) -> Restoration:
    """Fills every variable of the model.

    Args:
        model: of `models.foreign.build_foreign`.
        path: weights as Keras saves them for the function's own model (`*.weights.h5`, `*.keras`), or a snapshot of a
            run with the same function, as `read_checkpoint` takes it.

    Raises:
        UserError: there is no such file, or it does not fit.
    """
    path, named = pathlib.Path(path), named_variables(model)
    skipped: dict[str, str] = {}
    if path.suffix in KERAS_FILES:
        try:
            model.layers[-1].load_weights(path)
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            said = ' '.join(str(error).split())[:200]
            raise UserError(f'--checkpoint={path} cannot be loaded into the model of --segmentor: {said}') from error
    else:
        wanted = {name: tuple(variable.shape) for name, variable in named.items()}
        dtypes = {name: tf.as_dtype(variable.dtype) for name, variable in named.items()}
        values, skipped = strict_values(read_checkpoint(path), wanted, SKIPPED, dtypes)
        assign(model, values)
    return Restoration(tuple(sorted(named)), (), tuple(sorted(skipped.items())))
