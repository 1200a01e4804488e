"""Which precision each node has: bits, weight bits and calibration method, for all or by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import MappingProxyType
from typing import Annotated, Any

from npuq.ir import Graph, Node, NpuqError

from .pipeline import graph_pass
from .target import Target, Width

METHODS = ("min_max", "percentile", "mse", "kl", "kl_v2")
"""The calibration methods."""

CALIBRATED_BITS = 8
"""Activations of more bits take min_max unless a method is asked for: fine steps have nothing to win by clipping."""

HEADROOM = 1.5
"""How far beyond the range of min_max the integers of more bits reach, for data that calibration lacked.

Calibrated with 8 inputs, no value of the demo net and of a transformer went beyond 1.43 on others.
"""


@dataclass(frozen=True, slots=True)
class Precision:
    """The precision of a node; what is None is as for all others.

    A node of `bits` reads its data at that width and gives a result of it. `method` calibrates its results.
    """

    bits: int | None = None
    method: str | None = None
    weight_bits: int | None = None


NO_NODES: Mapping[str, Precision] = MappingProxyType({})


@dataclass(frozen=True)
class Precisions:
    """The precision of every node: one for all, and what single nodes, by their first result's name, have instead.

    `narrow` calibrates values of up to `CALIBRATED_BITS` where nobody said a method. With `unify_inputs` a Concat and
    all its inputs share one scale; without, inputs whose other readers want finer steps keep their own.
    """

    every: Precision = Precision()
    nodes: Mapping[str, Precision] = field(default_factory=lambda: NO_NODES)
    narrow: str = "kl_v2"
    unify_inputs: bool = False

    def named(self, node: Node) -> Precision:
        """What is said of this node alone."""
        return self.nodes.get(node.results[0], Precision())

    def bits(self, node: Node, target: Target) -> int:
        """The width that is asked for, or the target's default."""
        return self.named(node).bits or self.every.bits or target.default_bits

    def weight_bits(self, node: Node) -> int | None:
        """The bits of the node's weights: its own or, at the width of all, theirs; None for the width's default."""
        named = self.named(node)
        return named.weight_bits or (self.every.weight_bits if named.bits in (None, self.every.bits) else None)

    def method(self, node: Node | None, bits: int) -> str:
        """The calibration of a value that a node, or a graph input, holds at so many bits."""
        named = self.named(node).method if node is not None else None
        return named or self.every.method or (self.narrow if bits <= CALIBRATED_BITS else "min_max")

    def is_asked(self, node: Node | None) -> bool:
        """Whether a method is asked for, for all or for this node."""
        return bool(self.every.method or (node is not None and self.named(node).method))

    def headroom(self, node: Node | None, bits: int) -> float:
        """The factor from the calibrated range to what the integers reach: more where nothing is to be clipped."""
        return HEADROOM if bits > CALIBRATED_BITS and self.method(node, bits) == "min_max" else 1.0

    def check(self, graph: Graph, target: Target) -> None:
        """Raise `NpuqError` for a node, a width, weights or a method that do not exist."""
        known = [node.results[0] for node in graph.nodes]
        for name in self.nodes:
            if name not in known:
                near = get_close_matches(name, known, n=3) or known[:3]
                raise NpuqError(f"precision: {graph.name} has no node {name!r}; similar names: {', '.join(near)}")
        for name, precision in (("", self.every), *self.nodes.items()):
            place = f"precision of {name}: " if name else ""
            asked = (precision.bits, self.every.bits, target.default_bits)
            try:
                width = target.width(next(bits for bits in asked if bits is not None))
                width.weight_dtype(precision.weight_bits)
                require_method(precision.method)
            except NpuqError as error:
                raise NpuqError(f"{place}{error}") from None


def require_method(method: str | None) -> None:
    """Raise `NpuqError` unless a calibration method is one, or is left to the rest."""
    if method is not None and method not in METHODS:
        raise NpuqError(f"there is no calibration method {method!r}; there are {', '.join(METHODS)}")


@graph_pass("set-precision", analyzes=True, gives=("target", "precision"))
def set_precision(
    graph: Graph,
    *,
    target: Target,
    bits: int | None = None,
    method: Annotated[str | None, require_method] = None,
    weight_bits: int | None = None,
    unify_input_scale: bool = False,
    nodes: Mapping[str, Precision] = NO_NODES,
) -> Mapping[str, Any]:
    """Set the target, and the widths and the calibration method of all nodes, for the passes that follow.

    `bits` is the width of activations, by default the target's first, and `weight_bits` that of weights. `nodes` has
    the precision of single nodes. With `unify_input_scale` all inputs of a Concat share its scale.
    """
    precision = Precisions(Precision(bits, method, weight_bits), nodes, unify_inputs=unify_input_scale)
    precision.check(graph, target)
    return {"target": target, "precision": precision}


def width_of(graph: Graph, node: Node, target: Target) -> Width:
    """The width of an integer node by the data that it reads; the default one where it reads none."""
    found = (target.width_of(graph.types[operand].dtype) for operand in node.operands)
    return next((width for width in found if width is not None), target.widths[0])
