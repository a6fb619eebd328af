"""The page: whole, self-contained, and with a file beside it for each table and figure."""

import csv
import html.parser
import re
import subprocess
import sys

import pytest

from deeplab_load.config import ReportConfig
from deeplab_load.errors import UserError
from deeplab_load.report import job

from .scripted import write_run

VOID = {'meta', 'img', 'br', 'hr', 'link', 'input'}


class Reader(html.parser.HTMLParser):
    """Checks that elements nest, and gathers headings, addresses and words."""

    def __init__(self):
        super().__init__()
        self.open, self.headings, self.addresses, self.words, self.ids = [], [], [], [], []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.addresses += [values[k] for k in ('src', 'href', 'xlink:href') if k in values]
        self.ids += [values['id']] if 'id' in values else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, words):
        self.words.append(words)
        if self.open and self.open[-1] in ('h2', 'h3'):
            self.headings.append(words)


def read(file):
    reader = Reader()
    text = file.read_text()
    reader.feed(text)
    assert not reader.open
    assert all(address.startswith(('data:', '#')) for address in reader.addresses)
    assert not re.search(r'<script|@import|url\((?!#)|<link', text)
    return reader


@pytest.fixture(scope='module')
def several(tmp_path_factory):
    """The report on two seeds of LoAd and Luc et al., on λ = 0, on a run that is not over, and on other data."""
    home = tmp_path_factory.mktemp('runs')
    settings = {
        'load-0': {}, 'load-1': {'seed': 1}, 'control': {'adversarial_weight': 0.0},
        'open': {'seed': 2, 'finished': False},
        'luc': {'algorithm': 'luc', 'total_propagations': 30}, 'luc-1': {'algorithm': 'luc', 'total_propagations': 30,
        'seed': 1}, 'other': {'dataset': 'shapes', 'samples': False},
    }  # fmt: skip
    folders = [str(write_run(home / name, **values)) for name, values in settings.items()]
    job(ReportConfig(paper=True), folders)
    return home / 'report'


def test_the_page_stands_alone_and_has_every_part(several):
    page = read(several / 'report.html')
    for heading in (
        'Convergence', 'IoU by class', 'Images', 'Confusion', 'Stability', 'Cost, in seconds', 'Options',
        'Balanced accuracy of the discriminator on the hold-out, in %', 'Stability metrics (Table 9)',
        'mIoU (seeds) by λ (Table 8)',
    ):  # fmt: skip
        assert heading in page.headings
    assert len(page.ids) == len(set(page.ids))
    assert sum(address.startswith('data:image/jpeg') for address in page.addresses) == 4
    words = ' '.join(page.words)
    assert 'LoAd, λ\u00a0=\u00a01, seed 2, not finished' in words.replace(' = ', '\u00a0=\u00a0')
    assert 'article: Luc et al.' in words
    assert 'second/half' not in words  # An image's id is in its alternative text alone.


def test_every_table_and_figure_lies_beside_the_page(several):
    page = (several / 'report.html').read_text()
    assert page.count('<svg') == len(list(several.glob('*.svg')))
    assert page.count('<table>') + 4 == len(list(several.glob('*.csv')))  # Counts of two confusion matrices twice.
    assert {p.stem for p in several.glob('*.svg')} < {p.stem for p in several.glob('*.png')}
    with open(several / 'per-class-1.csv') as file:
        rows = list(csv.reader(file))
    assert rows[0][:4] == ['IoU in %', 'baseline (3)', 'Luc et al. (2)', 'LoAd, λ = 0 (1)']
    assert len({len(row) for row in rows}) == 1


def test_a_run_that_is_not_over_has_its_page_in_its_folder(tmp_path, capsys):
    folder = write_run(tmp_path / 'run', finished=False)
    job(ReportConfig(), [str(folder)])
    page = read(folder / 'report' / 'report.html')
    assert 'Convergence' in page.headings
    assert 'Confusion' not in page.headings
    assert f'report: {folder}/report/report.html' in capsys.readouterr().out


def test_the_same_run_twice_is_one_run(tmp_path):
    folder = write_run(tmp_path / 'run', samples=False)
    job(ReportConfig(output_dir=str(tmp_path / 'out')), [str(folder), f'{folder}/'])
    assert 'report on 1 run<' in (tmp_path / 'out' / 'report.html').read_text()


def test_without_a_run_directory_the_command_says_what_to_give():
    with pytest.raises(UserError, match='give one or more run directories'):
        job(ReportConfig(), [])
    with pytest.raises(UserError, match=r'RUN_DIR is \\udcff, which is not UTF-8: give another name'):
        job(ReportConfig(), ['\udcff'])
    outcome = subprocess.run(
        [sys.executable, '-m', 'deeplab_load.report', 'nowhere'], capture_output=True, text=True, check=False
    )
    assert outcome.returncode == 2
    assert outcome.stderr.count('\n') == 1
    assert 'nowhere holds no config.json' in outcome.stderr


def test_names_of_classes_and_options_are_escaped(tmp_path):
    folder = write_run(tmp_path / 'run', samples=False, train_split='<b>&')
    job(ReportConfig(), [str(folder)])
    assert '&lt;b&gt;&amp;' in (folder / 'report' / 'report.html').read_text()
    read(folder / 'report' / 'report.html')
