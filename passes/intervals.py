"""Interval analysis of integer graphs: what each value, and each accumulator, can hold for any input."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from npuq.ir import Graph, Node, RuleError
from npuq.ir.arithmetic import Interval, within
from npuq.ir.op import UNBOUNDED
from npuq.ir.ops.npu.result import Accumulating, Operand

Intervals = Mapping[str, Interval]


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
        low, high = node.op.bounds(*(found.get(operand, UNBOUNDED) for operand in node.operands))
        for result, type_ in zip(node.results, node.types, strict=True):
            if type_.dtype.is_integer:
                least, greatest = type_.dtype.range
                found[result] = int(max(low, least)), int(min(high, greatest))
    return MappingProxyType(found)


def accumulator_needed(graph: Graph, node: Node, known: Intervals) -> Interval | None:
    """An interval of every partial sum of a node; None for an op that does not accumulate.

    Raises `RuleError` where an operand that the proof needs is no constant.
    """
    if not isinstance(node.op, Accumulating):
        return None
    return node.op.accumulator_bounds(
        *(Operand(graph.types[name], known[name], graph.constant(name)) for name in node.operands)
    )


def accumulator_proven(graph: Graph, node: Node, known: Intervals) -> str | None:
    """The accumulator's recorded interval holds every partial sum that any input can give."""
    try:
        needed = accumulator_needed(graph, node, known)
    except RuleError as error:
        return str(error)
    if needed is None:
        return None
    assert isinstance(node.op, Accumulating)
    low, high = node.op.accumulator
    if within(needed, (low, high)):
        return None
    return f"accumulator [{low}, {high}] recorded, sums reach [{needed[0]}, {needed[1]}]; lower the graph again"
