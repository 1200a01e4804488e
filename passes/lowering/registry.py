"""Which float ops become integer ops, under which conditions, and the functions that emit them: one row per op."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

from npuq.ir import Graph, Node, Op
from npuq.ir.ops.quant import Dequantize

from ..target import Target

if TYPE_CHECKING:
    from .context import Emitted


class Kind(StrEnum):
    """How an op computes on integers."""

    COMPUTE = "compute"
    """accumulates and requantizes; a clamp that follows is free"""
    POINTWISE = "pointwise"
    """a function of one element: a table, alone or composed with its neighbours"""
    MOVE = "move"
    """moves or selects elements: operands and result share one scale"""
    INDEX = "index"
    """reads quantized values, makes integers without a scale"""
    HOST = "host"
    """runs in float on the host"""


Obstacle = Callable[[Graph, Node, Target], "str | None"]
KindOf = Kind | Callable[[Graph, Node], Kind]
Becomes = str | Callable[[Graph, Node], str]
Emit = Callable[..., "Emitted"]
"""A function of a `Context` and its op."""
E = TypeVar("E", bound=Emit)
Gain = Callable[[Graph, Node, Sequence[float]], float]
"""The real number that one unit of an op's sums stands for, from the scales of data and weights."""


def moves_or_computes(graph: Graph, node: Node) -> Kind:
    """The kind of an op that no table replaces."""
    return Kind.MOVE if node.op.moved(node.operands) else Kind.COMPUTE


def product_of_scales(graph: Graph, node: Node, scales: Sequence[float]) -> float:
    """The gain of sums of products of all operands."""
    return math.prod(scales)


LOWERINGS: dict[type[Op], Lowering] = {}
EMITTERS: dict[type[Op], Emit] = {}
"""The functions that emit the integer forms."""


@dataclass(frozen=True, kw_only=True)
class Lowering:
    """How one float op becomes an integer op.

    `weights` maps a weight operand, where it is known and of `weight_rank`, to its axis of output channels; `bias` is
    the position of the bias; `raw` operands are not quantized; all others are activations. `becomes` names the integer
    op where its name differs. `obstacle` returns the reason why a node must run on the host. Integer ops that
    requantize their sums have a `gain`.
    """

    kind: KindOf = moves_or_computes
    becomes: Becomes = ""
    obstacle: Obstacle | None = None
    weights: Mapping[int, int] = field(default_factory=dict)
    weight_rank: int | None = None
    bias: int | None = None
    raw: tuple[int, ...] = ()
    gain: Gain | None = None

    def of(self, *ops: type[Op]) -> Callable[[E], E]:
        """Register the function that emits the integer form of `ops`."""

        def register(emit: E) -> E:
            assert LOWERINGS.keys().isdisjoint(ops)
            LOWERINGS.update(dict.fromkeys(ops, self))
            EMITTERS.update(dict.fromkeys(ops, emit))
            return emit

        return register

    @property
    def parameters(self) -> tuple[int, ...]:
        """The positions of weights and bias."""
        return (*self.weights, *(() if self.bias is None else (self.bias,)))

    def kind_of(self, graph: Graph, node: Node) -> Kind:
        """The kind, which may depend on the node's attributes and on what is known."""
        return self.kind if isinstance(self.kind, Kind) else self.kind(graph, node)

    def integer_op(self, graph: Graph, node: Node, bits: int = 8) -> str:
        """The name of the integer op that the node becomes at a width."""
        if self.kind_of(graph, node) is Kind.POINTWISE:
            return "npu.lut" if bits <= 8 else "npu.interpolate"
        return (self.becomes if isinstance(self.becomes, str) else self.becomes(graph, node)) or node.op.name


def kind_of(graph: Graph, node: Node) -> Kind:
    """The kind of a node, for every target."""
    lowering = LOWERINGS.get(type(node.op))
    return Kind.HOST if lowering is None else lowering.kind_of(graph, node)


def activations(graph: Graph, node: Node) -> tuple[str, ...]:
    """The operands of a node that are data: neither weights, bias and raw operands nor known operands of a table."""
    lowering = LOWERINGS.get(type(node.op))
    if lowering is None:
        return node.operands
    skipped = {*lowering.raw, *(index for index in lowering.parameters if is_weight(graph, node, index))}
    data = tuple(operand for index, operand in enumerate(node.operands) if index not in skipped)
    if lowering.kind_of(graph, node) is Kind.POINTWISE:
        return tuple(operand for operand in data if not is_known(graph, operand))
    return data


def is_weight(graph: Graph, node: Node, index: int) -> bool:
    """Whether an operand is a known weight array or bias of its op."""
    lowering = LOWERINGS[type(node.op)]
    if index not in lowering.parameters or index >= len(node.operands) or not is_known(graph, node.operands[index]):
        return False
    ranks = (None, graph.types[node.operands[index]].rank)
    return index == lowering.bias or lowering.weight_rank in ranks


def is_known(graph: Graph, value: str) -> bool:
    """Whether a value is a constant or a dequantized one."""
    return value in graph.constants or is_dequantized_constant(graph, value)


def is_dequantized_constant(graph: Graph, value: str) -> bool:
    """Whether a value is the dequantize of a constant."""
    producer = graph.producers.get(value)
    return producer is not None and isinstance(producer.op, Dequantize) and producer.operands[0] in graph.constants
