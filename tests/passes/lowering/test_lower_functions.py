"""Functions of one element become tables; where one has no value there is an integer all the same."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import parser

import npuq
from tests.test_random_networks import assert_levels_agree

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
functions (float[1, 3, 5] x) => (float[1, 3, 5] a, float[1, 3, 5] b, float[1, 3, 5] c, float[1, 3, 5] d,
  float[1, 3, 5] e, float[1, 3, 5] f, float[1, 3, 5] g, float[1, 3, 5] h) <float limit = {0.9}> {
  t = Tanh (x) u = Mul (t, limit) a = Asin (u) b = Acos (u) c = Atanh (u)
  s = Sinh (x) d = Asinh (s) o = Cosh (x) e = Acosh (o) f = Atan (x) g = Tan (u) h = Relu (s)
}"""


@pytest.mark.parametrize("bits", [8, 16])
def test_trigonometric_functions_are_tables(bits: int) -> None:
    data = [(np.random.default_rng(seed).normal(size=(1, 3, 5)).astype(np.float32),) for seed in range(3)]
    quantized = assert_levels_agree(npuq.load(parser.parse_model(TEXT)), data, "npu", bits=bits)
    assert not [node.host for node in quantized.graph.nodes if node.host]
    floats = npuq.evaluate(quantized.float_graph)(*data[0])
    for name, got, wanted in zip("abcdefgh", quantized.simulate(*data[0]), map(np.asarray, floats), strict=True):
        assert np.abs(got - wanted).max() < 2.0 ** (3 - bits) * np.abs(wanted).max(), name
