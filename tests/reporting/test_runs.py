"""Reading run directories, and gathering runs into arms and experiments."""

import json

import pytest

from deeplab_load.config import NEUTRAL, arm_options
from deeplab_load.errors import UserError
from deeplab_load.reporting.ablations import ablations
from deeplab_load.reporting.report import write_report
from deeplab_load.reporting.runs import gather, read_run

from .scripted import write_run


def test_seeds_make_an_arm_and_other_options_of_the_algorithm_another(experiments):
    (experiment,) = experiments(
        {'seed': 1}, {'seed': 0, 'adversarial_weight': 0.0}, {'seed': 0, 'run_dir': 'elsewhere'}, {'beta_u': 0.005}
    )
    labels = ['LoAd, β_u = 0.001, λ = 0', 'LoAd, β_u = 0.001, λ = 1', 'LoAd, β_u = 0.005, λ = 1']
    assert [arm.label for arm in experiment.arms] == labels
    assert [[run.seed for run in arm.runs] for arm in experiment.arms] == [[0], [0, 1], [0]]


def test_forks_of_each_seeds_stage_1_are_one_arm(experiments):
    settings = [
        {'seed': seed, 'adversarial_weight': weight, 'source': f'stage1/{seed}'}
        for seed in (0, 1)
        for weight in (0.0, 0.1)
    ]
    (experiment,) = experiments(*settings, {'seed': 2, 'adversarial_weight': 0.1})
    assert [arm.label for arm in experiment.arms] == ['LoAd, λ = 0', 'LoAd, λ = 0.1']
    assert [[run.seed for run in arm.runs] for arm in experiment.arms] == [[0, 1], [0, 1, 2]]


def test_another_start_is_another_experiment(experiments):
    found = experiments({}, {'model_variant': 'xception_65'}, {'dataset': 'shapes'}, {'discriminator_size': 64})
    assert [len(e.arms) for e in found] == [2, 1, 1]


def test_luc_stands_before_load_and_load_is_looked_at_closely(experiments):
    (experiment,) = experiments({}, {'algorithm': 'luc', 'total_propagations': 9}, {'adversarial_weight': 0.0})
    assert [arm.label.split(',')[0] for arm in experiment.arms] == ['Luc et al.', 'LoAd', 'LoAd']
    assert experiment.main_arm.options['adversarial_weight'] == 1


def test_alternating_steps_without_an_adversary_are_cross_entropy_alone(experiments):
    luc = {'algorithm': 'luc', 'total_propagations': 9}
    (experiment,) = experiments({}, {**luc, 'adversarial_weight': 0.0}, {**luc, 'adversarial_weight': 0.1})
    assert [arm.label for arm in experiment.arms] == ['cross-entropy alone', 'Luc et al.', 'LoAd']


def test_how_long_a_run_may_be_tells_arms_apart(experiments):
    (experiment,) = experiments({'total_cycles': 2}, {'total_cycles': 3})
    assert [arm.label for arm in experiment.arms] == ['LoAd, total_cycles = 2', 'LoAd, total_cycles = 3']


def changed(folder, **state):
    record = json.loads((folder / 'state.json').read_text())
    (folder / 'state.json').write_text(json.dumps({**record, **state}))
    return read_run(folder)


def test_other_data_or_classes_are_another_experiment(tmp_path):
    runs = [changed(write_run(tmp_path / str(n), seed=n), data={'train': digest}) for n, digest in enumerate('aab')]
    found = gather(runs, unbound=NEUTRAL, arm_options=arm_options())
    assert [[run.seed for run in e.arms[0].runs] for e in found] == [[0, 1], [2]]
    assert [e.arms[0].dataset for e in found] == [f'stanford_background of {tmp_path / name}' for name in '02']
    page, _ = write_report(runs, tmp_path / 'report', unbound=NEUTRAL, arm_options=arm_options(), with_paper=False)
    assert f'stanford_background of {tmp_path / "2"}, mobilenet_v2' in page.read_text()
    alike = [
        changed(write_run(tmp_path / f'{data}-{weight}', adversarial_weight=weight), data={'train': data})
        for data in 'ab'
        for weight in (0.0, 1.0)
    ]
    tables = ablations(gather(alike, unbound=NEUTRAL, arm_options=arm_options()), ignored=NEUTRAL, with_paper=False)
    rows = {table.name: [row[0] for row in table.rows] for table in tables}
    names = [f'stanford_background of {tmp_path / data}-0.0' for data in 'ab']
    assert rows == {'table-8': names, 'table-9': [*names, 'overall']}
    runs[1] = changed(runs[1].path, classes=['a', 'b'])
    assert len(gather(runs, unbound=NEUTRAL, arm_options=arm_options())) == 3


def test_of_two_runs_of_a_seed_one_counts_that_is_over(tmp_path, capsys):
    options = [{'finished': False}, {}, {}]
    runs = [read_run(write_run(tmp_path / str(n), **values)) for n, values in enumerate(options)]
    (experiment,) = gather(runs, unbound=NEUTRAL, arm_options=arm_options())
    assert [run.path.name for run in experiment.arms[0].runs] == ['1']
    told = capsys.readouterr().out
    for name in ('0', '2'):
        assert f'Left out: {tmp_path / name} has the seed and the options of {tmp_path / "1"}.' in told


def test_a_run_without_baseline_is_left_out(tmp_path, capsys):
    folder = write_run(tmp_path / 'run')
    state = json.loads((folder / 'state.json').read_text())
    (folder / 'state.json').write_text(json.dumps({'events_bytes': state['events_bytes']}))
    assert gather([read_run(folder)], unbound=NEUTRAL, arm_options=arm_options()) == ()
    assert f'Left out: {folder} has not evaluated its baseline yet.' in capsys.readouterr().out


def test_what_was_written_after_the_last_durable_state_does_not_count(tmp_path):
    folder = write_run(tmp_path / 'run')
    before = read_run(folder).events
    with open(folder / 'events.jsonl', 'a') as file:
        file.write('{"event": "propagation", "cycle')
    assert read_run(folder).events == before


@pytest.mark.parametrize(
    ('break_it', 'sentence'),
    [
        (lambda f: (f / 'config.json').unlink(), 'holds no config.json, so it is no run directory'),
        (lambda f: (f / 'state.json').write_text('{'), r'state\.json is damaged'),
        (lambda f: (f / 'events.jsonl').unlink(), r'events\.jsonl is missing or damaged'),
    ],
)
def test_a_folder_that_is_no_whole_run_is_told(tmp_path, break_it, sentence):
    folder = write_run(tmp_path / 'run')
    break_it(folder)
    with pytest.raises(UserError, match=sentence):
        read_run(folder)
