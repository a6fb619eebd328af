"""Kills a small run again and again, in every phase, and compares its end with an undisturbed run byte for byte.

    python -m bench.storm [--kills=64] [--seed=0] [--folder=FOLDER]

Takes about 20 seconds a kill on two cores. Exits with 1 if anything differs.
"""

import argparse
import pathlib
import sys
import tempfile
import time

from tests.storm import LARGER, PHASES, Place, differences, storm


def main() -> None:
    """Entry of the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--kills', type=int, default=64)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--folder', default=None, help='where the two runs are left')
    arguments = parser.parse_args()
    folder = pathlib.Path(arguments.folder or tempfile.mkdtemp(prefix='storm-'))
    began = time.monotonic()
    names = ('undisturbed', 'disturbed')
    undisturbed, disturbed = (Place(folder / name, folder / f'{name}-data', LARGER) for name in names)
    undisturbed.finish()
    done = storm(disturbed, arguments.kills, arguments.seed, say=lambda words: print(words, flush=True))
    found = differences(disturbed.run, undisturbed.run)
    print(f'{sum(done.values())} kills in {time.monotonic() - began:.0f} s:')
    print('\n'.join(f'  {phase}: {done[phase]}' for phase in PHASES))
    print(f'differences: {", ".join(found) or "none"}')
    sys.exit(bool(found))


if __name__ == '__main__':
    main()
