"""Integer graphs as plain ONNX models: onnxruntime gives the same integers, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from npuq.backends.exact_onnx import EMITTERS, to_exact_onnx
from npuq.ir import Builder, DType, Graph, Op, TensorType, evaluate, registry
from tests.backends.programs import every_op, inputs_of, small
from tests.ir import test_npu_nonlinear, test_npu_ops
from tests.oracle.ops import ORACLE

LEVELS = (onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL)
MODULES = (test_npu_ops, test_npu_nonlinear)
CASES = {
    name: test
    for module in MODULES
    for name, test in vars(module).items()
    if name.startswith("test_") and {"agree", "settle"} & set(test.__code__.co_names)
}
globals().update(CASES)  # the tests of the ops once more; `agree` is then the one below


@pytest.fixture(autouse=True)
def _through_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in MODULES:
        monkeypatch.setattr(module, "agree", agree)


def agree(op: Op, *operands: np.ndarray) -> np.ndarray:
    """Compare the op's ONNX form with the oracle; give the result."""
    graph, data = graph_of(op, operands)
    (computed,) = run(to_exact_onnx(graph, interface="integer"), data)
    wanted = ORACLE[op.name](op.attributes, *(operand.astype(np.int64) for operand in operands))
    assert computed.dtype == graph.output_types[0].dtype.numpy
    np.testing.assert_array_equal(computed.astype(np.int64), wanted, strict=True)
    return computed


def graph_of(op: Op, operands: Sequence[np.ndarray]) -> tuple[Graph, list[np.ndarray]]:
    """One op whose data are inputs and whose parameters are constants; and the data."""
    builder = Builder("op")
    count = 2 if op.name in ("npu.add", "npu.mul", "npu.batch_matmul", "npu.div") else 1
    names = [
        builder.input(f"x{index}", TensorType(DType.of(array.dtype), array.shape))
        if index < count
        else builder.constant(array, f"p{index}")
        for index, array in enumerate(operands)
    ]
    return builder.build({"y": builder.add(op, *names, name="y")}), list(operands[:count])


def run(model: onnx.ModelProto, inputs: Sequence[np.ndarray], level: Any = LEVELS[0]) -> list[np.ndarray]:
    """The outputs in onnxruntime."""
    onnx.checker.check_model(model, full_check=True)
    assert {entry.domain for entry in model.opset_import} == {""}
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, dict(zip([value.name for value in model.graph.input], inputs, strict=True))))


def test_every_integer_op_has_an_emitter() -> None:
    """Whoever adds an integer op says in backends/exact_onnx/ how ONNX computes the same."""
    assert not {name for name, op in registry().items() if name.startswith("npu.") and op not in EMITTERS}


@pytest.mark.parametrize("level", LEVELS, ids=str)
@pytest.mark.parametrize("make", [small, every_op])
def test_a_program_gives_the_same_integers(make: Any, level: Any) -> None:
    graph = make()
    model = to_exact_onnx(graph, interface="integer")
    for seed in range(3):
        inputs = inputs_of(graph, seed)
        for one, other in zip(run(model, inputs, level), evaluate(graph)(*inputs), strict=True):
            np.testing.assert_array_equal(one, other, strict=True)
