import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab_load.catalog import Architecture
from deeplab_load.errors import UserError
from deeplab_load.models.deeplab import build_segmentor
from deeplab_load.restore.names import tf1_variables

FULL = Architecture('mobilenet_v2', 5, 16, depth_multiplier=0.25, atrous_rates=(1, 2), decoder_output_stride=4)
PLAIN = Architecture('mobilenet_v2', 5, 8, depth_multiplier=0.25)


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, shape).astype(np.float32)


@pytest.mark.parametrize('fine_tune_batch_norm', [False, True])
def test_every_trainable_weight_gets_a_gradient(fine_tune_batch_norm):
    model = build_segmentor(FULL, fine_tune_batch_norm=fine_tune_batch_norm)
    with tf.GradientTape() as tape:
        logits = model(pixels(2, 65, 65, 3), training=True)
        loss = tf.reduce_mean(logits * pixels(*logits.shape))
    trainable = {name: variable for name, variable in tf1_variables(model).items() if variable.trainable}
    assert len(trainable) == len(model.trainable_weights)
    gradients = tape.gradient(loss, [variable.value for variable in trainable.values()])
    for name, gradient in zip(trainable, gradients, strict=True):
        assert np.isfinite(gradient).all(), name
        assert np.abs(gradient).max() > 0, name


@pytest.mark.parametrize(('height', 'width'), [(65, 65), (65, 97), (50, 84)])
def test_one_model_serves_every_crop(height, width):
    images = pixels(2, height, width, 3)
    fixed = build_segmentor(FULL, crop_size=(height, width))
    served = build_segmentor(FULL)(images)
    assert fixed.output_shape == (None, (height - 1) // 4 + 1, (width - 1) // 4 + 1, 5)
    assert served.shape == (2, *fixed.output_shape[1:])
    np.testing.assert_array_equal(served, fixed(images))


def test_static_shapes_stay_static_and_dynamic_ones_give_the_same_numbers():
    model = build_segmentor(FULL)
    static = tf.function(model, input_signature=[tf.TensorSpec([2, 65, 49, 3])]).get_concrete_function()
    dynamic = tf.function(model, input_signature=[tf.TensorSpec([None, None, None, 3])])
    images = tf.constant(pixels(2, 65, 49, 3))
    assert static.structured_outputs.shape == (2, 17, 13, 5)
    np.testing.assert_allclose(dynamic(images), static(images), atol=1e-6)


def test_training_without_fine_tuning_only_switches_dropout_on():
    model = build_segmentor(PLAIN)
    before = {name: variable.numpy() for name, variable in tf1_variables(model).items()}
    model.get_layer('concat_projection_dropout').rate = 0.0
    np.testing.assert_array_equal(model(pixels(1, 33, 33, 3), training=True), model(pixels(1, 33, 33, 3)))
    for name, variable in tf1_variables(model).items():
        np.testing.assert_array_equal(variable, before[name])


def test_fine_tuning_updates_every_moving_average_with_its_part_s_decay():
    model = build_segmentor(PLAIN, fine_tune_batch_norm=True)
    before = {name: variable.numpy() for name, variable in tf1_variables(model).items()}
    model(pixels(2, 33, 33, 3), training=True)
    for name, variable in tf1_variables(model).items():
        assert ('moving' in name) == (not np.array_equal(variable, before[name])), name
    decays = {layer.name: layer.decay for layer in model.layers if layer.name.endswith('BatchNorm')}
    assert decays.pop('MobilenetV2.Conv.BatchNorm') == 0.997
    assert decays.pop('aspp0.BatchNorm') == 0.9997
    assert set(decays.values()) == {0.997, 0.9997}


def test_dropout_keeps_nine_tenths_in_training_only():
    layer = build_segmentor(PLAIN).get_layer('concat_projection_dropout')
    ones = np.ones((1, 64, 64, 16), np.float32)
    np.testing.assert_array_equal(layer(ones, training=False), ones)
    dropped = layer(ones, training=True).numpy()
    assert abs((dropped > 0).mean() - 0.9) < 0.01
    np.testing.assert_allclose(dropped[dropped > 0], 1 / 0.9, rtol=1e-6)


def test_initial_weights_follow_the_seed_and_the_original_s_deviations():
    first, again, other = (tf1_variables(build_segmentor(FULL, seed=seed)) for seed in (1, 1, 2))
    for name, variable in first.items():
        np.testing.assert_array_equal(variable, again[name])
        if name.endswith('weights'):
            assert not np.array_equal(variable, other[name]), name
    # A normal truncated at two deviations keeps 0.88 of its deviation.
    for name, deviation in (
        ('MobilenetV2/expanded_conv_16/project/weights', 0.09 * 0.88),
        ('MobilenetV2/expanded_conv_16/depthwise/depthwise_weights', 0.09 * 0.88),
        ('aspp0/weights', np.sqrt(2 / (80 + 256))),
        ('aspp1_depthwise/depthwise_weights', 0.33 * 0.88),
        ('aspp1_pointwise/weights', 0.06 * 0.88),
        ('logits/semantic/weights', 0.01 * 0.88),
    ):
        assert abs(first[name].numpy().std() / deviation - 1) < 0.1, name
    assert not first['logits/semantic/biases'].numpy().any()


# Keras' own saving asks numpy for a copy in a way that numpy 2 deprecates.
@pytest.mark.filterwarnings('ignore:__array__ implementation:DeprecationWarning')
def test_a_keras_file_needs_no_custom_objects(tmp_path):
    model = build_segmentor(FULL, fine_tune_batch_norm=True)
    for layer in model.layers:
        if layer.name.endswith('BatchNorm'):
            layer.moving_mean.assign(np.linspace(-0.1, 0.1, layer.moving_mean.shape[0]))
    model.save(tmp_path / 'model.keras')
    loaded = keras.saving.load_model(tmp_path / 'model.keras')
    images = pixels(1, 65, 65, 3)
    np.testing.assert_array_equal(loaded(images), model(images))
    assert list(tf1_variables(loaded)) == list(tf1_variables(model))
    assert not loaded.get_layer('aspp0.BatchNorm').frozen


def test_a_crop_smaller_than_the_pooling_window_is_refused():
    lite = Architecture('mobilenet_v3_small_seg', 5, 32, image_pooling_crop_size=(129, 65))
    with pytest.raises(UserError, match='crop is 65x65 but the network pools over 129x65'):
        build_segmentor(lite, crop_size=(65, 65))


def test_features_are_pooled_by_the_window_of_the_pooling_crop():
    asked = Architecture('mobilenet_v3_small_seg', 5, 32, image_pooling_crop_size=(65, 65), image_pooling_stride=(1, 2))
    model = build_segmentor(asked)
    pooling = model.get_layer('image_pooling.mean')
    x = np.random.default_rng(0).normal(size=(1, 4, 7, 2)).astype(np.float32)
    expected = [[x[0, r : r + 3, c : c + 3].mean((0, 1)) for c in (0, 2, 4)] for r in (0, 1)]
    np.testing.assert_allclose(pooling(x)[0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    'wrong',
    [
        {'model_variant': 'mobilenet_v9'},
        {'num_classes': 1},
        {'output_stride': 4},
        {'depth_multiplier': 0.0},
        {'atrous_rates': (6, 0)},
        {'decoder_output_stride': 2},
        {'decoder_output_stride': 4, 'model_variant': 'mobilenet_edgetpu'},
        {'multi_grid': (1, 2, 4)},
        {'multi_grid': (1, 2), 'model_variant': 'xception_65'},
        {'multi_grid': (1, 2, 4), 'model_variant': 'resnet_v1_18_beta'},
        {'depth_multiplier': 0.5, 'model_variant': 'xception_65'},
        {'image_pooling_crop_size': (769,)},
        {'image_pooling_stride': (0, 1)},
        {'aspp_convs_filters': 0},
        {'add_image_level_feature': False, 'aspp_with_squeeze_and_excitation': True},
        {'dense_prediction_cell_json': 'cell.json'},
        {'output_stride': 32, 'dense_prediction_cell_json': 'DPC'},
        {'decoder_output_is_logits': True},
        {'decoder_output_is_logits': False, 'decoder_use_sum_merge': True},
        {'decoder_output_stride': None, 'decoder_use_sum_merge': True, 'decoder_output_is_logits': True},
        {'decoder_filters': 0},
        {
            'decoder_filters': 9,
            'decoder_output_stride': 8,
            'decoder_use_sum_merge': True,
            'decoder_output_is_logits': True,
        },
    ],
)
def test_an_architecture_that_does_not_exist_is_refused_by_its_flag(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        Architecture(**{'model_variant': 'mobilenet_v2', 'num_classes': 21, **wrong})
