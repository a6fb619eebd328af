"""Evaluation by itself: `python -m deeplab_load.evaluate --checkpoint=MODEL --dataset=pascal_voc --vocdevkit=FOLDER`.

What the model is, it reads from the checkpoint; of a run directory it takes the best model, with the run's options.
"""

import pathlib

from deeplab_load.commands import load_quietly, run_command
from deeplab_load.config import EvaluateConfig
from deeplab_load.errors import UserError


def main() -> None:
    """Entry of the command: flags, then the job."""
    run_command(EvaluateConfig, job)


def job(config: EvaluateConfig) -> None:
    """Evaluates a model on a split of a data set; prints the table and writes the files that were asked for."""
    if config.json and not pathlib.Path(config.json).parent.is_dir():
        raise UserError(f'--json={config.json} is in a folder that does not exist; make it first.')
    if not config.checkpoint:
        raise UserError('--checkpoint is missing: give a run directory, or the prefix of a TF1 checkpoint.')
    appraisal = load_quietly('deeplab_load.appraisal')  # TensorFlow is loaded once the flags are right.
    appraisal.show(config, appraisal.appraise(config))


if __name__ == '__main__':
    main()
