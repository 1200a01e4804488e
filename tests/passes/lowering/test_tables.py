"""Tables of 16-bit functions, at all 65 536 inputs: as near as the program says, exact where lines are all there is."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import numpy as np
import pytest

import npuq
from npuq.backends.simulator import simulator
from npuq.ir import Builder, DType, Graph, NpuqError, Op, TensorType
from npuq.ir.ops import activation, elementwise
from npuq.ir.ops.npu.interpolate import Interpolate
from npuq.passes.lowering.lower_to_integer import Lowered, lower
from npuq.passes.lowering.plan import observed_values
from npuq.passes.lowering.tables import INTEGERS, WORST, points, shortest_table
from npuq.passes.precision import Precision, Precisions
from npuq.passes.quantize.insert_fake_quant import insert_fake_quant
from npuq.passes.target import load_target
from tests.oracle.ops import ORACLE

NPU = load_target("npu")
EVERY = np.arange(-32768, 32768)
WIDE = Precisions(Precision(16))


def chain(*ops: Op) -> Graph:
    """One-element functions in a row over an input that holds every 16-bit integer."""
    builder = Builder("chain")
    value = builder.input("x", TensorType(DType.F32, (EVERY.size,)))
    for op in ops:
        value = builder.add(op, value)
    return builder.build({"y": value})


def lowered(graph: Graph, x: float, y: tuple[float, float], lut_len: int | None = None) -> Lowered:
    """The integer graph of data within -x and x and results within y."""
    (first, *_, last) = observed_values(graph, NPU, WIDE)
    return lower(insert_fake_quant(ranges={first: (-x, x), last: y}, target=NPU, precision=WIDE)(graph), NPU, lut_len)


def outputs(graph: Graph) -> np.ndarray:
    """What the integer graph gives for every integer."""
    (found,) = npuq.ir.evaluate(graph)(EVERY.astype(np.int16))
    return np.asarray(found).astype(np.int64)


def steps(lowered: Lowered, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The function of every input's real, in steps of the result, limited to 16 bits."""
    ((x,), (y,)) = lowered.graph.input_types, lowered.graph.output_types
    assert x.quant is not None
    assert y.quant is not None
    with np.errstate(all="ignore"):
        return np.clip(function(EVERY * np.float64(x.quant.scale)) / y.quant.scale, -32768, 32767)


FUNCTIONS: dict[str, tuple[Op, float, tuple[float, float], Callable[[np.ndarray], np.ndarray]]] = {
    "sigmoid": (activation.Sigmoid(), 8.0, (0.0, 1.0), lambda x: 1 / (1 + np.exp(-x))),
    "tanh": (activation.Tanh(), 4.0, (-1.0, 1.0), np.tanh),
    "exp": (elementwise.Exp(), 5.0, (0.0, math.exp(5)), np.exp),
    "silu": (activation.Silu(), 10.0, (-0.3, 10.0), lambda x: x / (1 + np.exp(-x))),
    "reciprocal": (elementwise.Reciprocal(), 1.0, (-90.0, 90.0), lambda x: np.where(x == 0, 0, 1 / x)),
    "sqrt": (elementwise.Sqrt(), 2.0, (0.0, 1.5), lambda x: np.nan_to_num(np.sqrt(x))),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_stored_error_is_the_worst_of_all_inputs(name: str) -> None:
    op, x, y, function = FUNCTIONS[name]
    for lut_len in (None, 8):
        found = lowered(chain(op), x, y, lut_len)
        (node,) = found.graph.nodes
        assert isinstance(node.op, Interpolate)
        table = found.graph.constants[node.operands[1]].array
        worst = np.abs(outputs(found.graph) - steps(found, function)).max()
        assert node.op.worst == pytest.approx(worst, abs=0.01 + 1e-3 * worst)
        if lut_len is not None:
            assert table.size == (1 << lut_len) + 1
        elif name in ("sigmoid", "tanh", "exp", "silu"):
            assert worst <= WORST + 0.01
        assert found.repairs == ()
        assert found.tables == (
            (node.place, f"a table of {table.size} entries, off by at most {node.op.worst:.2f} steps"),
        )
        np.testing.assert_array_equal(
            outputs(found.graph), ORACLE["npu.interpolate"]({}, EVERY, table.astype(np.int64))
        )


@pytest.mark.parametrize("y", [1.0, 0.37, 3.0], ids=str)
@pytest.mark.parametrize(
    ("ops", "function"),
    [
        ((activation.Relu(),), lambda x: np.maximum(x, 0)),
        ((activation.Clip(low=-0.3, high=0.7),), lambda x: np.clip(x, -0.3, 0.7)),
        ((activation.Relu(), activation.Clip(low=-1.0, high=0.2)), lambda x: np.clip(x, 0, 0.2)),
        ((elementwise.Neg(),), np.negative),
        ((elementwise.Abs(),), np.abs),
        ((activation.LeakyRelu(alpha=0.1),), lambda x: np.where(x < 0, np.float32(0.1) * np.float64(x), x)),
        ((activation.LeakyRelu(alpha=3.0),), lambda x: np.where(x < 0, 3 * x, x)),
        ((activation.LeakyRelu(alpha=-0.5),), lambda x: np.where(x < 0, -0.5 * x, x)),
    ],
    ids=lambda value: "-".join(op.name for op in value) if isinstance(value, tuple) else "",
)
def test_functions_of_straight_lines_are_rounded_once(
    ops: tuple[Op, ...], function: Callable[[np.ndarray], np.ndarray], y: float
) -> None:
    """Off by at most half a step, and what the multiplier's 31 bits leave of the greatest integer."""
    found = lowered(chain(*ops), 1.0, (-y, y))
    assert "npu.interpolate" not in {node.op.name for node in found.graph.nodes}
    off = np.abs(outputs(found.graph) - steps(found, function))
    off[np.abs(steps(found, function)) > 32766] = 0
    assert off.max() <= 0.5 + 1e-3


def test_lines_with_kinks_at_knots_are_exact_at_one_scale() -> None:
    """Whatever the length: no midpoint is off, so no knot moves. Only the point after the last integer is cut off."""
    for n in (8, 12):
        for slope in (-1, 0, 1):
            exact = np.where(INTEGERS < 0, slope * INTEGERS, INTEGERS)[None].astype(np.float64)
            entries = points(np.clip(exact, -32768, 32767), n, -32768, 32767)[0].astype(np.int64)
            given = ORACLE["npu.interpolate"]({}, EVERY, entries)
            whole = np.abs(EVERY) < 32768 - (1 << (16 - n))
            np.testing.assert_array_equal(given[whole], exact[0, :-1][whole])
            assert np.abs(given - exact[0, :-1]).max() <= 1


def test_knots_move_by_half_of_what_the_middles_are_off() -> None:
    """A parabola: every middle lies by the same amount below its chord, so all knots move alike."""
    curve = (INTEGERS / 256.0) ** 2
    (moved,) = points(curve[None], 8, -32768, 32767)
    off = (256 / 256) ** 2 / 4
    np.testing.assert_array_equal(moved, np.rint(curve[::256] - off / 2))


def test_the_shortest_table_within_the_bound_is_taken_and_the_best_where_none_is() -> None:
    def taken(steps: np.ndarray) -> int:
        return int(shortest_table(steps[None], -32768, 32767, (8, 9, 10, 11, 12), np.dtype(np.int16)).entries.size)

    assert taken(INTEGERS / 3.0) == 257
    sizes = [taken(30000 * np.sin(INTEGERS / 32768 * turns)) for turns in (0.3, 3, 12, 3000)]
    assert sizes == sorted(sizes)
    assert (sizes[0], sizes[-1]) == (257, 4097)
    assert len(set(sizes)) >= 3


def test_a_chain_shares_one_table_and_channels_have_their_own() -> None:
    builder = Builder("channels")
    x = builder.input("x", TensorType(DType.F32, (1, 3, 4, 5)))
    slopes = builder.constant(np.array([0.25, -0.5, 2.0], np.float32).reshape(3, 1, 1), "slopes")
    inner = builder.add(activation.PRelu(), builder.add(activation.Tanh(), x), slopes)
    graph = builder.build({"y": inner})
    found = lowered(graph, 2.0, (-2.0, 2.0))
    (node,) = (node for node in found.graph.nodes if node.op.name == "npu.interpolate")
    assert found.graph.constants[node.operands[1]].type.shape[0] == 3
    data = np.random.default_rng(0).uniform(-2, 2, (1, 3, 4, 5)).astype(np.float32)
    (wanted,) = npuq.evaluate(graph)(data)
    (given,) = simulator(found.graph)(data)
    assert np.abs(np.asarray(wanted) - given).max() < 6 * 2 / 32767


@pytest.mark.parametrize("lut_len", [7, 13])
def test_a_length_that_the_target_lacks_is_refused(lut_len: int) -> None:
    wanted = f"lut_len {lut_len}: npu has tables of 2^n + 1 entries for n of 8, 9, 10, 11, 12"
    with pytest.raises(NpuqError, match="^" + re.escape(wanted)):
        lowered(chain(activation.Tanh()), 1.0, (-1.0, 1.0), lut_len)
