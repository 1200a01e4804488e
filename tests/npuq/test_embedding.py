"""Token ids: an embedding table becomes integers, and the ids reach the program as they are."""

from __future__ import annotations

import numpy as np
from onnx import numpy_helper, parser

import npuq
from npuq.backends.npu import Program
from npuq.ir import DType
from tests.backends.test_execution import assert_equals_interpreter

TEXT = """<ir_version: 8, opset_import: ["" : 17]>
words (int64[1, 6] ids) => (float[1, 6, 3] y) {
  rows = Gather (table, ids)
  bent = Relu (rows)
  y = MatMul (bent, weights)
}"""


def quantized() -> npuq.Quantized:
    random = np.random.default_rng(0)
    model = parser.parse_model(TEXT)
    for name, shape in (("table", (40, 8)), ("weights", (8, 3))):
        model.graph.initializer.append(numpy_helper.from_array(random.normal(size=shape).astype(np.float32), name))
    ids = np.random.default_rng(1).integers(0, 40, (16, 6))
    return npuq.quantize(npuq.load(model), ids, method="min_max")


def test_no_node_runs_on_the_host() -> None:
    graph = quantized().graph
    assert not [node.place for node in graph.nodes if node.host]
    assert str(graph.inputs["ids"]) == "i64[1,6]"
    (gather,) = (node for node in graph.nodes if node.op.name == "gather")
    assert gather.operands[1] == "ids"
    assert graph.types[gather.operands[0]].dtype is DType.I8
    assert all(constant.type.dtype is not DType.F32 for constant in graph.constants.values())


def test_the_program_equals_the_interpreter_for_every_id() -> None:
    program = Program.of_bytes(quantized().program.bytes)
    program.verify()
    assert_equals_interpreter(program, [(np.arange(first, first + 6)[None],) for first in range(-6, 40, 5)])


def test_it_is_close_to_float() -> None:
    result = quantized()
    ids = np.arange(6)[None]
    (got,), (wanted,) = result.simulate(ids), npuq.evaluate(result.float_graph)(ids)
    assert np.abs(np.asarray(got) - np.asarray(wanted)).max() < 0.1


def test_computed_indices_keep_their_gather_on_the_host() -> None:
    text = TEXT.replace("rows = Gather (table, ids)", "even = Add (ids, ids) rows = Gather (table, even)")
    model = parser.parse_model(text)
    for name, shape in (("table", (80, 8)), ("weights", (8, 3))):
        model.graph.initializer.append(numpy_helper.from_array(np.ones(shape, np.float32), name))
    graph = npuq.quantize(npuq.load(model), np.zeros((4, 6), np.int64), method="min_max").graph
    (gather,) = (node for node in graph.nodes if node.op.name == "gather")
    assert gather.host == "indices %even are computed, known ones or an input of the network wanted"
