"""Evaluation by itself: `python -m deeplab_load.evaluate --checkpoint=PREFIX --dataset=pascal_voc --vocdevkit=FOLDER`.

What the model is, it reads from the checkpoint.
"""

import dataclasses
import json
import pathlib

from deeplab_load.commands import load_quietly, run_command
from deeplab_load.config import EvaluateConfig
from deeplab_load.errors import UserError


def main() -> None:
    """Entry of the command: flags, then the job."""
    run_command(EvaluateConfig, job)


def job(config: EvaluateConfig) -> None:
    """Evaluates a TF1 checkpoint on a split of a data set; prints the table and writes the JSON."""
    if config.json and not pathlib.Path(config.json).parent.is_dir():
        raise UserError(f'--json={config.json} is in a folder that does not exist; make it first.')
    stages = load_quietly('deeplab_load.stages')
    metrics, classes = stages.evaluate_checkpoint(config)
    print(stages.metrics_table(classes, {'IoU': metrics}))
    if config.json:
        record = {**dataclasses.asdict(metrics), 'per_class': dict(zip(classes, metrics.per_class, strict=True))}
        pathlib.Path(config.json).write_text(json.dumps(record, indent=1) + '\n')


if __name__ == '__main__':
    main()
