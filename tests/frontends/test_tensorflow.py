"""TensorFlow and Keras models through tf2onnx in a second process."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

import npuq
from tests import zoo

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("tensorflow", "tf2onnx", "tf_keras")),
    reason="needs tensorflow, tf2onnx and tf_keras",
)


@pytest.mark.zoo
def test_a_keras_file_becomes_a_program() -> None:
    file = zoo.path("mlperf_tiny") / "image_classification.h5"
    graph = npuq.load(file)
    assert str(graph.inputs["input_1"]) == "f32[1,32,32,3]"
    (difference,) = npuq.verify_import(graph, file)
    assert difference.output == "dense"
    assert difference.share < 1e-5
    x = np.random.default_rng(0).uniform(0, 255, (8, 32, 32, 3)).astype(np.float32)
    quantized = npuq.quantize(graph, x)
    (ours,), (wanted,) = quantized.simulate(x), npuq.evaluate(graph)(x[:1])
    assert np.abs(ours[:1] - wanted).max() < 0.1
    assert not [node for node in quantized.graph.nodes if node.host]
