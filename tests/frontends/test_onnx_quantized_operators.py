"""Networks that onnxruntime's tools quantized, in every form that they write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

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


def test_the_judge_may_round_the_other_way(net: Path, tmp_path: Path) -> None:
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
