"""Removal of transposes that undo each other across the ops between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from npuq.ir import Builder, Graph, Node, Op, TensorType
from npuq.ir.ops.activation import PRelu
from npuq.ir.ops.elementwise import Binary, Identity, Unary
from npuq.ir.ops.logic import Cast, Comparison, Connective, Not, Where
from npuq.ir.ops.quant import Dequantize, Quantize
from npuq.ir.ops.reduce import Normalization, Position, Reduction
from npuq.ir.ops.resize import Resize
from npuq.ir.ops.shape import Concat, Pad, Reshape, Slice, Transpose

from ..axes import Order, reordered
from ..pipeline import graph_pass
from .drop_identity import in_order

POINTWISE = (Unary, Binary, Comparison, Connective, Not, Where, Cast, Identity, PRelu)
"""Ops that compute each element from those at the same place."""


@graph_pass("cancel-transposes")
def cancel_transposes(graph: Graph) -> Graph:
    """Move transposes down through ops that work in any order of axes, so that pairs of them vanish.

    So channels-last networks become channels first, as the convolutions are. Transposes also pass reshapes that add or
    drop axes of one element. The graph stays unless transposes move fewer elements afterwards.
    """
    if not any(isinstance(node.op, Transpose) for node in graph.nodes):
        return graph
    moved = _Sinking(graph).run()
    return moved if _cost(moved) < _cost(graph) else graph


def _cost(graph: Graph) -> int:
    """The elements that transposes move."""
    return sum(node.type.size for node in graph.nodes if isinstance(node.op, Transpose))


@dataclass(frozen=True, slots=True)
class Turned:
    """A value of the old graph as `base` of the new one with its axes in `order`."""

    base: str
    order: Order


@dataclass
class _Sinking:
    """One walk over a graph that appends a transpose only before an op that needs it."""

    graph: Graph
    builder: Builder = field(init=False)
    values: dict[str, Turned] = field(default_factory=dict)
    made: dict[tuple[str, Order], str] = field(default_factory=dict)
    scales: dict[str, TensorType] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.builder = Builder(self.graph.name, reserved=set(self.graph.producers))

    def run(self) -> Graph:
        for name, type_ in self.graph.inputs.items():
            self.values[name] = self.as_is(self.builder.input(name, type_))
        for name, constant in self.graph.constants.items():
            self.values[name] = self.as_is(self.builder.constant(constant, name))
        for node in self.graph.nodes:
            self.builder.release(*node.results)
            self.node(node)
        return self.builder.build({name: self.plain(value) for name, value in self.graph.outputs.items()})

    def as_is(self, name: str) -> Turned:
        return Turned(name, tuple(range(self.builder.types[name].rank)))

    def node(self, node: Node) -> None:
        """Append a node over the bases of its operands if its op allows, else over the operands themselves."""
        if isinstance(node.op, Transpose):
            x = self.values[node.operands[0]]
            self.values[node.result] = Turned(x.base, tuple(x.order[axis] for axis in node.op.order))
            return
        if isinstance(node.op, Reshape) and self.reshape(node):
            return
        order = self.wanted(node)
        if order is None or order == tuple(range(len(order))):
            operands = [self.plain(name) for name in node.operands]
            for old, new in zip(node.results, self.builder.copy(node, operands), strict=True):
                self.note(node, operands, new)
                self.values[old] = self.as_is(new)
            return
        op, after = _moved(node, order)
        operands = [self.along(name, order) for name in node.operands]
        made = self.builder.add(op, *operands, name=node.result, loc=node.loc, host=node.host)
        self.note(node, operands, made)
        self.values[node.result] = Turned(made, after)

    def note(self, node: Node, operands: Sequence[str], made: str) -> None:
        """Remember the integers of computed reals that have one scale."""
        if isinstance(node.op, Dequantize) and node.op.axis is None and operands[0] not in self.builder.constants:
            self.scales[made] = self.builder.types[operands[0]]

    def reshape(self, node: Node) -> bool:
        """Add or drop axes of one element before the axes are put in order, if that is all a reshape does."""
        x, before, after = self.values[node.operands[0]], self.graph.types[node.operands[0]].shape, node.type.shape
        old, new = ([axis for axis, size in enumerate(shape) if size != 1] for shape in (before, after))
        if x.order == tuple(range(len(x.order))) or [before[axis] for axis in old] != [after[axis] for axis in new]:
            return False
        place = dict(zip(new, sorted(range(len(old)), key=lambda index: x.order[old[index]]), strict=True))
        # The axes stand at the places of the result's, those of several elements among themselves as in the base.
        source = {new[index]: axis for axis, index in place.items()}
        order = tuple(source.get(axis, axis) for axis in range(len(after)))
        shape = tuple(after[new[place[axis]]] if axis in place else 1 for axis in range(len(after)))
        made = self.builder.add(Reshape(shape=shape), x.base, name=node.result, loc=node.loc, host=node.host)
        if x.base in self.scales:
            made, integers = self.scaled(made, self.scales[x.base]), self.scales[x.base]
            self.scales[made] = integers
        self.values[node.result] = Turned(made, order)
        return True

    def wanted(self, node: Node) -> Order | None:
        """The order in which an op costs least; None for an op that needs its operands' own order."""
        movable = (*POINTWISE, Concat, Slice, Pad, Reduction, Position, Normalization, Resize)
        one_scale = isinstance(node.op, (Quantize, Dequantize)) and node.op.axis is None
        if not (isinstance(node.op, movable) or one_scale) or len(node.results) != 1:
            return None
        rank = self.graph.types[node.operands[0]].rank if isinstance(node.op, (Reduction, Position)) else node.type.rank
        operands = [name for name in node.operands if name not in self.graph.constants]
        orders = [self.values[name].order for name in operands if self.graph.types[name].rank == rank]

        def cost(order: Order) -> tuple[int, bool]:
            turned = sum(self.graph.types[name].size for name in operands if self.moves(name, order))
            return turned, order == tuple(range(rank))

        return min(orders, key=cost, default=None)

    def moves(self, name: str, order: Order) -> bool:
        """Whether a value takes a transpose to stand such that `order` gives what the old graph had."""
        value = self.values[name]
        if len(value.order) != len(order):
            return value.order != order
        return not in_order(_between(value.order, order), self.builder.types[value.base].shape)

    def along(self, name: str, order: Order) -> str:
        """A value with its axes such that `order` gives what the old graph had; axes that it lacks are ones."""
        value = self.values[name]
        if value.order == order:
            return value.base
        rank, inverse = len(order), tuple(int(axis) for axis in np.argsort(order))
        constant = self.graph.constant(name)
        if constant is not None:
            wide = constant.reshape((1,) * (rank - constant.ndim) + constant.shape)
            return self.builder.constant(np.transpose(wide, inverse), name)
        if len(value.order) == rank:
            return self.turned(value.base, _between(value.order, order), name)
        whole = self.plain(name)
        shape = self.builder.types[whole].shape
        whole = self.builder.add(Reshape(shape=(1,) * (rank - len(shape)) + shape), whole, name=name)
        return self.turned(whole, inverse, name)

    def plain(self, name: str) -> str:
        """A value as the old graph had it."""
        value = self.values[name]
        return self.turned(value.base, value.order, name)

    def turned(self, base: str, order: Order, name: str) -> str:
        """A value with its axes in another order; where only axes of size 1 move it is a reshape."""
        if order == tuple(range(len(order))):
            return base
        if (base, order) not in self.made:
            shape = self.builder.types[base].shape
            op: Op = Transpose(order=order)
            if in_order(order, shape):
                op = Reshape(shape=tuple(shape[axis] for axis in order))
            before = self.graph.producers.get(name)
            made = self.builder.add(op, base, name=name, loc=before.loc if before else "")
            self.made[base, order] = self.scaled(made, self.scales[base]) if base in self.scales else made
        return self.made[base, order]

    def scaled(self, moved: str, integers: TensorType) -> str:
        """Reals of integers, with their quantize/dequantize pair again behind a transpose."""
        assert integers.quant is not None
        quantized = self.builder.add(Quantize.to(integers.dtype, integers.quant), moved, name=f"{moved}.q")
        return self.builder.add(Dequantize.of(integers.quant), quantized, name=moved)


def _between(have: Order, wanted: Order) -> Order:
    """The order that makes of a base, which `have` would be applied to, one for `wanted`."""
    found = dict(zip(wanted, have, strict=True))
    return tuple(found[axis] for axis in range(len(wanted)))


def _moved(node: Node, order: Order) -> tuple[Op, Order]:
    """An op for operands that `order` has yet to be applied to, and the order that its result lacks."""
    op = reordered(node.op, order)
    if isinstance(op, (Reduction, Position)) and not op.keep:
        return op, _without(order, {op.axis} if isinstance(op, Position) else set(op.axes))
    return op, order


def _without(order: Order, gone: set[int]) -> Order:
    """The order of the remaining axes."""
    kept = [axis for axis in order if axis not in gone]
    return tuple(sorted(kept).index(axis) for axis in kept)
