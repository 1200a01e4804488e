"""Ranges of values: the default method, unless a value's own histogram shows that another keeps much more of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from npuq.ir import Builder, DType, Graph, TensorType
from npuq.ir.ops.activation import Relu, Sigmoid
from npuq.ir.ops.conv import MatMul
from npuq.ir.ops.elementwise import Mul
from npuq.ir.ops.norm import LayerNorm
from npuq.passes.calibration.choose_ranges import choose_ranges, kept_db
from npuq.passes.calibration.observe import observe
from npuq.passes.calibration.statistics import Observed
from npuq.passes.calibration.thresholds import Grid, thresholds
from npuq.passes.lowering.plan import observed_values
from npuq.passes.pipeline import Result
from npuq.passes.precision import Precision, Precisions
from npuq.passes.target import load_target

NPU = load_target("npu")


def gated() -> Graph:
    """A feature that a gate weighs, and what reads the product."""
    builder = Builder("net")
    x = builder.input("x", TensorType(DType.F32, (1, 10000)))
    gate = builder.add(Sigmoid(), builder.input("g", TensorType(DType.F32, (1, 10000))), name="gate")
    product = builder.add(Mul(), x, gate, name="p", loc="net.onnx:weighed")
    weights = builder.constant(np.random.default_rng(0).normal(size=(10000, 4)).astype(np.float32), "w")
    return builder.build({"y": builder.add(MatMul(), product, weights, name="y")})


@pytest.fixture(scope="module")
def statistics() -> Observed:
    """Of features with few great elements."""
    random = np.random.default_rng(1)
    x = random.laplace(size=(40, 10000)).astype(np.float32)
    graph = gated()
    return observe(graph, {"x": x, "g": 0 * x}, observed_values(graph, NPU))


def found_in(graph: Graph, statistics: Observed, precision: Precisions, **options: Any) -> Mapping[str, Any]:
    return choose_ranges(statistics=statistics, target=NPU, precision=precision, **options).run(Result(graph)).findings


def chosen(statistics: Observed, method: str | None = None) -> Mapping[str, Any]:
    return found_in(gated(), statistics, Precisions(Precision(method=method), narrow="min_max"))


def test_a_wide_range_takes_the_least_squared_error_and_says_so(statistics: Observed) -> None:
    found = chosen(statistics)
    kept = [kept_db(statistics["p"], thresholds(statistics["p"], one), Grid()) for one in ("min_max", "mse")]
    assert kept[0] + 1 < kept[1] < 40
    assert (
        "net.onnx:weighed",
        f"calibrated by mse, not min_max: keeps {kept[1]:.1f} dB, not {kept[0]:.1f}",
    ) in found["range_notes"]
    assert found["ranges"]["p", 8] == thresholds(statistics["p"], "mse")


def test_a_method_that_is_asked_for_is_taken_everywhere(statistics: Observed) -> None:
    found = chosen(statistics, "min_max")
    assert found["range_notes"] == ()
    assert found["ranges"]["p", 8] == thresholds(statistics["p"], "min_max")


def test_what_a_grid_keeps_is_what_rounding_leaves() -> None:
    random = np.random.default_rng(2)
    x = random.normal(size=(1, 10000)).astype(np.float32)
    found = observe(gated(), {"x": x, "g": x}, ["x"])["x"]
    for top in (2.0, 4.0):
        rounded = np.clip(np.round(x * 127 / top), -127, 127) * top / 127
        wanted = 10 * np.log10((x**2).sum() / ((x - rounded) ** 2).sum())
        assert kept_db(found, (-top, top), Grid()) == pytest.approx(wanted, abs=0.3)


def test_a_threshold_cuts_what_layer_normalizations_read_and_give() -> None:
    builder = Builder("net")
    x = builder.input("x", TensorType(DType.F32, (1, 64)))
    ones, zeros = (builder.constant(np.full(64, one, np.float32), "k") for one in (1.0, 0.0))
    normalized = builder.add(LayerNorm(), builder.add(Relu(), x, name="r"), ones, zeros, name="n")
    graph = builder.build({"y": builder.add(Sigmoid(), normalized, name="y")})
    data = np.random.default_rng(0).normal(size=(8, 64)).astype(np.float32)
    data[:, 3] = 50.0
    seen = observe(graph, data, observed_values(graph, NPU))
    for bits in (8, 16):
        precision = Precisions(Precision(bits, "min_max"))
        free = found_in(graph, seen, precision)["ranges"]
        cut = found_in(graph, seen, precision, layer_threshold=4.0)["ranges"]
        assert free["r", bits][1] >= 50.0
        assert max(free["n", bits]) > 4.0
        assert cut["r", bits][1] == cut["n", bits][1] == 4.0
        assert cut["x", bits] == free["x", bits]
