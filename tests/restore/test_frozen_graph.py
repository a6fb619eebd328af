import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework.graph_util_impl import remove_training_nodes
from tensorflow.python.tools.optimize_for_inference_lib import fold_batch_norms

from deeplab_load.catalog import Architecture
from deeplab_load.errors import UserError
from deeplab_load.models.deeplab import build_segmentor
from deeplab_load.models.slim import BatchNorm
from deeplab_load.restore.checkpoint import read_checkpoint, resolve_prefix
from deeplab_load.restore.inspection import inspect
from deeplab_load.restore.names import tf1_variables
from deeplab_load.restore.restoring import restore, save

PUBLISHED = 'data/zoo/deeplabv3_mnv2_dm05_pascal_trainaug_frozen_513.pb'
SMALL = Architecture('mobilenet_v2', 4, atrous_rates=(2,), depth_multiplier=0.1, aspp_convs_filters=8)
GATED = Architecture(
    'mobilenet_v3_small_seg', 4, 32, aspp_convs_filters=8, aspp_with_concat_projection=False,
    aspp_with_squeeze_and_excitation=True, decoder_output_stride=8, decoder_filters=4, decoder_use_sum_merge=True,
    decoder_output_is_logits=True,
)  # fmt: skip
PLAIN_RESNET = Architecture('resnet_v1_18', 4, 16)


def perturbed(architecture: Architecture, seed: int = 0) -> keras.Model:
    """A model whose batch normalisation does something."""
    model, random = build_segmentor(architecture, seed=seed), np.random.default_rng(seed)
    for name, variable in tf1_variables(model).items():
        if 'BatchNorm' in name or name.endswith('biases'):
            low = -0.5 if name.endswith(('beta', 'mean', 'biases')) else 0.5
            variable.assign(random.uniform(low, low + 1, variable.shape))
    return model


def constant(graph, name: str, value: np.ndarray):
    node = graph.node.add(name=name, op='Const')
    node.attr['dtype'].type = tf.as_dtype(value.dtype).as_datatype_enum
    node.attr['value'].tensor.CopyFrom(tf.make_tensor_proto(value))


def frozen(model: keras.Model):
    """The model's variables as constants, and constants that never were variables."""
    graph = tf.compat.v1.GraphDef()
    for name, variable in tf1_variables(model).items():
        constant(graph, name, variable.numpy())
        graph.node.add(name=f'{name}/read', op='Identity', input=[name])
    constant(graph, 'MobilenetV2/expanded_conv_14/depthwise/depthwise/SpaceToBatchND/block_shape', np.array([2, 2]))
    constant(graph, 'Reshape/tensor', np.ones(3, np.float32))
    return graph


def folded(model: keras.Model, bias_name: str, addition: str):
    """Every convolution with its batch normalisation folded into the kernel and a bias, as tools leave them."""
    graph = tf.compat.v1.GraphDef()
    norms = {layer.name: layer for layer in model.layers if isinstance(layer, BatchNorm)}
    for layer in model.layers:
        if not isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
            continue
        scope, is_depthwise = layer.name.replace('.', '/'), isinstance(layer, keras.layers.DepthwiseConv2D)
        kernel, op = layer.weights[0].numpy(), 'DepthwiseConv2dNative' if is_depthwise else 'Conv2D'
        convolution = f'{scope}/{"depthwise" if is_depthwise else "Conv2D"}'
        bias = layer.weights[1].numpy() if layer.use_bias else None
        if f'{layer.name}.BatchNorm' in norms:
            norm = norms[f'{layer.name}.BatchNorm']
            gamma, beta, mean, variance = (variable.numpy().astype(np.float64) for variable in norm.weights)
            factor = gamma / np.sqrt(variance + norm.epsilon)
            kernel = (kernel * (factor[:, None] if is_depthwise else factor)).astype(np.float32)
            bias = (beta - mean * factor).astype(np.float32)
        kernel_name, added = f'{convolution}_weights', bias_name.format(convolution=convolution, layer=scope)
        if layer.use_bias:
            kernel_name, added = f'{scope}/weights', f'{scope}/biases'
        constant(graph, kernel_name, kernel)
        constant(graph, added, bias)
        graph.node.add(name=convolution, op=op, input=['before', kernel_name])
        graph.node.add(name=f'{convolution}/BatchToSpaceND', op='BatchToSpaceND', input=[convolution, 'a', 'b'])
        graph.node.add(name=f'{scope}/added', op=addition, input=[f'{convolution}/BatchToSpaceND', added])
    return graph


def written(folder, graph):
    (folder / 'frozen.pb').write_bytes(graph.SerializeToString())
    return folder / 'frozen.pb'


def test_constants_are_the_variables_bit_for_bit(tmp_path):
    model = perturbed(SMALL)
    path = written(tmp_path, frozen(model))
    assert inspect(path).architecture().num_classes == 4
    other = build_segmentor(SMALL, seed=1)
    restoration = restore(other, path)
    assert restoration.fresh == restoration.skipped == ()
    for name, variable in tf1_variables(other).items():
        assert variable.numpy().tobytes() == tf1_variables(model)[name].numpy().tobytes(), name
    assert read_checkpoint(path).dtypes['aspp0/weights'] == tf.float32


@pytest.mark.parametrize(
    ('architecture', 'bias_name', 'addition'),
    [
        (SMALL, '{convolution}_bn_offset', 'BiasAdd'),
        (GATED, '{layer}/BatchNorm/batchnorm/sub', 'AddV2'),
        (PLAIN_RESNET, '{convolution}_bias', 'BiasAdd'),
    ],
)
def test_folded_batch_norm_gives_the_same_logits(tmp_path, architecture, bias_name, addition):
    model = perturbed(architecture)
    path = written(tmp_path, folded(model, bias_name, addition))
    other = build_segmentor(architecture, seed=1)
    restore(other, path)
    images = np.random.default_rng(0).integers(0, 256, (1, 65, 65, 3)).astype(np.float32)
    expected = model(images).numpy()
    assert expected.std() > 0
    np.testing.assert_allclose(other(images), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_a_folder_names_its_frozen_graph_unless_it_holds_a_checkpoint(tmp_path):
    model = build_segmentor(SMALL)
    path = written(tmp_path, frozen(model))
    assert resolve_prefix(tmp_path) == path
    save(model, tmp_path / 'model.ckpt')
    assert resolve_prefix(tmp_path) == tmp_path / 'model.ckpt'


@pytest.mark.parametrize('kept', [0.2, 0.999])
def test_a_cut_graph_is_one_sentence(tmp_path, kept):
    path = written(tmp_path, frozen(build_segmentor(SMALL)))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(UserError, match=r'frozen.pb is cut or no frozen graph'):
        inspect(path)


def test_a_constant_without_its_value_is_one_sentence(tmp_path):
    graph = frozen(build_segmentor(SMALL))
    graph.node[0].attr['value'].tensor.tensor_content = b'123'
    with pytest.raises(UserError, match='damaged: parts of it are missing'):
        inspect(written(tmp_path, graph))


def test_a_missing_node_is_one_sentence(tmp_path):
    graph = tf.compat.v1.GraphDef()
    graph.node.add(name='aspp0/Conv2D', op='Conv2D', input=['before', 'aspp0/weights'])
    graph.node.add(name='aspp0/BiasAdd', op='BiasAdd', input=['aspp0/Conv2D', 'bias'])
    with pytest.raises(UserError, match='damaged: parts of it are missing'):
        inspect(written(tmp_path, graph))


@pytest.mark.parametrize('content', [b'', b'a text, no graph\n'])
def test_a_foreign_file_is_one_sentence(tmp_path, content):
    (tmp_path / 'a.pb').write_bytes(content)
    with pytest.raises(UserError, match=r'a\.pb is (cut or )?no frozen graph'):
        inspect(tmp_path / 'a.pb')


def test_a_missing_graph_says_so(tmp_path):
    with pytest.raises(UserError, match=r'there is no checkpoint at .*none.pb'):
        inspect(tmp_path / 'none.pb')


def test_another_network_s_graph_says_so(tmp_path):
    graph = tf.compat.v1.GraphDef()
    constant(graph, 'dense/weights', np.ones((2, 2), np.float32))
    with pytest.raises(UserError, match='is not a DeepLab model'):
        inspect(written(tmp_path, graph))


def test_the_published_graph_is_its_checkpoint(testdata):
    graph, checkpoint = (
        read_checkpoint(testdata / path) for path in (PUBLISHED, PUBLISHED.replace('_frozen_513.pb', ''))
    )
    assert inspect(testdata / PUBLISHED).description == (
        'MobileNetV2, depth multiplier 0.5, 21 classes, no ASPP, no decoder'
    )
    assert graph.shapes == checkpoint.shapes
    for name in checkpoint.shapes:
        assert graph.value(name).tobytes() == checkpoint.value(name).tobytes(), name


def test_the_published_graph_folded_by_tensorflow_s_own_tool(testdata, tmp_path):
    graph = tf.compat.v1.GraphDef.FromString((testdata / PUBLISHED).read_bytes())
    # The tool keeps the batch normalisation of atrous depthwise convolutions, so this graph is folded in part.
    graph = fold_batch_norms(remove_training_nodes(graph))
    assert {node.op for node in graph.node} >= {'FusedBatchNorm', 'BiasAdd'}
    images = np.random.default_rng(0).integers(0, 256, (1, 129, 129, 3)).astype(np.float32)
    logits = []
    for source in (testdata / PUBLISHED, written(tmp_path, graph)):
        model = build_segmentor(inspect(source).architecture(8))
        restore(model, source)
        logits.append(model(images).numpy())
    np.testing.assert_allclose(logits[1], logits[0], rtol=0, atol=1e-4)
