"""Ranges that end where a value must: integers beyond what a function can give would only make the steps coarser."""

from __future__ import annotations

import math
from collections.abc import Mapping

from npuq.ir import Graph, Node, Op
from npuq.ir.ops import activation, elementwise, pool, reduce, scatter, trigonometry

from ..intervals import GATHERS, MOVERS
from ..lowering.plan import Held
from ..scales import Range

EVERYTHING = (-math.inf, math.inf)

LIMITS: Mapping[type[Op], Range] = {
    activation.Sigmoid: (0.0, 1.0),
    activation.HardSigmoid: (0.0, 1.0),
    reduce.Softmax: (0.0, 1.0),
    activation.Tanh: (-1.0, 1.0),
    activation.Softsign: (-1.0, 1.0),
    elementwise.Erf: (-1.0, 1.0),
    elementwise.Sin: (-1.0, 1.0),
    elementwise.Cos: (-1.0, 1.0),
    trigonometry.Asin: (-math.pi / 2, math.pi / 2),
    trigonometry.Acos: (0.0, math.pi),
    trigonometry.Atan: (-math.pi / 2, math.pi / 2),
}
"""What functions give, whatever their operands are."""

AVERAGES = (reduce.ReduceMean, pool.AveragePool)


def bounded_ranges(graph: Graph, ranges: Mapping[Held, Range]) -> dict[Held, Range]:
    """The ranges, each cut to what its value can hold for any input: a clip's ends, a sigmoid's 0 and 1."""
    bounds: dict[str, Range] = {
        name: (float(known.array.min()), float(known.array.max()))
        for name, known in graph.constants.items()
        if known.array.size and known.type.dtype.is_float
    }
    for node in graph.nodes:
        bounds[node.results[0]] = result_bounds(node, [bounds.get(operand, EVERYTHING) for operand in node.operands])
    found = {}
    for (name, bits), (low, high) in ranges.items():
        least, greatest = bounds.get(name, EVERYTHING)
        found[name, bits] = (max(low, least), min(high, greatest))
    return found


def result_bounds(node: Node, operands: list[Range]) -> Range:
    """What a node's first result can hold, given what its operands can."""
    op = node.op
    if type(op) in LIMITS:
        return LIMITS[type(op)]
    if isinstance(op, activation.Relu):
        return 0.0, max(operands[0][1], 0.0)
    if isinstance(op, activation.Clip):
        low, high = operands[0]
        return min(max(low, op.low), op.high), min(max(high, op.low), op.high)
    if op.name in MOVERS:
        return min(low for low, _ in operands), max(high for _, high in operands)
    if op.name in GATHERS or isinstance(op, pool.MaxPool):
        return operands[0]
    if isinstance(op, (scatter.ScatterNd, scatter.ScatterElements)) and op.reduction == "none":
        return min(operands[0][0], operands[2][0]), max(operands[0][1], operands[2][1])
    if isinstance(op, AVERAGES):
        return min(operands[0][0], 0.0), max(operands[0][1], 0.0)
    return EVERYTHING
