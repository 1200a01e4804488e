"""Interval analysis: what each value of a graph, and each accumulator, can hold for any input."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from npuq.ir import Graph, Node, RuleError, TensorType
from npuq.ir.arithmetic import Interval, within
from npuq.ir.op import UNBOUNDED, Bounds
from npuq.ir.ops.npu.result import Accumulating, Operand


def value_bounds(graph: Graph) -> Mapping[str, Bounds]:
    """The bounds of every value, whatever the inputs are; those of integers are ints."""
    found = {name: _within(UNBOUNDED, type_) for name, type_ in graph.inputs.items()}
    for name, constant in graph.constants.items():
        array = constant.array if constant.type.dtype.bits > 4 else constant.array.astype(np.int8)
        number = int if constant.type.dtype.is_integer else float
        found[name] = (number(array.min()), number(array.max())) if array.size else (0, 0)
    for node in graph.nodes:
        bounds = node.op.bounds(*(found[operand] for operand in node.operands))
        found.update((result, _within(bounds, type_)) for result, type_ in zip(node.results, node.types, strict=True))
    return found


def _within(bounds: Bounds, type_: TensorType) -> Bounds:
    """The bounds, of integers no further than their type's."""
    if not type_.dtype.is_integer:
        return bounds
    low, high = type_.dtype.range
    return int(max(bounds[0], low)), int(min(bounds[1], high))


def accumulator_needed(graph: Graph, node: Node, known: Mapping[str, Bounds]) -> Interval | None:
    """An interval of every partial sum of a node; None for an op that does not accumulate.

    Raises `RuleError` where an operand that the proof needs is no constant.
    """
    if not isinstance(node.op, Accumulating):
        return None
    ends = ((int(low), int(high)) for low, high in (known[name] for name in node.operands))
    return node.op.accumulator_bounds(
        *(
            Operand(graph.types[name], interval, graph.constant(name))
            for name, interval in zip(node.operands, ends, strict=True)
        )
    )


def accumulator_proven(graph: Graph, node: Node, known: Mapping[str, Bounds]) -> str | None:
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
