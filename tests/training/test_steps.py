"""The steps: what they minimise, what they leave alone, and that they are traced once."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab_load import losses
from deeplab_load.catalog import Architecture
from deeplab_load.models import discriminator as d
from deeplab_load.models.deeplab import build_segmentor
from deeplab_load.models.discriminator import build_discriminator
from deeplab_load.models.foreign import NAME
from deeplab_load.models.inference import upsampled_logits
from deeplab_load.restore.names import tf1_variables
from deeplab_load.training.momentum import Momentum
from deeplab_load.training.recipe import Recipe
from deeplab_load.training.steps import adversarial_step, all_finite, discriminator_steps, pixelwise_step

CLASSES = 3


@pytest.fixture
def segmentor():
    architecture = Architecture('mobilenet_v2', CLASSES, depth_multiplier=0.1, output_stride=16)
    return build_segmentor(architecture, fine_tune_batch_norm=True, seed=1)


@pytest.fixture(scope='module')
def discriminator():
    """A small CNN; an untrained MobileNet in inference mode passes next to no gradient on."""
    keras.utils.set_random_seed(3)
    layers = [
        keras.layers.Conv2D(8, 3, activation='relu'),
        keras.layers.BatchNormalization(),
        keras.layers.Dropout(0.5),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(1),
    ]
    return keras.Sequential([keras.Input((32, 32, 3 * CLASSES)), *layers])


def batch(seed=0):
    images = tf.random.stateless_uniform([2, 33, 33, 3], [seed, 0], maxval=255.0)
    labels = np.random.default_rng(seed).integers(0, CLASSES, (2, 33, 33)).astype(np.uint8)
    labels[:, :3] = 255
    return images, tf.constant(labels)


def make_step(segmentor, discriminator, weight=1.0, learning_rate=1e-3, **how):
    optimizer = Momentum(segmentor.trainable_variables, learning_rate=learning_rate, momentum=0.95)
    return adversarial_step(
        segmentor, discriminator, optimizer, adversarial_weight=weight, straight_through=True, **how
    )  # fmt: skip


def convolves_in_bfloat16(step, *arguments):
    operations = step.get_concrete_function(*arguments).graph.get_operations()
    return any(o.type == 'Conv2D' and o.outputs[0].dtype == tf.bfloat16 for o in operations)


@pytest.mark.parametrize('mixed_precision', [False, True])
def test_the_adversarial_step_lowers_its_loss_and_leaves_the_rest_alone(segmentor, discriminator, mixed_precision):
    frozen = [v.numpy() for v in segmentor.non_trainable_variables]
    d_before = [v.numpy() for v in discriminator.variables]
    step = make_step(segmentor, discriminator, mixed_precision=mixed_precision)
    assert convolves_in_bfloat16(step, *batch()) == mixed_precision
    outcomes = [step(*batch()) for _ in range(8)]
    total = [float(o.ce + o.adv) for o in outcomes]
    assert total[-1] < total[0]
    assert all(bool(o.finite) for o in outcomes)
    for variables, before in ((segmentor.non_trainable_variables, frozen), (discriminator.variables, d_before)):
        assert all(np.array_equal(v, b) for v, b in zip(variables, before, strict=True))
    assert step.experimental_get_tracing_count() == 1


def test_lambda_zero_is_the_gradient_of_cross_entropy_alone(segmentor, discriminator):
    images, labels = batch()
    kernel = segmentor.get_layer('logits.semantic').kernel
    before = kernel.numpy()
    with tf.GradientTape() as tape:
        logits = upsampled_logits(segmentor(images, training=False), (33, 33))
        loss = losses.cross_entropy(labels, logits)
    gradient = tape.gradient(loss, kernel.value)
    outcome = make_step(segmentor, discriminator, weight=0.0, learning_rate=1.0)(images, labels)
    assert float(outcome.adv) == 0
    assert float(outcome.ce) == pytest.approx(float(loss), rel=1e-5)
    np.testing.assert_allclose(before - kernel.numpy(), gradient, rtol=1e-3, atol=1e-7)


def test_the_adversarial_loss_is_that_of_the_discriminator_on_the_generated_map(segmentor, discriminator):
    images, labels = batch()
    maps = d.generated_maps(segmentor(images, training=False), labels, size=32, straight_through=True)
    split = d.class_split(d.discriminator_images(images, 32), maps)
    expected = losses.non_saturating(discriminator(split, training=False))
    outcome = make_step(segmentor, discriminator)(images, labels)
    assert float(outcome.adv) == pytest.approx(float(expected), rel=1e-4)


def test_a_loss_or_a_weight_that_is_not_finite_is_told(segmentor, discriminator):
    optimizer = Momentum(segmentor.trainable_variables, learning_rate=10.0, momentum=0.95)
    step = adversarial_step(segmentor, discriminator, optimizer, adversarial_weight=1.0, straight_through=True)
    optimizer.slots[-1].assign(tf.fill(optimizer.slots[-1].shape, 3e38))
    overflown = step(*batch())
    assert np.isfinite(float(overflown.ce))
    assert not bool(overflown.finite)
    assert not np.isfinite(float(step(*batch()).ce))


def test_all_finite():
    assert bool(all_finite([tf.ones(2), tf.zeros([])]))
    assert not bool(all_finite([tf.ones(2), tf.constant([1.0, np.nan])]))
    assert not bool(all_finite([tf.constant(np.inf)]))


@pytest.mark.parametrize('mixed_precision', [False, True])
def test_the_pixelwise_step_learns_and_updates_batch_norm(segmentor, mixed_precision):
    means = [v for v in segmentor.non_trainable_variables if v.name == 'moving_mean']
    if mixed_precision:  # What is pooled of a normalised map of two images has a mean of zero, here exactly so.
        means = [v for v in means if 'pooling' not in v.path]
    moving = [v.numpy() for v in means]
    optimizer = Momentum(segmentor.trainable_variables, learning_rate=0.01, momentum=0.9)
    step = pixelwise_step(
        segmentor, optimizer, Recipe(mixed_precision=mixed_precision), mean_counts=tf.constant([100.0, 200.0, 300.0])
    )
    assert convolves_in_bfloat16(step, *batch(), tf.constant(0)) == mixed_precision
    outcomes = [float(step(*batch(), tf.constant(number)).losses[0]) for number in range(10)]
    assert outcomes[-1] < outcomes[0]
    assert all(not np.array_equal(a, b.numpy()) for a, b in zip(moving, means, strict=True))
    assert step.experimental_get_tracing_count() == 1


def test_weight_decay_is_in_the_gradients_and_multipliers_scale_both():
    segmentor = build_segmentor(Architecture('mobilenet_v2', CLASSES, depth_multiplier=0.1), seed=1)
    segmentor.get_layer('concat_projection_dropout').rate = 0.0
    images, labels = batch()
    variables = tf1_variables(segmentor)
    trainable = {name: variable for name, variable in variables.items() if variable.trainable}
    with tf.GradientTape() as tape:
        loss = losses.cross_entropy(labels, upsampled_logits(segmentor(images, training=True), (33, 33)))
    plain = dict(zip(trainable, tape.gradient(loss, [v.value for v in trainable.values()]), strict=True))
    values = {name: variable.numpy() for name, variable in trainable.items()}
    optimizer = Momentum(list(trainable.values()), learning_rate=0.1, momentum=0.9)
    recipe = Recipe(recipe='deeplab', weight_decay=0.5, last_layer_gradient_multiplier=3.0)
    outcome = pixelwise_step(segmentor, optimizer, recipe)(images, labels, tf.constant(0))
    assert float(outcome.losses[0]) == pytest.approx(float(loss), rel=1e-5)
    gradients = dict(zip(trainable, optimizer.slots, strict=True))
    expected = {
        'logits/semantic/weights': 3 * (plain['logits/semantic/weights'] + 0.5 * values['logits/semantic/weights']),
        'logits/semantic/biases': 6 * plain['logits/semantic/biases'],
        'aspp0/BatchNorm/gamma': 3 * plain['aspp0/BatchNorm/gamma'],
        'MobilenetV2/Conv/weights': plain['MobilenetV2/Conv/weights'] + 0.5 * values['MobilenetV2/Conv/weights'],
        'MobilenetV2/expanded_conv/depthwise/depthwise_weights': plain[
            'MobilenetV2/expanded_conv/depthwise/depthwise_weights'
        ],
    }
    for name, gradient in expected.items():
        np.testing.assert_allclose(gradients[name], gradient, rtol=1e-3, atol=1e-6, err_msg=name)
        np.testing.assert_allclose(variables[name], values[name] - 0.1 * gradient, rtol=1e-3, atol=1e-6, err_msg=name)


def test_the_discriminator_learns_to_tell_maps_apart_and_sums_its_score():
    model = build_discriminator(CLASSES, size=32, alpha=0.25, seed=0)
    train, evaluate = discriminator_steps(model, keras.optimizers.Adagrad(0.01), num_classes=CLASSES)
    images, truth = batch()
    data = {
        'image': tf.concat([images, images], 0),
        'label_map': tf.concat([truth, tf.zeros_like(truth)], 0),
        'ground_truth': tf.concat([truth, truth], 0),
        'real': tf.constant([1.0, 1.0, 0.0, 0.0]),
        'weight': tf.ones([4]),
    }
    for _ in range(40):
        outcome = train(data)
    assert float(outcome.loss) / 4 < 0.3
    np.testing.assert_array_equal(outcome.right, [2, 2])
    np.testing.assert_array_equal(outcome.total, [2, 2])
    train({name: values[1:] for name, values in data.items()})  # The last batch of an epoch is smaller.
    assert train.experimental_get_tracing_count() == 1
    before = [v.numpy() for v in model.variables]
    evaluate(data)
    assert all(np.array_equal(v, b) for v, b in zip(model.variables, before, strict=True))


def test_lambda_times_the_gradient_is_linear(segmentor, discriminator):
    """The step's first update is lr · (∇CE + λ ∇adv): linear in λ."""
    initial = [v.numpy() for v in segmentor.variables]
    updates = {}
    for weight in (0.0, 1.0, 2.0):
        for variable, value in zip(segmentor.variables, initial, strict=True):
            variable.assign(value)
        make_step(segmentor, discriminator, weight=weight, learning_rate=1.0)(*batch())
        last = segmentor.get_layer('logits.semantic').kernel
        index = next(i for i, v in enumerate(segmentor.variables) if v is last)
        updates[weight] = last.numpy() - initial[index]
    np.testing.assert_allclose(
        updates[2.0] - updates[1.0], updates[1.0] - updates[0.0], rtol=1e-3, atol=1e-6
    )  # fmt: skip


class WithHeadForTraining(keras.Model):
    """A head is asked in training alone, so that no step's loss depends on it."""

    def __init__(self):
        super().__init__()
        self.last, self.other = keras.layers.Conv2D(CLASSES, 1), keras.layers.Conv2D(CLASSES, 1)

    def call(self, images, training=False):
        logits = self.last(images / 255.0)
        return logits + self.other(images) if training else logits


@pytest.mark.parametrize('stage', ['adversarial', 'stage 1'])
def test_variables_that_inference_does_not_use_stay_as_they_are(discriminator, stage):
    image, inner = keras.Input((33, 33, 3)), WithHeadForTraining()
    inner(tf.zeros([1, 33, 33, 3]), training=True)
    model = keras.Model(image, inner(image), name=NAME)
    before = [v.numpy() for v in model.variables]
    if stage == 'adversarial':
        make_step(model, discriminator)(*batch())
    else:
        optimizer = Momentum(model.trainable_variables, learning_rate=0.1, momentum=0.9)
        pixelwise_step(model, optimizer, Recipe())(*batch(), tf.constant(0))
    unchanged = [np.array_equal(v, b) for v, b in zip(model.variables, before, strict=True)]
    assert unchanged == [False, False, True, True]
