"""Networks that onnxruntime's tools quantized, in every form that they write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

import npuq
from npuq.frontends import load
from npuq.ir import DType, NpuqError, evaluate
from npuq.ir.ops.conv import Conv, MatMul
from npuq.ir.ops.quant import Dequantize
from tests import onnxruntime_models as models


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.write(tmp_path_factory.mktemp("net") / "net.onnx")


@pytest.mark.parametrize(("signed", "per_channel"), [(False, False), (True, True)])
@pytest.mark.parametrize(("form", "steps"), [("QOperator", 0), ("QDQ", 1)])
def test_scales_are_taken_over(
    net: Path, tmp_path: Path, form: str, steps: int, signed: bool, per_channel: bool
) -> None:
    """onnxruntime's QDQ reference sums in another order, so a value at a half may round the other way."""
    path = models.static(net, tmp_path / "q.onnx", form, signed=signed, per_channel=per_channel)
    graph = load(path)
    scale = graph.producers[graph.outputs["y"]].op.scales[0]  # type: ignore[attr-defined]  # a dequantize
    for x in models.samples(4):
        assert np.abs(np.asarray(evaluate(graph)(x)[0]) - models.run(path, x)).max() <= (steps + 0.01) * scale


def test_dynamic_quantization_becomes_weights_with_scales(net: Path, tmp_path: Path) -> None:
    """The activations are real; so the result is nearer to the float network's than onnxruntime's is to that."""
    for signed in (False, True):
        path = models.dynamic(net, tmp_path / "d.onnx", signed=signed)
        graph = load(path)
        products = [node for node in graph.nodes if isinstance(node.op, (Conv, MatMul))]
        assert len(products) == 4
        for node in products:
            weights = graph.producers[node.operands[1]]
            assert isinstance(weights.op, Dequantize)
            assert graph.constants[weights.operands[0]].type.dtype is (DType.I8 if signed else DType.U8)
        for x in models.samples(2):
            ours, theirs, wanted = evaluate(graph)(x)[0], models.run(path, x), models.run(net, x)
            assert np.abs(ours - theirs).max() < 0.005
            assert np.abs(ours - wanted).max() < 0.005


def test_the_reference_may_round_the_other_way(net: Path, tmp_path: Path) -> None:
    for path in (models.static(net, tmp_path / "q.onnx", "QDQ"), models.dynamic(net, tmp_path / "d.onnx")):
        graph = load(path)
        (difference,) = npuq.verify_import(graph, path)
        assert 1e-4 < difference.share < 0.02
        with pytest.raises(NpuqError, match="the first layer that differs is "):
            npuq.verify_import(graph, path, tolerance=1e-4)


def test_dynamic_quantization_that_is_no_product_is_computed(net: Path, tmp_path: Path) -> None:
    """Where the integers themselves are a result they are what ONNX says."""
    model = onnx.load(models.dynamic(net, tmp_path / "d.onnx"))
    del model.graph.output[:]
    names = ("x_quantized", "x_scale", "x_zero_point", "c1_output_quantized")
    model.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    graph = load(model)
    (x,) = models.samples(1)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    for ours, theirs in zip(evaluate(graph)(x), session.run(list(graph.outputs), {"x": x}), strict=True):
        np.testing.assert_array_equal(ours, theirs)


S, Z = ("s", np.array(0.05, np.float32)), ("z", np.array(120, np.uint8))
T, V = ("t", np.array(0.02, np.float32)), ("v", np.array(3, np.uint8))
W = np.random.default_rng(0).integers(0, 256, (5, 4)).astype(np.uint8)
Q = np.random.default_rng(1).integers(0, 256, (3, 5)).astype(np.uint8)
F = np.random.default_rng(2).normal(size=(3, 5)).astype(np.float32)
HALF, LINE = ("h", np.array(0.5, np.float32)), ("b", np.linspace(-1, 1, 4, dtype=np.float32))
COLUMNS = ("c", np.linspace(0.01, 0.04, 4, dtype=np.float32))


@pytest.mark.parametrize(
    ("operator", "x", "operands", "attributes"),
    [
        ("QLinearLeakyRelu", Q, (S, Z, T, V), {"alpha": 0.2}),
        ("QLinearSoftmax", Q, (S, Z, T, V), {"axis": -1, "opset": 13}),
        ("QLinearWhere", Q > 99, (("a", Q), S, Z, ("e", Q[::-1].copy()), T, V, S, Z), {}),
        ("QGemm", Q, (S, Z, ("w", W), T, V), {}),
        ("QGemm", Q, (S, Z, ("w", W.T.copy()), T, V, ("i", np.arange(4, dtype=np.int32)), HALF, Z), {"transB": 1}),
        ("MatMulIntegerToFloat", Q, (("w", W), S, T, Z, V, LINE), {}),
        ("MatMulIntegerToFloat", Q, (("w", W), S, COLUMNS), {}),
        ("QuantizeLinear", F, (S, ("y", np.array(7, np.int16))), {}),
        ("DequantizeLinear", Q.astype(np.uint16), (S, ("y", np.array(7, np.uint16))), {}),
    ],
)
def test_one_operator_of_onnxruntimes_domain(
    operator: str, x: np.ndarray, operands: tuple[tuple[str, np.ndarray], ...], attributes: dict[str, Any]
) -> None:
    """Integers are at most one apart, where float32 rounds the other way."""
    model = single(operator, x, operands, attributes)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (theirs,) = session.run(None, {"x": x})
    (ours,) = evaluate(load(model))(x)
    assert np.asarray(ours).dtype == theirs.dtype
    limit = 1 if theirs.dtype.kind in "iu" else 1e-4
    assert np.abs(np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)).max() <= limit


def test_a_product_that_quantizes_while_it_runs() -> None:
    """The activation stays real, so onnxruntime differs by what its eight bits lose."""
    model = single("DynamicQuantizeMatMul", F, (("w", W), T, V, LINE), {})
    graph = load(model)
    assert [node.op.name for node in graph.nodes] == ["dequantize", "matmul", "add"]
    (theirs,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": F})
    (ours,) = evaluate(graph)(F)
    assert np.abs(ours - theirs).max() < 0.02 * np.ptp(theirs)
    np.testing.assert_allclose(ours, F @ ((W.astype(np.float32) - 3) * np.float32(0.02)) + LINE[1], rtol=1e-4)


def single(
    operator: str, x: np.ndarray, operands: tuple[tuple[str, np.ndarray], ...], attributes: dict[str, Any]
) -> onnx.ModelProto:
    """A model of one node, whose first operand is fed."""
    node = helper.make_node(operator, ["x", *(name for name, _ in operands)], ["out"], domain="com.microsoft")
    node.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)],
        [helper.make_empty_tensor_value_info("out")],
        [numpy_helper.from_array(array, name) for name, array in dict(operands).items()],
    )
    domains = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=domains, ir_version=8)
