"""The runs of a sweep: their names, their options, and how shards share them."""

import pytest

from deeplab_load.errors import UserError
from deeplab_load.grid import points, shard

BASE = ('--dataset=shapes', '--patience=15')


def test_every_combination_with_every_seed():
    found = points(BASE, ['beta_u:0.001,0.005', 'buffer_size:3,4'], '0,7', 'runs/sweep')
    assert [point.name for point in found[:3]] == [
        'beta_u=0.001,buffer_size=3/seed=0', 'beta_u=0.001,buffer_size=3/seed=7', 'beta_u=0.001,buffer_size=4/seed=0',
    ]  # fmt: skip
    assert len(found) == 8
    last = found[-1].config
    assert (last.beta_u, last.buffer_size, last.seed, last.patience) == (0.005, 4, 7, 15)
    assert last.run_dir == str(found[-1].folder) == 'runs/sweep/beta_u=0.005,buffer_size=4/seed=7'


def test_without_a_grid_there_are_the_seeds():
    assert [point.name for point in points(BASE, [], '0,1', 'runs')] == ['seed=0', 'seed=1']


def test_the_grid_wins_over_the_base_and_the_base_over_a_flagfile_of_the_grid(tmp_path):
    for name, rates in (('small', '6,12,18'), ('large', '12,24,36')):
        (tmp_path / f'{name}.cfg').write_text(f'--model_variant=xception_65\n--atrous_rates={rates}\n--patience=50\n')
    files = f'flagfile:{tmp_path}/small.cfg,{tmp_path}/large.cfg'
    found = points(BASE, [files, 'patience:20'], '0', 'runs')
    assert [point.name for point in found] == [
        'flagfile=small,patience=20/seed=0', 'flagfile=large,patience=20/seed=0',
    ]  # fmt: skip
    assert [point.config.atrous_rates for point in found] == [(6, 12, 18), (12, 24, 36)]
    assert {point.config.patience for point in found} == {20}
    assert {point.config.patience for point in points(BASE, [files], '0', 'runs')} == {15}


def test_values_with_commas_are_separated_by_semicolons():
    found = points(BASE, ['atrous_rates:6,12,18;12,24,36'], '0', 'runs')
    assert [point.config.atrous_rates for point in found] == [(6, 12, 18), (12, 24, 36)]


def test_the_shards_have_every_run_once():
    found = points(BASE, ['beta_u:0.001,0.005'], '0,1,2,3', 'runs')
    parts = [shard(found, f'{number}/3') for number in (1, 2, 3)]
    assert [len(part) for part in parts] == [3, 3, 2]
    assert sorted(p.name for part in parts for p in part) == sorted(p.name for p in found)


@pytest.mark.parametrize(
    ('grid', 'seeds', 'sentence'),
    [
        ('beta_u', '0', '--grid=beta_u must be an option and its values'),
        ('beta_u:', '0', '--grid=beta_u: must be'),
        ('betau:1', '0', "Unknown command line flag 'betau'"),
        ('beta_u:high', '0', 'flag --beta_u=high'),
        ('buffer_size:3,1', '0', '--buffer_size=1 must be at least 2'),
        ('seed:0,1', '0', 'give --seeds'),
        ('beta_u:0.1,0.1', '0', "would be called 'beta_u=0.1/seed=0'"),
        ('beta_u:0.1', '0,x', '--seeds=0,x must be whole numbers'),
        ('flagfile:nowhere.cfg', '0', 'nowhere.cfg'),
        ('beta_u:0.1,0.10', '0', "'beta_u=0.1/seed=0' and 'beta_u=0.10/seed=0' would be the same run"),
    ],
)
def test_a_mistake_is_told_before_anything_runs(grid, seeds, sentence):
    with pytest.raises(UserError) as error:
        points(BASE, [grid], seeds, 'runs')
    assert sentence in str(error.value)


def test_what_would_be_passed_over_is_told(tmp_path):
    with pytest.raises(UserError, match='--seed is set by the sweep; give --seeds'):
        points([*BASE, '--seed=5'], [], '0', 'runs')
    with pytest.raises(UserError, match=r'--grid=beta_u:\.\.\. is given twice'):
        points(BASE, ['beta_u:0.1', 'beta_u:0.2'], '0', 'runs')
    (tmp_path / 'file.cfg').write_bytes(b'\xff\xfe')
    with pytest.raises(UserError, match='A flagfile is not UTF-8 text'):
        points([*BASE, f'--flagfile={tmp_path}/file.cfg'], [], '0', 'runs')


@pytest.mark.parametrize('text', ['0/2', '3/2', '1', 'a/b', '1/0', '-1/2'])
def test_a_shard_that_is_none_is_told(text):
    with pytest.raises(UserError, match=r'must be i/n with i from 1 to n'):
        shard([], text)
