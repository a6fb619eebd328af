"""What network the main job builds: no flag is needed with a checkpoint, and those that contradict it are refused."""

import dataclasses
import pathlib

import numpy as np
import pytest

import deeplab_load
from deeplab_load import networks, stages
from deeplab_load.catalog import Architecture
from deeplab_load.config import Config, EvaluateConfig
from deeplab_load.data.specs import get_spec
from deeplab_load.errors import UserError
from deeplab_load.evaluation.trained import Location, open_model, untold
from deeplab_load.models.deeplab import build_segmentor
from deeplab_load.restore.names import tf1_variables
from deeplab_load.restore.restoring import save
from deeplab_load.restore.segmentors import strides

CLASSES = get_spec('shapes').num_classes
LITE = Architecture(
    'mobilenet_v3_small_seg',
    CLASSES,
    32,
    image_pooling_crop_size=(769, 769),
    image_pooling_stride=(4, 5),
    image_se_uses_qsigmoid=True,
    aspp_convs_filters=128,
    aspp_with_concat_projection=False,
    aspp_with_squeeze_and_excitation=True,
    decoder_output_stride=8,
    decoder_filters=CLASSES,
    decoder_use_sum_merge=True,
    decoder_output_is_logits=True,
)
FULL = Architecture('mobilenet_v2', CLASSES, depth_multiplier=0.25, atrous_rates=(6, 12, 18), decoder_output_stride=4)


def built(tmp_path, name='run', **options):
    """The segmentor of a run, and what was restored."""
    config = Config(dataset='shapes', run_dir=str(tmp_path / name), pixelwise_epochs=1, **options)
    with stages.run_directory(config) as run:
        return networks.build_segmentor(config, run.directory)


def saved(tmp_path, architecture):
    save(build_segmentor(architecture), tmp_path / 'model.ckpt')
    return str(tmp_path / 'model.ckpt')


def rates(segmentor):
    return [segmentor.get_layer(f'aspp{index}_depthwise').dilation_rate[0] for index in (1, 2, 3)]


def test_no_flag_is_needed_with_a_checkpoint(tmp_path):
    segmentor, restored = built(tmp_path, checkpoint=saved(tmp_path, FULL))
    assert not restored.fresh
    assert (rates(segmentor), strides(segmentor)) == ([6, 12, 18], (16, 4))


def test_the_lite_head_is_recognised_and_can_be_asked_for(tmp_path):
    prefix = saved(tmp_path, LITE)
    windows = {'train_crop_size': (769, 769), 'eval_crop_size': (769, 769)}
    from_checkpoint, _ = built(tmp_path, 'a', checkpoint=prefix, **windows)
    flags = {f.name: getattr(LITE, f.name) for f in dataclasses.fields(LITE) if f.name != 'num_classes'}
    from_flags, _ = built(tmp_path, 'b', **flags, **windows)
    with_both, _ = built(tmp_path, 'c', checkpoint=prefix, **flags, **windows)
    for segmentor in (from_checkpoint, from_flags, with_both):
        assert segmentor.name == LITE.model_variant
        assert segmentor.get_layer('image_pooling.mean').pool_size == (25, 25)
        assert strides(segmentor) == (32, 8)


def test_flags_that_leave_no_trace_change_the_network(tmp_path):
    prefix = saved(tmp_path, FULL)
    fine, _ = built(tmp_path, 'fine', checkpoint=prefix, output_stride=8)
    assert (rates(fine), strides(fine)) == ([12, 24, 36], (8, 4))
    own, _ = built(tmp_path, 'own', checkpoint=prefix, atrous_rates=(1, 2, 3))
    assert rates(own) == [1, 2, 3]


@pytest.mark.parametrize(
    ('flags', 'words'),
    [
        ({'decoder_output_stride': 8}, 'decoder at stride 4, but .* decoder at stride 8'),
        ({'dense_prediction_cell_json': 'DPC'}, 'ASPP, .*, but .* dense prediction cell'),
        ({'aspp_convs_filters': 128}, 'but .* 128 head filters'),
        ({'model_variant': 'mobilenet_v2', 'depth_multiplier': 0.25}, 'but .* no ASPP, no decoder'),
        ({'multi_grid': (1, 2, 4)}, 'multi_grid is .* but must be empty for mobilenet_v2'),
    ],
)
def test_flags_that_contradict_the_checkpoint_are_refused(tmp_path, flags, words):
    with pytest.raises(UserError, match=words) as error:
        built(tmp_path, checkpoint=saved(tmp_path, FULL), **flags)
    assert '\n' not in str(error.value)


def test_a_run_goes_on_without_its_checkpoint(tmp_path):
    prefix = saved(tmp_path, FULL)
    config = Config(dataset='shapes', run_dir=str(tmp_path / 'run'), checkpoint=prefix, atrous_rates=(1, 2, 3))
    with stages.run_directory(config) as run:
        segmentor, _ = networks.build_segmentor(config, run.directory)
        run.directory.save_snapshot('g0', {n: v.numpy() for n, v in tf1_variables(segmentor).items()})
        run.directory.write_state(run.directory.read_state(), snapshots=['g0'])
    for file in tmp_path.glob('model.ckpt.*'):
        file.unlink()
    with stages.run_directory(config) as run:
        segmentor, restored = networks.build_segmentor(config, run.directory)
    assert restored is None
    assert rates(segmentor) == [1, 2, 3]


@pytest.mark.parametrize(
    ('of_run', 'given', 'expected'),
    [
        ({}, {}, {}),
        ({'output_stride': 8, 'atrous_rates': [2, 4, 6]}, {}, {'output_stride': 8, 'atrous_rates': [2, 4, 6]}),
        ({'atrous_rates': [2, 4, 6]}, {'output_stride': 16}, {'output_stride': 16, 'atrous_rates': [2, 4, 6]}),
        ({'decoder_output_stride': 8}, {}, {'decoder_output_stride': 8}),
        ({'output_stride': 8, 'atrous_rates': [2, 4, 6]}, {'output_stride': 16}, {'output_stride': 16}),
        ({'output_stride': 8}, {'atrous_rates': (1, 2, 3)}, {'output_stride': 8, 'atrous_rates': (1, 2, 3)}),
        ({'image_pooling_stride': [2, 2]}, {}, {'image_pooling_stride': [2, 2]}),
    ],
)
def test_evaluation_takes_what_no_checkpoint_tells_from_the_run(of_run, given, expected):
    variant = 'resnet_v1_50_beta'
    assert untold({**of_run, 'checkpoint': 'model.ckpt'}, given, variant) == expected
    # A run that was told its variant, or had no checkpoint, was told by flags alone: others had their defaults.
    for options in ({'model_variant': variant, 'checkpoint': 'model.ckpt'}, {'checkpoint': None}):
        assert untold({**of_run, **options}, given, variant)['multi_grid'] is None
    assert untold({}, given, variant) == given


def test_a_decoder_of_two_possible_strides_is_the_runs(tmp_path):
    thin = dataclasses.replace(FULL, depth_multiplier=0.1, decoder_output_stride=8)
    prefix = pathlib.Path(saved(tmp_path, thin))
    options = {'model_variant': 'mobilenet_v2', 'depth_multiplier': 0.1, 'atrous_rates': [6, 12, 18]}
    asked = Location(prefix, tmp_path, {**options, 'decoder_output_stride': 8}).architecture({})
    assert asked == thin


def test_evaluation_takes_the_rates_of_the_last_block(tmp_path):
    prefix = pathlib.Path(saved(tmp_path, Architecture('resnet_v1_50_beta', CLASSES)))
    config = EvaluateConfig(checkpoint=str(prefix), multi_grid=(1, 1, 1))
    assert Location(prefix).architecture(config.network).multi_grid == (1, 1, 1)
    assert Location(prefix).architecture({}).multi_grid == (1, 2, 4)


def test_a_window_smaller_than_what_is_pooled_over_is_told(tmp_path):
    prefix = saved(tmp_path, LITE)
    words = 'the crop is 97x129 but the network pools over 769x769'
    with pytest.raises(UserError, match=words):
        built(tmp_path, checkpoint=prefix, train_crop_size=(769, 769))
    with pytest.raises(UserError, match=words):
        open_model(Location(pathlib.Path(prefix)), window=lambda num_classes: (97, 129))
    with pytest.raises(UserError, match='the crop is 65x65 but the network pools over'):
        deeplab_load.label_maps(deeplab_load.segmentor(checkpoint=prefix), [np.zeros((40, 60, 3), np.uint8)])


def test_a_fork_may_choose_another_discriminator_before_one_is_trained(tmp_path):
    options = {'dataset': 'shapes', 'run_dir': str(tmp_path / 'run')}
    with stages.run_directory(Config(**options)) as run:
        run.directory.save_snapshot('g0', {'weight': np.zeros(1, np.float32)})
        run.directory.write_state(run.directory.read_state(), snapshots=['g0'])
    fork = tmp_path / 'fork'
    with stages.run_directory(Config(**options, fork=str(fork), discriminator='cnn')) as run:
        assert run.directory.path == fork
    network = Config(**options, fork=str(tmp_path / 'other'), depth_multiplier=0.5)
    with pytest.raises(UserError, match='--depth_multiplier was'), stages.run_directory(network):
        pass
