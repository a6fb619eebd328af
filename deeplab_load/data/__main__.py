"""Data sets by themselves: `python -m deeplab_load.data check --dataset=pascal_voc --vocdevkit=VOCdevkit`.

`check` prepares the data set, unless it is, which checks every image and label map; tells every fault with its file, or
else what is in the data; and reads every prepared record once.
"""

import sys

from deeplab_load.commands import load_quietly, run_command
from deeplab_load.config import DataOptions


def main() -> None:
    """Entry of the command: `check`, then flags."""
    if sys.argv[1:2] != ['check']:
        print('deeplab_load: give the command `check` and its options: check --dataset=NAME.', file=sys.stderr)
        sys.exit(2)
    del sys.argv[1]
    run_command(DataOptions, job)


def job(config: DataOptions) -> None:
    """Checks a data set and tells what is in it."""
    config.require_dataset()
    preflight = load_quietly('deeplab_load.data.preflight')
    preflight.check(config.dataset, data_dir=config.data_dir, manual_dir=config.source, download=config.download)


if __name__ == '__main__':
    main()
