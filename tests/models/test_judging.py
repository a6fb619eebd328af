"""D on labels and D folded: the outputs and gradients of its layers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab_load.models import discriminator as d
from deeplab_load.models import judging, recomputing
from deeplab_load.models.fused_norm import FusedNorm
from deeplab_load.models.judging import folded_in_inference, on_labels

CLASSES = 5


@pytest.mark.parametrize('training', [False, True])
def test_the_fused_normalisation_is_kerass(training):
    random = np.random.default_rng(0)
    x = tf.constant(random.normal(2.0, 3.0, (2, 5, 7, 4)), tf.float32)
    outcomes = []
    for fused in (False, True):
        norm = keras.layers.BatchNormalization(momentum=0.9)
        norm.build(x.shape)
        norm.set_weights([np.linspace(0.5, 2, 4), np.arange(4.0), np.arange(4.0), np.linspace(1, 3, 4)])
        layer = FusedNorm(norm) if fused else norm
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=training)
            loss = tf.reduce_sum(tf.sin(y))
        outcomes.append([y, *tape.gradient(loss, [x, norm.gamma.value, norm.beta.value]), *norm.get_weights()])
    for expected, found in zip(*outcomes, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def some_truth(side):
    """Labels with void pixels, and of one class in the first image."""
    truth = np.random.default_rng(side).choice([*range(CLASSES), 255], (3, side, side))
    truth[0] = 2
    return tf.constant(truth, tf.uint8)


@pytest.mark.parametrize(
    ('network', 'sees', 'size', 'smallest'),
    [
        ('mobilenet', 'image_split', 64, 1),
        ('mobilenet', 'image_split', 65, 1000),  # MobileNet pads as SAME does only where sides are even.
        ('mobilenet', 'label_map', 64, recomputing.SMALLEST),
        ('cnn', 'label_map', 64, 1),
    ],
)
def test_d_on_labels_is_d_on_the_split(monkeypatch, network, sees, size, smallest):
    monkeypatch.setattr(recomputing, 'SMALLEST', smallest)
    model = d.build_discriminator(CLASSES, network=network, sees=sees, size=size, alpha=0.25, dropout=0.0)
    windows_of_segmentor = tf.random.stateless_uniform([3, 72, 72, 3], [0, 1], maxval=255.0)
    truth = some_truth(72)
    labels = d.hard_labels(truth, truth, size)
    seen = d.input_of(model, windows_of_segmentor, tf.one_hot(labels, CLASSES))
    judge = on_labels(model, CLASSES)
    state = model.get_weights()
    np.testing.assert_allclose(
        judge(windows_of_segmentor, labels, False), model(seen, training=False), rtol=0, atol=1e-6
    )
    outcomes = []
    for logits in (lambda: model(seen, training=True), lambda: judge(windows_of_segmentor, labels, True)):
        model.set_weights(state)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.sin(logits()))
        gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
        outcomes.append([loss, *gradients, *model.get_weights()])
    for expected, found in zip(*outcomes, strict=True):
        scale = max(np.abs(expected).max(), 1e-3)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3 * scale)


@pytest.mark.parametrize(
    ('network', 'sees', 'norms'),
    [
        ('mobilenet', 'image_split', 0),
        ('cnn', 'label_map', 0),
        ('vgg16', 'image_split', 0),
        ('biased', 'image_split', 1),
    ],
)
def test_d_in_inference_mode_is_d_with_its_batch_norm_folded(network, sees, norms):
    model = biased() if network == 'biased' else d.build_discriminator(CLASSES, network=network, sees=sees, size=64)
    images = tf.random.stateless_uniform([3, 72, 72, 3], [0, 1], maxval=255.0)
    logits = tf.random.stateless_normal([3, 9, 9, CLASSES], [1, 2])
    truth, judge = some_truth(72), folded_in_inference(model)
    tf.function(model)(d.input_of(model, images, d.generated_maps(logits, truth, size=64, straight_through=False)))
    random = np.random.default_rng(0)
    model.set_weights([w * random.uniform(0.5, 1.5, w.shape) for w in model.get_weights()])  # Read at each call.
    outcomes = []

    @tf.function
    def fast(split):
        return judge(split, training=False)

    for logit in (lambda split: model(split, training=False), fast):
        split = d.input_of(model, images, d.generated_maps(logits, truth, size=64, straight_through=False))
        with tf.GradientTape() as tape:
            tape.watch(split)
            y = logit(split)
            loss = tf.reduce_sum(tf.sin(y))
        outcomes.append((y, tape.gradient(loss, split)))
    for expected, found in zip(*outcomes, strict=True):
        assert np.abs(expected).max() > 0
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3 * np.abs(expected).max())  # ReLUs turn.
    graph = fast.get_concrete_function(split).graph
    assert sum('BatchNorm' in o.type or o.type == 'Rsqrt' for o in graph.get_operations()) == norms


def biased():
    """A D whose convolution has biases and an activation before batch norm: nothing to be folded."""
    keras.utils.set_random_seed(3)
    layers = [keras.layers.Conv2D(8, 3, activation='relu'), keras.layers.BatchNormalization()]
    return keras.Sequential(
        [keras.Input((64, 64, 3 * CLASSES)), *layers, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(1)]
    )


# They end before convolutions of more channels, and where products take long after these.
BLOCKS = (
    'dw_1, pw_1 dw_2, pw_2 dw_3, pw_3 dw_4, pw_4, dw_5 pw_5, dw_6, pw_6, '
    'dw_7 pw_7, dw_8 pw_8, dw_9 pw_9, dw_10 pw_10, dw_11 pw_11, dw_12'
)


@pytest.mark.parametrize(
    ('network', 'size', 'expected', 'after'),
    [('mobilenet', 224, BLOCKS, 'conv_dw_12_bn'), ('mobilenet', 32, '', 'conv1_bn'), ('cnn', 224, '', 'leaky_re_lu')],
)
def test_large_maps_of_mobilenet_are_in_blocks(network, size, expected, after):
    model = d.build_discriminator(CLASSES, network=network, size=size)
    first, *layers = model.layers[1:]
    blocks, rest = recomputing.blocks(layers, first.compute_output_shape(model.input_shape))
    names = [[unit.convolution.name.removeprefix('conv_') for unit in block.units] for block in blocks]
    assert ', '.join(map(' '.join, names)) == expected
    assert rest[0].name.startswith(after)
    if blocks:
        assert blocks[1].compute_output_shape((None, 112, 112, 32)) == (None, 56, 56, 64)


@pytest.mark.parametrize(('number', 'own'), [(0, 2), (1, 1 + 2 * 3)])  # The second by halves.
def test_of_a_blocks_own_maps_none_is_kept_for_the_gradient(monkeypatch, number, own):
    monkeypatch.setattr(recomputing, 'SMALLEST', 1)
    model = d.build_discriminator(CLASSES, size=64, alpha=0.25, dropout=0.0)
    first, *layers = model.layers[1:]
    block = recomputing.blocks(layers, first.compute_output_shape(model.input_shape))[0][number]
    maps = []

    def noted(function):
        return lambda *args: maps.append(function(*args)) or maps[-1]

    monkeypatch.setattr(recomputing, 'norm_relu', noted(recomputing.norm_relu))
    monkeypatch.setattr(recomputing.Unit, 'convolve', noted(recomputing.Unit.convolve))
    used_later = []

    @tf.function
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(tf.square(block(x, training=True)))
        made, forward = list(maps), {o.name for o in loss.graph.get_operations()}
        found = tape.gradient(loss, x)
        used_later.extend(any(o.name not in forward for o in one.consumers()) for one in made)
        return found

    x = tf.random.stateless_normal([2, 32, 32, 8], [0, 1])
    gradient(x)
    assert used_later == [False] * own
    if own > 2:  # The parts come one after the other: the second one's maps wait for something of the first.
        convolved = [op for one in maps if (op := one.op.inputs[0].op).type == 'Conv2D']
        forward, backward = [False, True], [False, False, True, False]  # Backward each again, and for its gradient.
        assert [bool(op.control_inputs) for op in convolved] == forward + backward
    assert max(one.shape.num_elements() for one in maps) == tf.size(x)


def test_the_first_convolutions_map_is_made_again_for_the_gradient(monkeypatch):
    monkeypatch.setattr(recomputing, 'SMALLEST', 1)
    maps = []
    convolution = judging.split_convolution
    monkeypatch.setattr(judging, 'split_convolution', lambda *a, **k: maps.append(convolution(*a, **k)) or maps[-1])
    judge = on_labels(d.build_discriminator(CLASSES, size=64, alpha=0.25, dropout=0.0), CLASSES)

    @tf.function
    def gradient(images, labels):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.square(judge(images, labels, True)))
        forward = {o.name for o in loss.graph.get_operations()}
        found = tape.gradient(loss, tape.watched_variables())
        assert {o.name for o in maps[0].consumers()} <= forward
        waits = {o.name for made in (maps[1].op, maps[1].op.inputs[0].op) for o in made.control_inputs}
        assert waits - forward  # For the gradient that comes to it.
        return found

    truth = some_truth(72)
    gradient(tf.random.stateless_uniform([3, 72, 72, 3], [0, 1], maxval=255.0), d.hard_labels(truth, truth, 64))
    assert len(maps) == 2
