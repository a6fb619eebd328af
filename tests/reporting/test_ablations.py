"""Tables 6 to 9, filled from scripted runs."""

import numpy as np
import pytest

from deeplab_load.config import NEUTRAL
from deeplab_load.metrics import summarise
from deeplab_load.reporting.ablations import ablations

from .scripted import confusion


@pytest.fixture
def tables(experiments):
    def make(*settings, with_paper=False):
        found = ablations(experiments(*settings), ignored={*NEUTRAL, 'seed', 'versions'}, with_paper=with_paper)
        return {table.name: table for table in found}

    return make


def miou(seed, gain):
    return 100 * summarise(confusion(8, 0.8 + gain, seed)).miou


def test_without_variation_there_is_table_9_alone(tables):
    assert list(tables({'seed': 0}, {'seed': 1})) == ['table-9']


def test_without_load_there_are_none(tables):
    assert tables({'algorithm': 'luc', 'total_propagations': 9}) == {}


def test_table_6_has_baseline_and_load_for_each_backbone(tables):
    table = tables({'gain': 0.02}, {'model_variant': 'xception_65', 'gain': 0.03})['table-6']
    assert table.header == ('method', 'backbone', 'mIoU (seeds)')
    assert table.rows == (
        ('DLv3+', 'mobilenet_v2', f'{miou(0, 0):.2f} (1)'),
        ('DLv3+ & LoAd', 'mobilenet_v2', f'{miou(0, 0.02):.2f} (1)'),
        ('DLv3+', 'xception_65', f'{miou(0, 0):.2f} (1)'),
        ('DLv3+ & LoAd', 'xception_65', f'{miou(0, 0.03):.2f} (1)'),
    )


def test_table_7_has_a_row_for_each_setting_and_one_baseline(tables):
    settings = [{'seed': seed, **values} for seed in (0, 1) for values in ({}, {'gain': 0.03, 'beta_l': 0.1})]
    table = tables(*settings, {'adversarial_weight': 0.0}, with_paper=True)['table-7']
    both = np.array([miou(0, 0.03), miou(1, 0.03)])
    assert [row[0] for row in table.rows[:4]] == ['DLv3+', 'DLv3+ & LoAd', 'DLv3+ & LoAd', 'article: DLv3+ & LoAd']
    assert ('DLv3+ & LoAd', '10', '0.1', '12', '3', '', f'{both.mean():.2f} ± {both.std(ddof=1):.2f} (2)') in table.rows
    assert len(table.rows) == 3 + 6


def test_table_8_has_a_column_for_each_weight(tables):
    table = tables({}, {'adversarial_weight': 0.0, 'gain': 0.004}, {'adversarial_weight': 10.0})['table-8']
    assert table.header == ('data set', 'λ = 0', 'λ = 1', 'λ = 10')
    assert table.rows[0][:2] == ('stanford_background', f'{miou(0, 0.004):.2f} (1)')


def test_table_9_counts_divergences_and_successes_of_runs_with_an_adversary(tables):
    falling = [0.5 - 0.03 * (n % 3) for n in range(100)]
    steady = [0.5] * 100
    settings = [{'mus': falling}, {'seed': 1, 'mus': steady, 'gain': 0.0}, {'dataset': 'shapes', 'mus': falling}]
    control = {'seed': 2, 'mus': falling, 'adversarial_weight': 0.0}
    table = tables(*({'total_cycles': 3, **values} for values in settings), control)['table-9']
    assert table.rows == (
        ('stanford_background', 'mobilenet_v2', '1.5', '2.1', '50.0% of 2'),
        ('shapes', 'mobilenet_v2', '3.0', '–', '100.0% of 1'),
        ('overall', 'any', '2.0', '1.7', '66.7% of 3'),
    )
