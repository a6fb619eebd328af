"""Fuzzes the parsers of files from outside, guided by the coverage of this package's code.

    python -m bench.fuzz [--parser=NAME|all] [--seconds=60] [--corpus=FOLDER]

A parser may give a value or raise UserError. Any other exception, a crash, 20 seconds or 4 GiB for one input are
findings, whose input is left in the corpus folder. Prints executions and findings; exits with 1 if there is any.
"""

import argparse
import pathlib
import re
import subprocess
import sys
import tempfile
import time

SETTINGS = ('-timeout=20', '-rss_limit_mb=4096', '-max_len=65536', '-print_final_stats=1')


def main() -> None:
    """Entry of the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--parser', default='all')
    parser.add_argument('--seconds', type=int, default=60, help='for each parser')
    parser.add_argument('--corpus', default=None, help='where inputs are kept')
    parser.add_argument('--child', action='store_true', help=argparse.SUPPRESS)
    options = parser.parse_args()
    corpus = pathlib.Path(options.corpus or tempfile.mkdtemp(prefix='fuzz-'))
    if options.child:
        _fuzz(options.parser, options.seconds, corpus)
    from tests.hostile.parsers import PARSERS

    names = list(PARSERS) if options.parser == 'all' else [options.parser]
    if unknown := set(names) - set(PARSERS):
        sys.exit(f'bench.fuzz: there is no parser {unknown.pop()!r}; give one of {", ".join(PARSERS)}.')
    found = [name for name in names if _supervise(name, options.seconds, corpus / name.replace(' ', '-'))]
    print(f'findings: {", ".join(found) or "none"}')
    sys.exit(bool(found))


def _supervise(name: str, seconds: int, corpus: pathlib.Path) -> bool:
    """Fuzzes one parser in a process of its own; returns whether anything was found."""
    corpus.mkdir(parents=True, exist_ok=True)
    child = [sys.executable, '-m', 'bench.fuzz', '--child', f'--parser={name}', f'--seconds={seconds}']
    began = time.monotonic()
    outcome = subprocess.run([*child, f'--corpus={corpus}'], capture_output=True, text=True, errors='replace')
    if 'bench.fuzz: ' in outcome.stderr:
        sys.exit(outcome.stderr.strip().splitlines()[-1])
    executions = re.findall(r'stat::number_of_executed_units: *(\d+)', outcome.stderr)
    count = f'{int(executions[-1]):9,d}' if executions else '        ?'
    print(f'{name:22s} {count} executions in {time.monotonic() - began:4.0f} s, exit status {outcome.returncode}')
    if outcome.returncode:
        print('\n'.join(outcome.stderr.splitlines()[-40:]))
    sys.stdout.flush()
    return bool(outcome.returncode)


def _fuzz(name: str, seconds: int, corpus: pathlib.Path) -> None:
    """Fuzzes one parser in this process, which ends with it."""
    try:
        import atheris
    except ImportError:
        sys.exit("bench.fuzz: atheris is missing: pip install 'deeplab_load[fuzz]' (Linux, Python up to 3.13).")
    import keras  # noqa: F401 - what is loaded before is not instrumented
    import tensorflow as tf  # noqa: F401
    import tensorflow_datasets as tfds  # noqa: F401

    with atheris.instrument_imports(include=['deeplab_load']):
        from tests.hostile.mutations import told
        from tests.hostile.parsers import PARSERS, scratch
    parser = PARSERS[name]
    with scratch() as folder:
        for number, seed in enumerate(parser.seeds(pathlib.Path(folder))):
            (corpus / f'seed-{number}').write_bytes(seed)

    def parse(content: bytes) -> None:
        with scratch() as folder:
            told(parser.parse, content, pathlib.Path(folder))

    arguments = [*SETTINGS, f'-max_total_time={seconds}', f'-artifact_prefix={corpus}/finding-', str(corpus)]
    atheris.Setup([sys.argv[0], *arguments], parse)
    atheris.Fuzz()


if __name__ == '__main__':
    main()
