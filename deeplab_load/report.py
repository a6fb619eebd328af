"""The report on runs: `python -m deeplab_load.report RUN_DIR… [--paper] [--output_dir=FOLDER]`.

One self-contained HTML page, and its tables and figures as CSV, PNG and SVG beside it.
"""

import os
import pathlib

from deeplab_load.commands import load_quietly, require_text, run_command
from deeplab_load.config import NEUTRAL, ReportConfig, arm_options
from deeplab_load.errors import UserError
from deeplab_load.reporting.progress import say
from deeplab_load.reporting.runs import read_run


def main() -> None:
    """Entry of the command: flags and run directories, then the job."""
    run_command(ReportConfig, job, operands=True)


def job(config: ReportConfig, run_dirs: list[str]) -> None:
    """Writes the report on runs; prints the tables over all of them, and where the page is."""
    if not run_dirs:
        raise UserError('There is nothing to report on: give one or more run directories, such as runs/demo.')
    require_text({'RUN_DIR': run_dirs})
    runs = [read_run(run_dir) for run_dir in dict.fromkeys(map(os.path.abspath, run_dirs))]
    report = load_quietly('deeplab_load.reporting.report')
    home = runs[0].path if len(runs) == 1 else pathlib.Path(os.path.commonpath([run.path.parent for run in runs]))
    folder = pathlib.Path(config.output_dir or home / 'report').expanduser()
    file, tables = report.write_report(
        runs, folder, unbound=NEUTRAL, arm_options=arm_options(), with_paper=config.paper
    )
    say('\n\n'.join([*(table.text() for table in tables), f'report: {file}']))


if __name__ == '__main__':
    main()
