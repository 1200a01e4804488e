"""Functions of one element: chains of them become one table, exact at 8 bits and interpolated at 16.

Those of 16 bits that are made of straight lines through zero are exact without a table.
"""

from __future__ import annotations

from dataclasses import replace
from graphlib import TopologicalSorter

import numpy as np

from npuq.ir import DType, Graph, Node, Op, registry, run_nodes
from npuq.ir.arithmetic import MULTIPLIERS
from npuq.ir.ops.activation import Clip, LeakyRelu, PRelu, Relu
from npuq.ir.ops.elementwise import Abs, Maximum, Minimum, Mod, Neg, Pow, Unary
from npuq.ir.ops.npu.interpolate import Interpolate
from npuq.ir.ops.npu.pointwise import Add, Lut
from npuq.ir.ops.quant import Dequantize, to_integers, to_reals

from ..target import Target
from .context import Context, Emitted, Result, clamp_of
from .registry import Kind, Lowering, is_known, kind_of
from .tables import INTEGERS, lengths, shortest_table


def table_by_channel(graph: Graph, node: Node, value: str) -> bool:
    """Whether a known operand is one number, or one per channel of the node's result."""
    shape, result = graph.types[value].shape, node.type.shape
    aligned = (1,) * (len(result) - len(shape)) + shape
    return all(size == 1 or axis == 1 for axis, size in enumerate(aligned)) and len(aligned) == len(result)


def as_table(graph: Graph, node: Node) -> bool:
    """Whether an op of two operands is a function of one element: the other operand is known, or the same value."""
    computed = {operand for operand in node.operands if not is_known(graph, operand)}
    known = [operand for operand in node.operands if is_known(graph, operand)]
    if len(computed) != 1 or graph.types[next(iter(computed))].shape != node.type.shape:
        return False
    return all(table_by_channel(graph, node, operand) for operand in known)


def not_a_table(graph: Graph, node: Node, target: Target) -> str | None:
    """The second operand is one known number, or one per channel."""
    return None if as_table(graph, node) else "the second operand is computed, one known number per channel wanted"


def region(graph: Graph, result: str) -> tuple[list[Node], str] | None:
    """The pointwise nodes between a result and its one dequantized source, in order, and the source; or None."""
    nodes: dict[str, Node] = {}
    sources: set[str] = set()
    waiting = [result]
    while waiting:
        value = waiting.pop()
        if value in nodes or is_known(graph, value):
            continue
        node = graph.producers.get(value)
        if node is not None and isinstance(node.op, Dequantize):
            sources.add(value)
        elif node is None or kind_of(graph, node) is not Kind.POINTWISE:
            return None
        else:
            nodes[value] = node
            waiting.extend(node.operands)
    if len(sources) != 1:
        return None
    before = {value: [one for one in node.operands if one in nodes] for value, node in nodes.items()}
    return [nodes[value] for value in TopologicalSorter(before).static_order()], sources.pop()


def function_values(context: Context, nodes: list[Node], source: str, integers: np.ndarray) -> np.ndarray:
    """The composed float32 function at integers of its source: f64[channels, integers], one channel where all agree."""
    reals = to_reals(integers, context.quant(source))
    rank = nodes[-1].type.rank
    x = reals.reshape((-1,) + (1,) * (rank - 1))
    inside = {source, *(node.result for node in nodes)}
    operands = {operand for node in nodes for operand in node.operands} - inside
    arrays = {operand: known(context, operand, rank) for operand in sorted(operands)}
    channels = max((array.shape[1] for array in arrays.values() if rank > 1), default=1)
    parts = []
    for start in range(0, channels, CHANNELS):
        values = {source: x}
        for name, array in arrays.items():
            values[name] = array[:, start : start + CHANNELS] if rank > 1 and array.shape[1] > 1 else array
        result = run_nodes(nodes, values)[nodes[-1].result]
        parts.append(np.asarray(result, np.float64).reshape(len(integers), -1).T)
    return np.concatenate(parts)


CHANNELS = 16
"""How many channels of a function are evaluated at once: 65 537 reals each may be wanted."""


def table(context: Context, nodes: list[Node], source: str) -> np.ndarray:
    """The integers of the composed function at every integer of its source: int8 [256] or [channels, 256]."""
    least, greatest = context.dtype(source).range
    result = context.result
    outputs = function_values(context, nodes, source, np.arange(least, greatest + 1))
    outputs = np.nan_to_num(outputs, nan=0.0, posinf=np.inf, neginf=-np.inf)
    entries = to_integers(outputs, result.quant, result.low, result.high).astype(result.dtype.numpy)
    return np.ascontiguousarray(entries if len(entries) > 1 else entries[0])


def known(context: Context, value: str, rank: int) -> np.ndarray:
    """The float array of a known operand."""
    array = context.source.constant(value)
    if array is None:
        array = to_reals(context.integers(value), context.quant(value))
    return array.reshape((1,) * (rank - array.ndim) + array.shape)


def pointwise(context: Context, op: Op) -> Emitted:
    """One table for the node and all the pointwise nodes before it; of 16 bits, points to draw lines between."""
    found = region(context.source, context.node.result)
    assert found is not None
    nodes, source = found
    if context.dtype(source) is DType.I16:
        return pieces(context, nodes, source) or interpolate(context, nodes, source)
    return _look_up(context, Lut(), table(context, nodes, source), source)


def interpolate(context: Context, nodes: list[Node], source: str) -> Emitted:
    """The shortest table that is near enough, or the one of the asked length; its worst error is noted."""
    result = context.result
    steps = function_values(context, nodes, source, INTEGERS) / result.quant.scale + result.quant.zero_point
    among = lengths(context.target) if context.lut_len is None else (context.lut_len,)
    found = shortest_table(steps, result.low, result.high, among, result.dtype.numpy)
    note = f"a table of {found.entries.shape[-1]} entries, off by at most {found.worst:.2f} steps"
    context.tables.append((context.node.place, note))
    return _look_up(context, Interpolate(worst=round(found.worst, 4)), found.entries, source)


def _look_up(context: Context, op: Op, entries: np.ndarray, source: str) -> Emitted:
    """Tables per channel want channels last; one for all takes the layout that is at hand."""
    last = context.is_last(source) or (entries.ndim == 2 and len(context.shape(source)) > 2)
    x = context.take(source, last=last)
    return context.emit(op, x, context.builder.constant(entries, f"{context.result.name}.table"), last=last)


def pieces(context: Context, nodes: list[Node], source: str) -> Emitted | None:
    """The rescaled operand in one to three ops, each rounded once; None where the function is another one.

    Clamps limit it, a slope below zero is the greater or the less of two lines. A result whose steps are too fine for
    the target's shifts is left to a table.
    """
    if not _reaches(context, nodes, source):
        return None
    if all(isinstance(node.op, (Relu, Clip)) for node in nodes):
        return _clamped(context, nodes, source)
    match [node.op for node in nodes]:
        case [Neg()]:
            return Emitted(_line(context, source, -1.0, context.result), context.is_last(source))
        case [Abs()]:
            return _two_lines(context, source, -1.0)
        case [LeakyRelu(alpha=alpha)] if alpha:
            return _two_lines(context, source, alpha)
    return None


def _reaches(context: Context, nodes: list[Node], source: str) -> bool:
    """Whether the rescalings fit the target's shifts."""
    slope = max(1.0, *(abs(node.op.alpha) for node in nodes if isinstance(node.op, LeakyRelu)), 0.0)
    least = context.target.rescale_shift_range[0]
    return slope * context.quant(source).scale / context.result.quant.scale * 2.0**least < MULTIPLIERS[1]


def _clamped(context: Context, nodes: list[Node], source: str) -> Emitted:
    """One after the other the clamps narrow the limits; a later one that excludes them all leaves its nearer end."""
    result, last = context.result, context.is_last(source)
    low, high = result.low, result.high
    for node in nodes:
        least, greatest = clamp_of(node, result.quant, result.low, result.high)
        low, high = (min(max(end, least), greatest) for end in (low, high))
    return Emitted(context.rescaled(context.take(source, last=last), replace(result, low=low, high=high)), last)


def _line(context: Context, source: str, slope: float, result: Result) -> str:
    """slope * x: a sum of x and nothing else, whose multipliers may be negative."""
    quant = context.quant(source)
    factors = context.common_rescale(np.array([slope * quant.scale / result.quant.scale, 0.0]))
    x = context.take(source, last=context.is_last(source))
    op = Add(zero_points=(quant.zero_point, quant.zero_point), **context.tail(result))
    return context.add(op, x, x, *factors, result=result)


def _two_lines(context: Context, source: str, slope: float) -> Emitted:
    """x above zero and slope * x below it: rounding is monotone, so the greater line rounds to the greater integer."""
    result, last = context.result, context.is_last(source)
    upper = context.rescaled(context.take(source, last=last), replace(result, name=f"{result.name}.above"))
    lower = _line(context, source, slope, replace(result, name=f"{result.name}.below"))
    return context.emit(Maximum() if slope <= 1 else Minimum(), upper, lower, last=last)


Lowering(kind=Kind.POINTWISE).of(*(op for op in registry().values() if issubclass(op, Unary)))(pointwise)
Lowering(kind=Kind.POINTWISE, obstacle=not_a_table, raw=(1,)).of(PRelu)(pointwise)
Lowering(kind=Kind.POINTWISE, obstacle=not_a_table).of(Pow, Mod)(pointwise)
