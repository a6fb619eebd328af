"""Runs the small run on a full disk, makes a little room after each failure, and compares its end byte for byte.

    mount -t tmpfs -o size=64m none /mnt/small
    python -m bench.full_disk --folder=/mnt/small [--room=200000]

A file of zeros fills the file system that the folder is on, which should be small, and gives way by `--room` bytes each
time. Prints what could not be written; exits with 1 if a failure was told otherwise than in one sentence, or if the end
differs.
"""

import argparse
import pathlib
import re
import sys
import tempfile
from collections import Counter

from tests.storm import LARGER, Place, differences

SENTENCE = re.compile(r'deeplab_load: (\S.*) cannot be written: No space left on device; make room .*\n')


def fill(ballast: pathlib.Path) -> None:
    """Fills the file system with one file."""
    with open(ballast, 'wb', buffering=0) as file:
        for block in (1 << 20, 1 << 10):
            try:
                while True:
                    file.write(bytes(block))
            except OSError:
                pass


def main() -> None:
    """Entry of the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--folder', required=True, help='a folder on a small file system')
    parser.add_argument('--room', type=int, default=200_000, help='bytes that are made free after each failure')
    arguments = parser.parse_args()
    folder, apart = pathlib.Path(arguments.folder), pathlib.Path(tempfile.mkdtemp(prefix='full-disk-'))
    undisturbed, disturbed = (Place(place / 'run', place / 'data', LARGER) for place in (apart, folder))
    undisturbed.finish()
    ballast, told, strange = folder / 'ballast', Counter(), []
    fill(ballast)
    while True:
        process = disturbed.start()
        _, errors = process.communicate()
        if process.returncode == 0 or not ballast.stat().st_size:
            break
        sentence = SENTENCE.fullmatch(errors)
        if process.returncode == 2 and sentence:
            told[re.sub(r'\d+', 'N', sentence[1])] += 1
        else:
            strange.append(f'exit status {process.returncode}: {errors[-2000:]}')
        print(process.returncode, errors[-2000:].strip(), flush=True)
        with open(ballast, 'r+b') as file:
            file.truncate(max(0, ballast.stat().st_size - arguments.room))
    found = differences(disturbed.run, undisturbed.run)
    print('\n'.join(f'{count:3d}  {path}' for path, count in sorted(told.items())))
    print('\n'.join(['told otherwise:', *strange]) if strange else 'every failure was one sentence')
    print(f'differences: {", ".join(found) or "none"}')
    sys.exit(bool(found or strange))


if __name__ == '__main__':
    main()
