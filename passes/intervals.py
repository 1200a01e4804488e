"""Interval analysis of integer graphs: what each value, and each accumulator, can hold for any input."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from npuq.ir import Graph, Node
from npuq.ir.arithmetic import Interval, accumulator_interval, within
from npuq.ir.ops.npu.pointwise import LARGEST_TERM
from npuq.ir.ops.npu.result import product, total

Intervals = Mapping[str, Interval]

MOVERS = frozenset(
    {"identity", "reshape", "transpose", "slice", "concat", "tile", "expand"}
    | {"maximum", "minimum", "reduce_max", "reduce_min", "npu.max_pool2d"}
)
"""Ops whose results hold nothing but their operands' elements."""

GATHERS = frozenset({"gather", "gather_elements", "gather_nd"})
"""Ops whose results hold nothing but their first operand's elements."""

SCATTERS = frozenset({"scatter_nd", "scatter_elements"})
"""Ops that write their third operand's elements among those of the first, where they do not join them."""


def value_intervals(graph: Graph) -> Intervals:
    """An interval that holds every element of each integer value, whatever the inputs are."""
    found: dict[str, Interval] = {}
    for name, type_ in graph.inputs.items():
        if type_.dtype.is_integer:
            found[name] = type_.dtype.range
    for name, constant in graph.constants.items():
        if constant.type.dtype.is_integer:
            array = constant.array if constant.type.dtype.bits > 4 else constant.array.astype(np.int8)
            found[name] = (int(array.min()), int(array.max())) if array.size else (0, 0)
    for node in graph.nodes:
        for result, type_ in zip(node.results, node.types, strict=True):
            if type_.dtype.is_integer:
                found[result] = _result_interval(node, found) or type_.dtype.range
    return MappingProxyType(found)


def _result_interval(node: Node, known: Intervals) -> Interval | None:
    """What one op can give; None where the element type alone says it."""
    op: Any = node.op
    if op.name in MOVERS:
        return _hull(*(known[operand] for operand in node.operands))
    if op.name == "pad":
        value = known[node.operands[0]]
        return _hull(value, (int(op.value), int(op.value))) if op.mode == "constant" else value
    if op.name in GATHERS or (op.name == "resize" and op.mode == "nearest"):
        return known[node.operands[0]]
    if op.name in SCATTERS and op.reduction == "none":
        return _hull(known[node.operands[0]], known[node.operands[2]])
    if op.name in ("npu.lut", "npu.interpolate"):
        return known[node.operands[1]]
    if op.name == "quantize" or (op.name.startswith("npu.") and hasattr(op, "low")):
        return op.low, op.high
    return None


def accumulator_needed(graph: Graph, node: Node, known: Intervals) -> Interval | None:
    """An interval of every partial sum that a requantizing op forms; None for an op that forms none.

    Weights and bias must be constants. For `npu.add` the sum is that of the products with the multipliers.
    """
    rule = _SUMS.get(node.op.name)
    return None if rule is None else rule(graph, node, known)


def _weighted(graph: Graph, node: Node, known: Intervals) -> Interval:
    """Rule A1: constant weights and a bias; what pads the input counts as input."""
    op: Any = node.op
    low, high = known[node.operands[0]]
    if op.name == "npu.conv2d":
        low, high = min(low, op.pad_value), max(high, op.pad_value)
    weights, bias = (graph.constants[operand].array for operand in node.operands[1:3])
    return accumulator_interval(weights, bias, low, high)


def _pairwise(graph: Graph, node: Node, known: Intervals) -> tuple[Interval, Interval]:
    op: Any = node.op
    first, second = op.zero_points
    return _less(known[node.operands[0]], first), _less(known[node.operands[1]], second)


def _matrix_product(graph: Graph, node: Node, known: Intervals) -> Interval:
    depth = graph.types[node.operands[0]].shape[-1]
    return total(product(*_pairwise(graph, node, known)), depth)


def _sum(graph: Graph, node: Node, known: Intervals) -> Interval:
    if node.op.left_shift:  # type: ignore[attr-defined]  # of npu.add
        return (-2 * LARGEST_TERM, 2 * LARGEST_TERM)
    multipliers = graph.constants[node.operands[2]].array.tolist()
    terms = [
        product(term, (factor, factor)) for term, factor in zip(_pairwise(graph, node, known), multipliers, strict=True)
    ]
    return terms[0][0] + terms[1][0], terms[0][1] + terms[1][1]


def _product(graph: Graph, node: Node, known: Intervals) -> Interval:
    return product(*_pairwise(graph, node, known))


def _length(graph: Graph, node: Node, known: Intervals) -> Interval:
    op: Any = node.op
    sides = zip(_pairwise(graph, node, known), op.weights, strict=True)
    return 0, math.isqrt(sum((max(-low, high, 0) * weight) ** 2 for (low, high), weight in sides)) + 1


def _centred(graph: Graph, node: Node, known: Intervals) -> Interval:
    op: Any = node.op
    return _less(known[node.operands[0]], op.input_zero_point)


def _pooled(graph: Graph, node: Node, known: Intervals) -> Interval:
    op: Any = node.op
    return total(_centred(graph, node, known), math.prod(op.window))


def _reduced(graph: Graph, node: Node, known: Intervals) -> Interval:
    op: Any = node.op
    shape = graph.types[node.operands[0]].shape
    return total(_centred(graph, node, known), math.prod(shape[axis] for axis in op.axes))


def _interpolated(graph: Graph, node: Node, known: Intervals) -> Interval:
    """Two weighted sums; weights of both signs bound the magnitude alone."""
    low, high = _centred(graph, node, known)
    reach, signed = 1, False
    for operand in node.operands[1:3]:
        weights = graph.constants[operand].array.astype(np.int64)
        reach *= int(np.abs(weights).sum(1).max(initial=0))
        signed = signed or bool((weights < 0).any())
    if signed:
        low, high = -max(-low, high), max(-low, high)
    return total((low, high), reach)


def _recurrent(graph: Graph, node: Node, known: Intervals) -> Interval:
    """Rule A1 for the sums with x and for those with the state, which has all integers of its type."""
    op: Any = node.op
    bias = graph.constants[node.operands[3]].array
    found = []
    for part, interval in enumerate((known[node.operands[0]], op.dtype.range)):
        weights = graph.constants[node.operands[1 + part]].array
        rows = weights.reshape(-1, weights.shape[-1]).T
        found.append(accumulator_interval(rows, bias[:, part].reshape(-1), *interval))
    return _hull(*found)


_SUMS: Mapping[str, Callable[[Graph, Node, Intervals], Interval]] = {
    "npu.conv2d": _weighted,
    "npu.matmul": _weighted,
    "npu.batch_matmul": _matrix_product,
    "npu.add": _sum,
    "npu.mul": _product,
    "npu.hypot": _length,
    "npu.lstm": _recurrent,
    "npu.gru": _recurrent,
    "npu.rnn": _recurrent,
    "npu.requantize": _centred,
    "npu.average_pool2d": _pooled,
    "npu.reduce_sum": _reduced,
    "npu.resize_linear": _interpolated,
}


def accumulator_proven(graph: Graph, node: Node, known: Intervals) -> str | None:
    """The accumulator's recorded interval holds every partial sum that any input can give."""
    needed = accumulator_needed(graph, node, known)
    if needed is None:
        return None
    op: Any = node.op
    low, high = op.accumulator
    if within(needed, (low, high)):
        return None
    return f"accumulator [{low}, {high}] recorded, sums reach [{needed[0]}, {needed[1]}]; lower the graph again"


def _hull(*intervals: Interval) -> Interval:
    return min(low for low, _ in intervals), max(high for _, high in intervals)


def _less(interval: Interval, zero_point: int) -> Interval:
    return interval[0] - zero_point, interval[1] - zero_point
