"""Options: flags from fields, flagfiles with their commands, and what is refused."""

import dataclasses
import pathlib
import re
import shlex
import subprocess
import sys

import pytest
from absl import flags

from deeplab_load.absl_flags import define_flags, from_flags
from deeplab_load.catalog import Architecture
from deeplab_load.config import (
    NETWORK,
    NEUTRAL,
    Config,
    EvaluateConfig,
    arm_options,
    digest,
    to_json,
)
from deeplab_load.data.specs import NAMES
from deeplab_load.errors import UserError

ROOT = pathlib.Path(__file__).parents[1]
FLAGFILES = sorted((ROOT / 'flags').glob('*.cfg'))


def parse(*argv, cls=Config):
    values = flags.FlagValues()
    flags.DEFINE_string('flagfile', None, 'as absl defines it', flag_values=values)
    define_flags(cls, values)
    left = values(['command', *argv])
    assert left == ['command']
    return from_flags(cls, values)


def test_every_field_is_a_flag_with_its_default_and_help():
    assert parse('--dataset=shapes') == Config(dataset='shapes')
    assert all(f.metadata['help'] for f in dataclasses.fields(Config))


def test_values_of_every_type():
    config = parse(
        '--dataset=pascal_voc', '--atrous_rates=6,12,18', '--beta_u=0.005', '--decoder_output_stride=4',
        '--fresh_head=last_layers', '--patience=80', '--generator_map=softmax', '--checkpoint=a/model.ckpt',
    )  # fmt: skip
    assert config.atrous_rates == (6, 12, 18)
    assert (config.beta_u, config.decoder_output_stride, config.fresh_head) == (0.005, 4, 'last_layers')
    assert (config.patience, config.generator_map, config.checkpoint) == (80, 'softmax', 'a/model.ckpt')


@pytest.mark.parametrize(
    ('arguments', 'expected'), [([], None), (['--fresh_head'], 'logits'), (['--fresh_head=logits'], 'logits')]
)
def test_a_fresh_head_without_a_value_is_the_last_layer(arguments, expected):
    assert parse('--dataset=shapes', *arguments).fresh_head == expected


def test_every_flag_of_a_network_is_an_option_and_none_is_given_by_default():
    names = {field.name for field in dataclasses.fields(Architecture)} - {'num_classes'}
    assert names <= {field.name for field in dataclasses.fields(Config)}
    assert Config(dataset='shapes').network() == {}
    given = {'image_pooling_crop_size': (769, 769), 'add_image_level_feature': False, 'aspp_convs_filters': 128}
    cell = {'dense_prediction_cell_json': 'DPC', 'atrous_rates': ()}
    flags = ['--image_pooling_crop_size=769,769', '--noadd_image_level_feature', '--aspp_convs_filters=128']
    more = ['--dense_prediction_cell_json=DPC', '--atrous_rates=']
    assert parse('--dataset=shapes', *flags, *more).network() == {**given, **cell}


def test_the_recipe_sets_what_is_not_given():
    config = parse('--dataset=shapes', '--recipe=deeplab', '--weight_decay=1e-4', '--label_weights=1,0.5')
    assert (config.recipe, config.weight_decay, config.label_weights) == ('deeplab', 1e-4, (1.0, 0.5))
    assert (config.pixelwise_schedule, config.pixelwise_batch_size) == ('poly', 8)
    assert (config.fine_tune_batch_norm, config.training_number_of_steps) == (True, 30000)
    config = parse('--dataset=shapes', '--recipe=deeplab', '--pixelwise_epochs=2', '--nofine_tune_batch_norm')
    assert (config.fine_tune_batch_norm, config.training_number_of_steps) == (False, 0)
    # An option that is given counts as given though its value is the article's.
    assert parse('--dataset=shapes', '--recipe=deeplab', '--pixelwise_batch_size=7').pixelwise_batch_size == 7


def test_the_defaults_are_the_articles():
    c = Config(dataset='pascal_voc')
    assert (c.beta_l, c.beta_u, c.patience, c.max_cycles, c.buffer_size) == (0.05, 0.001, 50, 50, 3)
    assert (c.adversarial_weight, c.adversarial_learning_rate, c.adversarial_momentum) == (1.0, 1e-6, 0.95)
    assert (c.adversarial_batch_size, c.discriminator_batch_size, c.discriminator_learning_rate) == (5, 16, 0.01)
    assert (c.discriminator_size, c.discriminator_alpha, c.discriminator_dropout) == (224, 1.0, 0.01)
    assert (c.pixelwise_learning_rate, c.pixelwise_batch_size, c.holdout_fraction) == (1e-4, 7, 0.3)


@pytest.mark.parametrize(
    ('argument', 'sentence'),
    [
        ('--beta_l=0', '--beta_l=0.0 must be above 0'),
        ('--buffer_size=1', '--buffer_size=1 must be at least 2'),
        ('--atrous_rates=6,x', '--atrous_rates=6,x must be whole numbers'),
        ('--train_crop_size=513', '--train_crop_size=513 must be two numbers'),
        ('--eval_crop_size=1,2,3', '--eval_crop_size=1,2,3 must be two numbers'),
        ('--adversarial_momentum=1', '--adversarial_momentum=1.0 must be at least 0 and below 1'),
        ('--label_weights=1,x', '--label_weights=1,x must be numbers with commas between them.'),
        ('--holdout_fraction=0', '--holdout_fraction=0.0 must be above 0'),
        ('--discriminator_epochs=0', '--discriminator_epochs=0 must be above 0'),
        ('--adversarial_weight=-1', '--adversarial_weight=-1.0 must be at least 0'),
        ('--adversarial_learning_rate=nan', '--adversarial_learning_rate=nan must be above 0'),
        ('--eval_batch_size=0', '--eval_batch_size=0 must be above 0'),
        ('--dataset=', '--dataset is missing'),
        ('--max_resize_value=513', '--max_resize_value=513 must be given with --min_resize_value'),
        ('--min_resize_value=0', '--min_resize_value=0 must be above 0'),
        ('--min_scale_factor=2', '--max_scale_factor=1.0 must be at least --min_scale_factor'),
        ('--scale_factor_step_size=-1', '--scale_factor_step_size=-1.0 must be at least 0'),
        (
            '--discriminator_alpha=0.5 --discriminator=vgg16',
            '--discriminator_alpha=0.5 must be 1 with --discriminator=vgg16',
        ),
        ('--buffer_policy=retain --retain=3', '--retain=3 must be at least 1 and below --buffer_size'),
        ('--algorithm=luc', '--total_propagations=0 must be above 0 with --algorithm=luc'),
    ],
)
def test_impossible_values_are_refused_by_name(argument, sentence):
    with pytest.raises(UserError, match=re.escape(sentence)):
        parse('--dataset=shapes', *argument.split(' '))


def test_retain_counts_only_under_its_policy():
    assert parse('--dataset=shapes', '--retain=2').limits().retain == 1
    assert parse('--dataset=shapes', '--retain=2', '--buffer_policy=retain').limits().retain == 2


def test_the_digest_covers_what_changes_results_and_nothing_else():
    config = Config(dataset='shapes')
    assert digest(config) == digest(dataclasses.replace(config, data_dir='elsewhere', total_cycles=3))
    assert digest(config) != digest(dataclasses.replace(config, beta_u=0.002))
    assert to_json(config)['beta_u'] == 0.001


@pytest.mark.parametrize('file', FLAGFILES, ids=lambda f: f.name)
def test_a_flagfile_opens_with_its_command_and_does_not_override_it(file):
    command = file.read_text().splitlines()[0].removeprefix('# ')
    program, *arguments = shlex.split(command)[1:]
    assert (program, arguments[0]) == ('-m', 'deeplab_load.main')
    arguments = arguments[1:]
    assert f'--flagfile=flags/{file.name}' in arguments
    given = {a.split('=')[0] for a in arguments} - {'--flagfile'}
    inside = {line.split('=')[0] for line in file.read_text().splitlines() if line.startswith('--')}
    assert inside
    assert not given & inside
    config = parse(*[a.replace('--flagfile=', f'--flagfile={ROOT}/') for a in arguments])
    assert config.dataset in NAMES


def run(module, *argv):
    return subprocess.run(
        [sys.executable, '-m', f'deeplab_load.{module}', *argv], capture_output=True, text=True, check=False, cwd=ROOT
    )


@pytest.mark.parametrize(
    ('argv', 'sentence'),
    [
        (['--dataset=shapes', '--no_such_flag=1'], "Unknown command line flag 'no_such_flag'"),
        (
            ['--dataset=shapes', '--beta_l', '=', '0.1'],
            "unexpected argument '='; options are written --name=value, without spaces.",
        ),
        (['--dataset=shapes', '--beta_l', '=0.1'], "unexpected argument '=0.1'"),
        (['--dataset=shapes', '--beta_l=x'], 'flag --beta_l=x: it must be a number'),
        (['--dataset=shapes', '--checkpoint', 'x', 'y'], "unexpected argument 'y'"),
        (['--dataset=shapes', 'pascal_voc'], "unexpected argument 'pascal_voc'"),
        (
            ['--dataset=shapes', '--flagfile=flags/none.cfg'],
            '--flagfile=flags/none.cfg cannot be read: No such file or directory; give a text file',
        ),
        (['--dataset=shape'], '--dataset=shape must be one of pascal_voc, '),
        (['--dataset=shapes', '--data_dir=x\udcff'], 'data_dir is x\\udcff, which is not UTF-8: give another name.'),
        (['--dataset=shapes', '--generator_map=hard'], 'generator_map'),
        ([], '--dataset is missing'),
    ],
)
@pytest.mark.parametrize('module', ['main', 'evaluate'])
def test_a_mistaken_command_gets_one_sentence(module, argv, sentence):
    if module == 'evaluate' and any('beta' in a or 'generator' in a for a in argv):
        argv, sentence = ['--dataset=shapes', '--output_stride=x'], 'output_stride'
    if module == 'evaluate' and not argv:  # A run directory names its data set.
        sentence = '--checkpoint is missing'
    outcome = run(module, *argv)
    assert outcome.returncode == 2
    assert outcome.stderr.startswith('deeplab_load: ')
    assert sentence in outcome.stderr
    assert outcome.stderr.count('\n') == 1
    assert 'Traceback' not in outcome.stderr


def test_a_reader_that_goes_ends_a_command_without_a_traceback():
    program = (
        'from deeplab_load.commands import run_command\n'
        'from deeplab_load.config import ReportConfig\n'
        'run_command(ReportConfig, lambda config: [print("x" * 10000) for _ in range(1000)])\n'
    )
    command = [sys.executable, '-c', program]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    process.stdout.readline()
    process.stdout.close()
    assert (process.stderr.read(), process.wait()) == ('', 1)
    process.stderr.close()


def test_every_option_of_the_adversarial_stage_may_tell_arms_apart():
    names = [field.name for field in dataclasses.fields(Config)]
    stage = set(names[names.index('beta_l') :]) - {field.name for field in NETWORK}
    assert stage <= arm_options() | NEUTRAL
    assert arm_options() - stage == {'algorithm'}


def test_help_names_the_options():
    outcome = run('main', '--help')
    assert '--beta_l' in outcome.stdout
    assert 'Traceback' not in outcome.stderr


def test_help_of_the_console_script_names_the_options():
    program = [sys.executable, '-c', 'from deeplab_load.evaluate import main; main()', '--help']
    outcome = subprocess.run(program, capture_output=True, text=True, check=False, cwd=ROOT)
    assert '--output_stride' in outcome.stdout


def test_the_readme_tells_the_defaults_of_the_options_of_load():
    section = (ROOT / 'README.md').read_text().split("## What is the article's, and what is ours")[1]
    rows = re.findall(r'^\| `--(\w+)` \| (\S+) \|', section, re.MULTILINE)
    assert len(rows) > 25
    config = Config(dataset='shapes')
    assert [(name, f'{v:g}' if isinstance(v := getattr(config, name), float) else str(v)) for name, _ in rows] == rows


def test_evaluate_knows_the_options_of_the_readme():
    names = {f.name for f in dataclasses.fields(EvaluateConfig)}
    assert {'checkpoint', 'dataset', 'vocdevkit', 'data_dir', 'output_stride', 'json'} <= names
