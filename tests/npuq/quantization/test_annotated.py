"""Networks that come with scales: taken over as they are, calibrated only where some are missing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import npuq
from npuq.backends.qdq import to_onnx
from npuq.ir import DType, Graph, NpuqError
from npuq.ir.ops.quant import Dequantize, Quantize
from npuq.passes.lowering.lower_to_integer import lower_to_integer
from npuq.passes.precision import Precision
from npuq.passes.target import load_target
from tests import onnxruntime_models as models

from ..conftest import Run


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.write(tmp_path_factory.mktemp("net") / "net.onnx")


@pytest.fixture(scope="module")
def static(net: Path) -> Mapping[str, Path]:
    return {
        "QOperator": models.static(net, net.with_name("qop.onnx"), "QOperator"),
        "QDQ": models.static(net, net.with_name("qdq.onnx"), "QDQ", signed=True, per_channel=True),
    }


@pytest.fixture(scope="module")
def dynamic(net: Path) -> Path:
    return models.dynamic(net, net.with_name("dynamic.onnx"), signed=True)


def scales(graph: Graph) -> set[tuple[float, int]]:
    """All scales and zero points of activations, the latter counted from the least integer."""
    return {
        (node.op.scales[0], node.op.zero_points[0] - node.op.dtype.range[0])
        for node in graph.nodes
        if isinstance(node.op, Quantize)
    }


def integers(graph: Graph) -> list[np.ndarray]:
    """The integers that are dequantized, of weights and biases."""
    read = [node.operands[0] for node in graph.nodes if isinstance(node.op, Dequantize)]
    return [graph.constants[name].array for name in read if name in graph.constants]


@pytest.mark.parametrize("form", ["QOperator", "QDQ"])
def test_no_data_are_wanted_where_nothing_is_missing(static: Mapping[str, Path], form: str) -> None:
    """The program rounds once where onnxruntime rounds a float product: steps apart, and most outputs the same."""
    graph = npuq.load(static[form])
    quantized = npuq.quantize(graph, target="npu-asym")
    assert scales(quantized.qdq) <= scales(graph)
    assert not quantized.scaled.notes
    assert not [node for node in quantized.graph.nodes if node.host]
    ours, theirs = (
        [array.astype(np.int64).ravel().tolist() for array in integers(one)] for one in (quantized.qdq, graph)
    )
    assert all(array in theirs or np.transpose(np.reshape(array, (16, 6))).ravel().tolist() in theirs for array in ours)
    samples = models.samples(10)
    step = quantized.graph.output_types[0].quant
    assert step is not None
    apart = np.array([(quantized.simulate(x)[0] - models.run(static[form], x)) / step.scale for x in samples])
    assert np.abs(apart).max() < 2.5
    assert np.mean(np.abs(apart) > 0.5) < 0.3


def test_a_target_without_zero_points_holds_the_same_reals(static: Mapping[str, Path]) -> None:
    graph = npuq.load(static["QDQ"])
    quantized = npuq.quantize(graph, target="npu")
    assert {reason for _, reason in quantized.scaled.notes} == {"its zero point is left out: npu has none"}
    for x in models.samples(4):
        ours, theirs = quantized.simulate(x / 2)[0], npuq.evaluate(graph)(x / 2)[0]
        assert np.abs(ours - theirs).max() < 0.03


def test_dynamic_quantization_wants_data_and_keeps_its_weights(dynamic: Path) -> None:
    graph = npuq.load(dynamic)
    with pytest.raises(NpuqError) as caught:
        npuq.quantize(graph)
    names = "x, r1, p1, c2, l2, a, m, k, ap, g, f, y0, y1, y"
    assert str(caught.value) == f"dynamic: 14 of 14 values have no scale: {names}; give data to calibrate them"
    samples = np.concatenate(models.samples(8))
    quantized = npuq.quantize(graph, samples)
    weights = [array for array in integers(quantized.qdq) if array.dtype == DType.I8.numpy]
    stored = [array.ravel().tolist() for array in integers(graph)]
    assert len(weights) == 4
    assert all(array.ravel().tolist() in stored for array in weights)
    assert quantized.report.outputs["y"] > 35  # type: ignore[operator]  # measured


def test_missing_scales_are_calibrated_and_the_others_kept(static: Mapping[str, Path]) -> None:
    model = onnx.load(static["QDQ"])
    pairs = {node.input[0]: node for node in model.graph.node if node.op_type == "QuantizeLinear"}
    after = {node.input[0]: node for node in model.graph.node if node.op_type == "DequantizeLinear"}
    for name in ("l2", "ap"):
        gone = after[pairs[name].output[0]]
        for node in model.graph.node:
            node.input[:] = [name if read == gone.output[0] else read for read in node.input]
        for one in (gone, pairs[name]):
            model.graph.node.remove(one)
    graph = npuq.load(model)
    with pytest.raises(NpuqError, match=r"^net: 2 of 14 values have no scale: l2, ap; give data to calibrate them$"):
        npuq.quantize(graph)
    quantized = npuq.quantize(graph, np.concatenate(models.samples(8)), target="npu-asym")
    assert set(quantized.statistics) == {"l2", "ap"}
    assert len(scales(quantized.qdq) - scales(graph)) == 2
    assert quantized.notes == ("12 scales are the model's own, 2 calibrated",)


def test_integers_that_are_fed(static: Mapping[str, Path]) -> None:
    """Without its first quantize a model takes integers, as its program does anyway."""
    model = onnx.load(static["QDQ"])
    (first,) = (node for node in model.graph.node if node.input[0] == "x")
    model.graph.node.remove(first)
    model.graph.input[0].name = first.output[0]
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.INT8
    graph, whole = npuq.load(model), npuq.load(static["QDQ"])
    assert str(graph.input_types[0]).startswith("q8<")
    direct = lower_to_integer(target=load_target("npu-asym"))(graph)
    ours, theirs = (npuq.quantize(one, target="npu-asym").graph for one in (graph, whole))
    assert [node.op for node in ours.nodes] == [node.op for node in theirs.nodes]
    assert not [node for one in (direct, ours) for node in one.nodes if node.host]
    assert direct.inputs == ours.inputs == graph.inputs


def test_what_npuq_exports_comes_back_as_the_same_program(net: Path) -> None:
    """Of two widths, so that a value is quantized twice."""
    wide = {"c2": Precision(bits=16)}
    once = npuq.quantize(npuq.load(net), np.concatenate(models.samples(4)), precision=wide, effort=0)
    again = npuq.quantize(npuq.load(to_onnx(once.qdq)))
    assert [node.op for node in again.graph.nodes] == [node.op for node in once.graph.nodes]
    kept, made = ({one.digest for one in quantized.graph.constants.values()} for quantized in (once, again))
    assert made == kept


@pytest.mark.parametrize(
    "option", [{"weight_bits": 4}, {"scales": {"x": {"scale": 1.0}}}, {"mean": 1.0}, {"mean": np.array([0.5, 0.2])}]
)
def test_options_that_choose_scales_are_refused(static: Mapping[str, Path], option: dict[str, Any]) -> None:
    with pytest.raises(NpuqError) as caught:
        npuq.quantize(npuq.load(static["QDQ"]), **option)
    assert str(caught.value) == f"qdq: {next(iter(option))}: the model has scales of its own, which are taken over"


def test_options_without_effect_are_noted(static: Mapping[str, Path]) -> None:
    """A width of 8 bits has no interpolated tables, and nothing is calibrated or equalized."""
    options: dict[str, Any] = {"effort": 2, "method": "kl", "percentile": 0.9, "lut_len": 9}
    notes = npuq.quantize(npuq.load(static["QDQ"]), target="npu-asym", **options).notes
    assert notes[1:] == (
        "lut_len 9 has no effect: no value is held at 16 bits",
        "percentile 0.9 has no effect: no value is calibrated by this method",
        "effort high has no effect: the model has scales of its own, which are taken over",
        "method kl has no effect: the model has all scales of its own",
    )


def test_the_command_line_needs_no_data(run: Run, static: Mapping[str, Path], tmp_path: Path) -> None:
    done = run("quantize", static["QOperator"], "--target", "npu-asym", "-o", tmp_path / "out")
    assert (done.code, done.err) == (0, "")
    assert "note: 14 scales are the model's own, 0 calibrated" in done.out
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"qop.npuq", "qop_qdq.onnx", "report.html"}
