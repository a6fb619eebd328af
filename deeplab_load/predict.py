"""What a model makes of photographs: `python -m deeplab_load.predict IMAGES... --checkpoint=MODEL --output_dir=FOLDER`.

IMAGES are JPEG and PNG files, folders of them, or patterns. For each one a label map, a colour map and an overlay are
written, and with `--side_by_side` the overlays of several models in a row.
"""

from deeplab_load.commands import load_quietly, run_command
from deeplab_load.config import PredictConfig
from deeplab_load.data.photographs import find_photographs, require_apart
from deeplab_load.errors import UserError
from deeplab_load.reporting.progress import say


def main() -> None:
    """Entry of the command: flags and images, then the job."""
    run_command(PredictConfig, job, operands=True)


def job(config: PredictConfig, images: list[str]) -> None:
    """Writes the pictures of all images; those that cannot be read are told, and make the command fail at its end."""
    photographs = find_photographs(images)
    checkpoints = (config.model, *config.side_by_side)
    folder = require_apart(photographs, config.output_dir)
    appraisal = load_quietly('deeplab_load.appraisal')  # TensorFlow is loaded once the arguments are right.
    painters = [appraisal.open_painter(config, checkpoint) for checkpoint in checkpoints]
    failures = load_quietly('deeplab_load.evaluation.prediction').paint_all(photographs, painters, folder)
    say(f'{len(photographs) - failures} images: {folder}')
    if failures:
        raise UserError(
            f'{failures} of {len(photographs)} images could not be read, as said above; mend or leave them.'
        )


if __name__ == '__main__':
    main()
