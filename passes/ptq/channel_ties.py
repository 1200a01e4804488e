"""Which channels of which values must be scaled by the same factor, so that no result changes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from npuq.ir import Graph, Node
from npuq.ir.ops.activation import Clip, LeakyRelu, PRelu, Relu
from npuq.ir.ops.conv import Conv, ConvTranspose, MatMul
from npuq.ir.ops.elementwise import Abs, Add, Identity, Maximum, Minimum, Mul, Neg, Sub
from npuq.ir.ops.norm import LayerNorm, RmsNorm
from npuq.ir.ops.pool import AveragePool, MaxPool
from npuq.ir.ops.reduce import ReduceMax, ReduceMean, ReduceMin, ReduceSum, Reduction
from npuq.ir.ops.resize import Resize
from npuq.ir.ops.shape import Concat, Pad, Reshape, Slice, Transpose

from ..lowering import Kind
from ..lowering.plan import EVERYWHERE, Plan, plan_of
from ..lowering.registry import is_weight
from ..precision import Precisions
from ..target import Target

HOMOGENEOUS = (Relu, LeakyRelu, PRelu, Abs, Neg, Identity, MaxPool, AveragePool)
"""Ops f of one computed operand, each channel apart, with f(k x) = k f(x) for k > 0."""

TABLE_BITS = 8
"""Wider values have interpolated tables, too large for one per channel, and steps too fine to need it."""


@dataclass
class Ties:
    """One number per channel of every value: channels of equal numbers are scaled together, `pinned` ones never.

    `ids[value]` are the numbers along `axes[value]`; a value without entry keeps its scale. `weighted`, `tables` and
    `normalized` are the results of nodes whose weights, tables, or scale and bias include the factors.
    """

    axes: dict[str, int] = field(default_factory=dict)
    ids: dict[str, np.ndarray] = field(default_factory=dict)
    parents: list[int] = field(default_factory=list)
    pinned: set[int] = field(default_factory=set)
    weighted: set[str] = field(default_factory=set)
    tables: set[str] = field(default_factory=set)
    normalized: set[str] = field(default_factory=set)

    def root(self, one: int) -> int:
        while self.parents[one] != one:
            self.parents[one] = self.parents[self.parents[one]]
            one = self.parents[one]
        return one

    def roots(self, value: str) -> np.ndarray:
        """The numbers of a value's channels, equal where they are tied."""
        return np.array([self.root(int(one)) for one in self.ids[value]])

    def fresh(self, graph: Graph, value: str, axis: int) -> None:
        """Give a value channels of its own."""
        count = graph.types[value].shape[axis]
        self.axes[value], self.ids[value] = axis, np.arange(len(self.parents), len(self.parents) + count)
        self.parents.extend(range(len(self.parents), len(self.parents) + count))

    def join(self, one: int, other: int) -> None:
        low, high = sorted((self.root(one), self.root(other)))
        self.parents[high] = low

    def tie(self, first: np.ndarray, second: np.ndarray) -> None:
        for one, other in zip(first.tolist(), second.tolist(), strict=True):
            self.join(one, other)

    def pin(self, *values: str) -> None:
        for value in values:
            if value in self.ids:
                self.pinned.update(self.ids[value].tolist())

    def free(self) -> np.ndarray:
        """Whether each root may be scaled, by its number."""
        fixed = {self.root(one) for one in self.pinned}
        return np.array([one not in fixed for one in range(len(self.parents))], bool)


def channel_ties(graph: Graph, target: Target, precision: Precisions = EVERYWHERE) -> Ties:
    """The ties of a float graph as `target` will run it.

    Known weights include the factors of operand and result, as do pointwise functions, in one table per channel; a
    normalization includes those of its result. Homogeneous ops, sums and moves propagate factors; all others pin. So do
    clips: a channel below the limit would have to be clipped at the calibrated range, which new data exceed.
    """
    ties, plan = Ties(), plan_of(graph, target, precision)
    for node in graph.nodes:
        if not _visit(ties, graph, node, plan):
            ties.pin(*node.operands)
    ties.pin(*graph.returned)
    return ties


def _visit(ties: Ties, graph: Graph, node: Node, plan: Plan) -> bool:
    """Tie a node's operands and results; whether its operands need no pinning."""
    kind = plan.of(node).kind
    if kind in (Kind.HOST, Kind.INDEX) or len(node.results) != 1:
        return False
    op, x = node.op, node.operands[0]
    known = [operand in graph.constants for operand in node.operands]
    if isinstance(op, (Conv, ConvTranspose, MatMul)):
        return _weights(ties, graph, node)
    if isinstance(op, (LayerNorm, RmsNorm)) and all(known[1:]) and op.axis % node.type.rank == node.type.rank - 1:
        ties.pin(x)
        ties.fresh(graph, node.result, node.type.rank - 1)
        ties.normalized.add(node.result)
        return True
    if isinstance(op, HOMOGENEOUS) and (x in plan.held or _absorbed(graph, x, plan)):
        return _same(ties, node, x)
    if isinstance(op, (Add, Sub, Maximum, Minimum)) and not any(known):
        return _sum(ties, graph, node)
    if isinstance(op, Mul) and not any(known):
        return _gated(ties, graph, node)
    if isinstance(op, (ReduceMean, ReduceSum, ReduceMax, ReduceMin)):
        return _reduced(ties, op, node)
    if isinstance(op, (Concat, Slice, Pad, Transpose, Reshape, Resize)):
        return _moved(ties, graph, node)
    if kind is Kind.POINTWISE and not isinstance(op, Clip):
        return _table(ties, graph, node, plan)
    return False


def _absorbed(graph: Graph, x: str, plan: Plan) -> bool:
    """Whether an op that accumulates computes a clamp's operand."""
    producer = graph.producers.get(x)
    return producer is not None and plan.of(producer).kind is Kind.COMPUTE


def _weights(ties: Ties, graph: Graph, node: Node) -> bool:
    x, *known = node.operands
    if x in graph.constants or not graph.constants.keys() >= set(known) or not is_weight(graph, node, 1):
        return False
    is_product = isinstance(node.op, MatMul)
    ties.fresh(graph, node.result, node.type.rank - 1 if is_product else 1)
    ties.weighted.add(node.result)
    if x in ties.ids and ties.axes[x] != (graph.types[x].rank - 1 if is_product else 1):
        ties.pin(x)
    return True


def _same(ties: Ties, node: Node, x: str) -> bool:
    if x in ties.ids:
        ties.axes[node.result], ties.ids[node.result] = ties.axes[x], ties.ids[x]
    return True


def _sum(ties: Ties, graph: Graph, node: Node) -> bool:
    """Operands of full shape share their factors with the result."""
    values = [operand for operand in node.operands if operand in ties.ids]
    full = all(graph.types[operand].shape == node.type.shape for operand in node.operands)
    if len(values) < len(node.operands) or not full or len({ties.axes[value] for value in values}) != 1:
        return False
    for other in values[1:]:
        ties.tie(ties.ids[values[0]], ties.ids[other])
    return _same(ties, node, values[0])


def _gated(ties: Ties, graph: Graph, node: Node) -> bool:
    """A product with a gate per channel: the gate keeps its scale, value and result share their factors."""
    full = [operand for operand in node.operands if graph.types[operand].shape == node.type.shape]
    if len(full) != 1:
        return False
    ties.pin(*(operand for operand in node.operands if operand != full[0]))
    return _same(ties, node, full[0])


def _reduced(ties: Ties, op: Reduction, node: Node) -> bool:
    x = node.operands[0]
    if x not in ties.ids or ties.axes[x] in op.axes:
        return False
    axis = ties.axes[x]
    ties.ids[node.result] = ties.ids[x]
    ties.axes[node.result] = axis if op.keep else axis - sum(other < axis for other in op.axes)
    return True


def _moved(ties: Ties, graph: Graph, node: Node) -> bool:
    """Follow the channels through an op that moves elements; False where it splits them."""
    x, op, shape = node.operands[0], node.op, node.type.shape
    if any(operand not in ties.ids for operand in (node.operands if isinstance(op, Concat) else (x,))):
        return False
    axis, ids = ties.axes[x], ties.ids[x]
    match op:
        case Concat():
            if len({ties.axes[operand] for operand in node.operands}) != 1:
                return False
            if op.axis == axis:
                ids = np.concatenate([ties.ids[operand] for operand in node.operands])
            else:
                for other in node.operands[1:]:
                    ties.tie(ids, ties.ids[other])
        case Slice():
            ids = ids[slice(op.starts[axis], op.stops[axis] if op.stops[axis] >= 0 else None, op.steps[axis])]
        case Pad():
            if op.padding[axis] != (0, 0) or (op.mode == "constant" and op.value != 0):
                return False
        case Transpose():
            axis = op.order.index(axis)
        case Reshape():
            before = graph.types[x].shape
            lead = int(np.prod(before[:axis]))
            axes = (at for at, size in enumerate(shape) if size == len(ids) and int(np.prod(shape[:at])) == lead)
            if (axis := next(axes, -1)) < 0:
                return False
    if shape[axis] != len(ids):
        return False
    ties.axes[node.result], ties.ids[node.result] = axis, ids
    return True


def _table(ties: Ties, graph: Graph, node: Node, plan: Plan) -> bool:
    """One table per channel includes any factors of operand and result, where channels are on axis 1."""
    computed = {operand for operand in node.operands if operand not in graph.constants}
    if len(computed) != 1 or node.type.rank < 3 or plan.bits[node.result] > TABLE_BITS:
        return False
    x = computed.pop()
    if ties.axes.get(x, 1) != 1 or graph.types[x].shape != node.type.shape:
        return False
    if node.result in plan.held:
        ties.fresh(graph, node.result, 1)
    ties.tables.add(node.result)
    return True
