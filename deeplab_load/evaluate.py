"""Evaluation by itself: `python -m deeplab_load.evaluate --checkpoint=MODEL --dataset=pascal_voc --vocdevkit=FOLDER`.

What the model is, it reads from the checkpoint; of a run directory it takes the best model, with the run's options.
`--zoo=all` or `--zoo=NAME` compares what was published with what is measured.
"""

import pathlib

from deeplab_load.commands import load_quietly, run_command
from deeplab_load.config import EvaluateConfig
from deeplab_load.errors import UserError
from deeplab_load.reporting.folders import writable_folder


def main() -> None:
    """Entry of the command: flags, then the job."""
    run_command(EvaluateConfig, job)


def job(config: EvaluateConfig) -> None:
    """Evaluates a model on a split of a data set; prints the table and writes the files that were asked for."""
    if config.zoo:
        print(load_quietly('deeplab_load.published').compared(config))
        return
    if config.json and not (file := pathlib.Path(config.json).expanduser()).parent.is_dir():
        raise UserError(f'--json={config.json} is in a folder that does not exist; make it first.')
    if config.json and file.is_dir():
        raise UserError(f'--json={config.json} is a folder: name a file in it.')
    if config.output_dir:
        writable_folder(config.output_dir, '--output_dir')
    _ = config.model  # It is missed before TensorFlow is loaded.
    appraisal = load_quietly('deeplab_load.appraisal')
    appraisal.show(config, appraisal.appraise(config))


if __name__ == '__main__':
    main()
