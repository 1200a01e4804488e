"""Integer graphs as plain ONNX models: onnxruntime gives the same integers, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from npuq.backends.exact_onnx import EMITTERS, to_exact_onnx
from npuq.frontends import load
from npuq.ir import Builder, DType, Graph, NpuqError, Op, TensorType, evaluate, parse_type, registry
from npuq.ir.ops.npu.matrix import MatMul
from npuq.ir.ops.npu.window import Conv2d
from tests.backends.programs import every_op, inputs_of, small
from tests.ir.npu import test_nonlinear as test_npu_nonlinear
from tests.ir.npu import test_ops as test_npu_ops
from tests.ir.npu import test_recurrent as test_npu_recurrent
from tests.oracle.ops import ORACLE

LEVELS = (onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL)
MODULES = (test_npu_ops, test_npu_nonlinear, test_npu_recurrent)
CASES = {
    f"{name}_of_{module.__name__.rpartition('.')[2]}": test
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
    """Compare the op's ONNX form with the oracle; give the first result."""
    graph, data = graph_of(op, operands)
    computed = run(to_exact_onnx(graph, interface="integer"), data)
    wanted = ORACLE[op.name](op.attributes, *(operand.astype(np.int64) for operand in operands))
    for one, other, type_ in zip(
        computed, wanted if isinstance(wanted, tuple) else (wanted,), graph.output_types, strict=True
    ):
        assert one.dtype == type_.dtype.numpy
        np.testing.assert_array_equal(one.astype(np.int64), other, strict=True)
    return computed[0]


DATA = {
    **dict.fromkeys(("npu.add", "npu.mul", "npu.batch_matmul", "npu.div", "npu.hypot"), (0, 1)),
    "npu.lstm": (0, 7, 8, 10),
    **dict.fromkeys(("npu.gru", "npu.rnn"), (0, 7, 8)),
}
"""The operands that are data; of other ops the first."""


def graph_of(op: Op, operands: Sequence[np.ndarray]) -> tuple[Graph, list[np.ndarray]]:
    """One op whose data are inputs and whose parameters are constants; and the data."""
    builder = Builder("op")
    data = DATA.get(op.name, (0,))
    names = [
        builder.input(f"x{index}", TensorType(DType.of(array.dtype), array.shape))
        if index in data
        else builder.constant(array, f"p{index}")
        for index, array in enumerate(operands)
    ]
    results = builder.add_all(op, *names)
    outputs = {f"y{index}": result for index, result in enumerate(results)}
    return builder.build(outputs), [array for index, array in enumerate(operands) if index in data]


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


@pytest.mark.parametrize("make", [small, every_op])
def test_a_program_gives_the_same_integers(make: Any) -> None:
    graph = make()
    model = to_exact_onnx(graph, interface="integer")
    evaluated = evaluate(graph)
    for seed in range(3):
        inputs = inputs_of(graph, seed)
        wanted = evaluated(*inputs)
        for level in LEVELS:
            for one, other in zip(run(model, inputs, level), wanted, strict=True):
                np.testing.assert_array_equal(one, other, strict=True)


@pytest.mark.parametrize("make", [small, every_op])
def test_npuq_reads_its_own_models(make: Any) -> None:
    graph = make()
    back = evaluate(load(to_exact_onnx(graph, interface="integer")))
    inputs = inputs_of(graph, 3)
    for one, other in zip(back(*inputs), evaluate(graph)(*inputs), strict=True):
        np.testing.assert_array_equal(one, other, strict=True)


def test_computed_weights_are_refused() -> None:
    builder = Builder("net")
    names = [
        builder.input(f"x{index}", parse_type(text)) for index, text in enumerate(("i8[2,3]", "i8[3,4]", "i32[4]"))
    ]
    factors = [builder.constant(np.full(4, number, np.int32), "f") for number in (1 << 30, 40)]
    graph = builder.build({"y": builder.add(MatMul(), *names, *factors, loc="net.onnx:y")})
    with pytest.raises(NpuqError, match=r"npu\.matmul: computed weights; the exact ONNX form wants them as"):
        to_exact_onnx(graph)


def test_a_sum_of_too_many_products_is_refused() -> None:
    builder = Builder("net")
    x = builder.input("x", parse_type("i8[1,1,1,33026]"))
    w = builder.constant(np.zeros((1, 1, 33026, 1), np.int8), "w")
    rest = [builder.constant(np.full(1, number, np.int32), "c") for number in (0, 1 << 30, 40)]
    graph = builder.build({"y": builder.add(Conv2d(), x, w, *rest, loc="net.onnx:y")})
    with pytest.raises(NpuqError, match=r"npu\.conv2d: sums of 33026 products, at most 33025 fit the exact"):
        to_exact_onnx(graph)
