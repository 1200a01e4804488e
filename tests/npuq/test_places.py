"""Elements at computed or chosen places, from the ONNX operator to the program and its exports."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import parser

import npuq
from tests.test_random_networks import assert_levels_agree

HEAD = '<ir_version: 8, opset_import: ["" : 17]>'
RANDOM = np.random.default_rng(0)


def samples(*shape: int) -> list[tuple[np.ndarray, ...]]:
    return [(RANDOM.normal(size=shape).astype(np.float32),) for _ in range(3)]


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(
    "body",
    [
        "y, at = TopK <axis = 2> (x, k)",
        "a = Relu (x) v, at = TopK <axis = 1, largest = 0> (a, k) y = Sigmoid (v)",
        "v, at = TopK (x, k) y = GatherElements <axis = 3> (x, at)",
    ],
)
def test_the_greatest_elements_are_found_on_the_host(body: str, bits: int) -> None:
    text = (
        f"{HEAD} g (float[1, 4, 5, 6] x) => (float[a, b, c, d] y, int64[a, b, c, d] at) <int64[1] k = {{3}}> {{{body}}}"
    )
    quantized = assert_levels_agree(npuq.load(parser.parse_model(text)), samples(1, 4, 5, 6), "npu", bits=bits)
    assert {node.op.name for node in quantized.graph.nodes if node.host} >= {"top_k"}
