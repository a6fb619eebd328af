import dataclasses
import pathlib

import numpy as np
import pytest

from deeplab_load.catalog import Architecture
from deeplab_load.errors import UserError
from deeplab_load.models.deeplab import build_segmentor
from deeplab_load.restore.checkpoint import read_checkpoint, write_checkpoint
from deeplab_load.restore.inspection import inspect
from deeplab_load.restore.names import tf1_variables
from deeplab_load.restore.restoring import restore, save

ASKED = Architecture('mobilenet_v2', 5, depth_multiplier=0.25)
KERNEL = 'MobilenetV2/expanded_conv_3/expand/weights'


@pytest.fixture(scope='module')
def model():
    return build_segmentor(ASKED, seed=1)


@pytest.fixture
def values(model) -> dict[str, np.ndarray]:
    return {name: variable.numpy() for name, variable in tf1_variables(model).items()}


def written(folder: pathlib.Path, values: dict[str, np.ndarray]) -> pathlib.Path:
    write_checkpoint(folder / 'model.ckpt', values)
    return folder / 'model.ckpt'


def test_everything_is_restored_and_told(model, values, tmp_path):
    slots = {f'{name}/Momentum': value for name, value in values.items() if name.endswith('weights')}
    prefix = written(tmp_path, {**values, **slots, 'global_step': np.int64(9)})
    other = build_segmentor(ASKED, seed=2)
    restoration = restore(other, prefix)
    for name, variable in tf1_variables(other).items():
        assert variable.numpy().tobytes() == values[name].tobytes(), name
    assert set(restoration.restored) == set(values)
    assert dict(restoration.skipped) == {**dict.fromkeys(slots, 'optimizer slot'), 'global_step': 'global step'}
    assert restoration.table().splitlines() == [
        f'restored   {len(values)} variables',
        f'skipped    {len(slots):3d} variables (optimizer slot)',
        'skipped      1 variables (global step)',
    ]


def test_saved_extras_and_global_step(model, tmp_path):
    save(model, tmp_path / 'model.ckpt', {'global_step': 12, 'aspp0/weights/Momentum': np.ones(3, np.float32)})
    checkpoint = read_checkpoint(tmp_path)
    assert checkpoint.value('global_step').dtype == np.int64
    assert checkpoint.value('global_step') == 12
    np.testing.assert_array_equal(checkpoint.value('aspp0/weights/Momentum'), [1, 1, 1])


def test_a_missing_variable_is_named(model, values, tmp_path):
    values.pop(KERNEL)
    with pytest.raises(UserError, match=f'lacks variables of the model: {KERNEL}'):
        restore(model, written(tmp_path, values))


def test_a_variable_too_many_is_named(model, values, tmp_path):
    extra = {f'aspp9/weights_{n}': np.zeros(1, np.float32) for n in range(5)}
    with pytest.raises(UserError, match=r'the model has not: aspp9/weights_0, .* and 2 more'):
        restore(model, written(tmp_path, {**values, **extra}))


def test_another_shape_is_named(model, values, tmp_path):
    values['aspp0/BatchNorm/gamma'] = np.ones(7, np.float32)
    with pytest.raises(UserError, match=r'other shapes than the model: aspp0/BatchNorm/gamma \(\(7,\) for \(256,\)\)'):
        restore(model, written(tmp_path, values))


@pytest.mark.parametrize('kind', [np.float64, np.float16, np.int32])
def test_another_type_is_named(values, tmp_path, kind):
    prefix = written(tmp_path, {**values, KERNEL: values[KERNEL].astype(kind)})
    with pytest.raises(
        UserError, match=rf'another type than the model: {KERNEL} \({np.dtype(kind).name} for float32\)'
    ):
        restore(build_segmentor(ASKED), prefix)


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'depth_multiplier': 0.5}, 'is MobileNetV2, depth multiplier 0.25.*asked for is .* multiplier 0.5'),
        ({'decoder_output_stride': 4}, 'no decoder, but .* decoder at stride 4'),
        ({'atrous_rates': (1, 2, 3)}, 'no ASPP.*, but .* ASPP'),
    ],
)
def test_another_network_is_told_by_what_both_are(values, tmp_path, change, words):
    with pytest.raises(UserError, match=words):
        restore(build_segmentor(dataclasses.replace(ASKED, **change)), written(tmp_path, values))


def test_another_family_is_told(model, tmp_path):
    xception = {'xception_65/entry_flow/conv1_1/weights': (3, 3, 3, 32), 'logits/semantic/weights': (1, 1, 256, 5)}
    prefix = written(tmp_path, {name: np.zeros(shape, np.float32) for name, shape in xception.items()})
    with pytest.raises(UserError, match='is Xception-65, 5 classes'):
        restore(model, prefix)


def test_another_class_count_needs_a_fresh_head(values, tmp_path):
    prefix = written(tmp_path, values)
    other = build_segmentor(dataclasses.replace(ASKED, num_classes=7), seed=3)
    before = {name: variable.numpy() for name, variable in tf1_variables(other).items()}
    with pytest.raises(UserError, match='has 5 classes, but 7 were asked for: give --fresh_head'):
        restore(other, prefix)
    restoration = restore(other, prefix, fresh_head='logits')
    head = ('logits/semantic/biases', 'logits/semantic/weights')
    assert restoration.fresh == head
    assert restoration.skipped == tuple((name, 'replaced head') for name in head)
    assert (
        'fresh        2 variables (logits/semantic/biases, logits/semantic/weights): --fresh_head=logits'
        in restoration.table()
    )
    for name, variable in tf1_variables(other).items():
        np.testing.assert_array_equal(variable, before[name] if name in head else values[name], err_msg=name)


def test_the_lite_head_s_last_layers_are_its_decoder(tmp_path):
    lite = Architecture(
        'mobilenet_v3_small_seg',
        5,
        32,
        aspp_convs_filters=16,
        aspp_with_concat_projection=False,
        aspp_with_squeeze_and_excitation=True,
        decoder_output_stride=8,
        decoder_filters=5,
        decoder_use_sum_merge=True,
        decoder_output_is_logits=True,
    )
    save(build_segmentor(lite), tmp_path / 'model.ckpt')
    other = build_segmentor(dataclasses.replace(lite, num_classes=7, decoder_filters=7))
    with pytest.raises(UserError, match='has 5 classes, but 7 were asked for: give --fresh_head'):
        restore(other, tmp_path)
    layers = ('decoder/decoder_conv0', 'decoder/feature_projection0')
    head = tuple(f'{layer}/{kind}' for layer in layers for kind in ('biases', 'weights'))
    assert restore(other, tmp_path, fresh_head='logits').fresh == head


def test_all_last_layers_can_be_fresh_whatever_the_head(values, tmp_path):
    prefix = written(tmp_path, values)
    other = build_segmentor(dataclasses.replace(ASKED, num_classes=7, atrous_rates=(1, 2), decoder_output_stride=4))
    before = {name: variable.numpy() for name, variable in tf1_variables(other).items()}
    with pytest.raises(UserError, match='no ASPP, no decoder, but the model asked for is'):
        restore(other, prefix, fresh_head='logits')
    restoration = restore(other, prefix, fresh_head='last_layers')
    for name, variable in tf1_variables(other).items():
        backbone = name.startswith('MobilenetV2/')
        assert (name in restoration.restored, name in restoration.fresh) == (backbone, not backbone)
        np.testing.assert_array_equal(variable, values[name] if backbone else before[name], err_msg=name)
    assert {rule for _, rule in restoration.skipped} == {'replaced head'}
    assert {name for name, _ in restoration.skipped} == {n for n in values if not n.startswith('MobilenetV2/')}
    scopes = 'aspp0, aspp1_depthwise, aspp1_pointwise, aspp2_depthwise, aspp2_pointwise, concat_projection, decoder'
    assert f'({scopes}, image_pooling, logits): --fresh_head=last_layers' in restoration.table()


def test_no_other_part_can_be_fresh(model, values, tmp_path):
    with pytest.raises(UserError, match="fresh_head is 'backbone' but must be one of logits, last_layers"):
        restore(model, written(tmp_path, values), fresh_head='backbone')


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'add_image_level_feature': False}, 'no image pooling'),
        ({'aspp_with_concat_projection': False}, 'no projection'),
        ({'atrous_rates': (1, 2), 'aspp_with_separable_conv': False}, 'full ASPP convolutions'),
        ({'decoder_output_stride': 4, 'decoder_use_separable_conv': False}, 'full decoder convolutions'),
        ({'decoder_output_stride': 4, 'decoder_filters': 32}, '32 decoder filters'),
        ({'aspp_with_squeeze_and_excitation': True}, 'gated ASPP'),
    ],
)
def test_every_part_of_the_head_is_told_and_restored(tmp_path, change, words):
    asked = dataclasses.replace(ASKED, **change)
    save(build_segmentor(asked, seed=1), tmp_path / 'model.ckpt')
    found = inspect(tmp_path)
    assert found.description.endswith(words)
    assert dataclasses.replace(found.architecture(), atrous_rates=asked.atrous_rates) == asked
    assert restore(build_segmentor(asked), tmp_path).fresh == ()
    plain = build_segmentor(dataclasses.replace(asked, **{flag: getattr(ASKED, flag) for flag in list(change)[-1:]}))
    with pytest.raises(UserError, match=f'{words}, but the model asked for is'):
        restore(plain, tmp_path)


def test_another_width_of_the_head_is_told(tmp_path):
    save(build_segmentor(dataclasses.replace(ASKED, aspp_convs_filters=16)), tmp_path / 'model.ckpt')
    with pytest.raises(UserError, match='no decoder, 16 head filters, but'):
        restore(build_segmentor(ASKED), tmp_path)


def test_nothing_is_assigned_from_a_damaged_checkpoint(values, tmp_path):
    prefix = written(tmp_path, values)
    data = tmp_path / 'model.ckpt.data-00000-of-00001'
    data.write_bytes(data.read_bytes()[:-100])
    other = build_segmentor(ASKED, seed=4)
    before = {name: variable.numpy() for name, variable in tf1_variables(other).items()}
    with pytest.raises(UserError, match='cut or altered'):
        restore(other, prefix)
    for name, variable in tf1_variables(other).items():
        np.testing.assert_array_equal(variable, before[name])
