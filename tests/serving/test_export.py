"""What lies in the folder of a version."""

import json

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from deeplab_load.data.specs import SHAPES


def test_classes_and_colours_are_assets(saved_model):
    assets = json.loads((saved_model / 'assets' / 'classes.json').read_text())
    assert tuple(assets['classes']) == SHAPES.classes
    assert tuple(map(tuple, assets['colours'])) == SHAPES.colours


def test_a_warm_up_request_for_each_signature_can_be_answered(saved_model, signatures):
    records = tf.data.TFRecordDataset(str(saved_model / 'assets.extra' / 'tf_serving_warmup_requests'))
    answered = set()
    for record in records.as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        inputs = {name: tf.constant(tf.make_ndarray(tensor)) for name, tensor in request.inputs.items()}
        signatures[request.model_spec.signature_name](**inputs)
        answered.add(request.model_spec.signature_name)
    assert answered == set(signatures)


def test_versions_count_up_and_leftovers_go(tiling_model):
    assert tiling_model.name == '11'
    assert sorted(p.name for p in tiling_model.parent.iterdir()) == ['10', '11', '2', 'notes']


def test_the_networks_weights_are_stored_once(segmentor, saved_model):
    weights = sum(np.prod(v.shape) for v in segmentor.variables) * 4
    assert (saved_model / 'saved_model.pb').stat().st_size < 1.5 * weights
