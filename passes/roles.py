"""Where each node of a float graph will run, and which of its values need a scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from npuq.ir import DType, Graph, Node

from .constraints import LIMITS, table_size_fits
from .lowering import LOWERINGS, Kind, activations
from .target import Target


@dataclass(frozen=True)
class Role:
    """How one node runs; `reason` says why, where it runs on the host."""

    kind: Kind
    reason: str = ""


def role(graph: Graph, node: Node, target: Target) -> Role:
    """The role of one float node on a target; one that a pass has given to the host stays there."""
    if node.host:
        return Role(Kind.HOST, node.host)
    lowering = LOWERINGS.get(type(node.op))
    if lowering is None:
        return Role(Kind.HOST, f"there is no integer form of {node.op.name}")
    becomes = lowering.integer_op(graph, node)
    if becomes not in target.integer_ops:
        return Role(Kind.HOST, f"{target.name} has no {becomes}")
    for operand in activations(graph, node):
        dtype = graph.types[operand].dtype
        if dtype is not DType.F32:
            return Role(Kind.HOST, f"operand %{operand} is {dtype}, only f32 is quantized")
    for rule in (*LIMITS, *((lowering.obstacle,) if lowering.obstacle else ())):
        reason = rule(graph, node, target)
        if reason is not None:
            return Role(Kind.HOST, reason)
    entries = 1 << target.activation_dtype.bits
    if becomes in TABLED and (reason := table_size_fits(entries, target)) is not None:
        return Role(Kind.HOST, reason)
    return Role(lowering.kind_of(graph, node))


TABLED = ("npu.lut", "npu.softmax")
"""The integer ops that read a table with an entry for each integer."""


@dataclass(frozen=True)
class Plan:
    """The roles of all nodes, by their first result, and the values that get a scale, in order."""

    roles: Mapping[str, Role]
    quantized: tuple[str, ...]

    def of(self, node: Node) -> Role:
        return self.roles[node.results[0]]


def plan(graph: Graph, target: Target) -> Plan:
    """Decide for every node where it runs and for every value whether it gets a scale.

    A value gets one where an integer op reads or makes it, unless it is interior: read only by a clamp that the
    producing op applies for free, or by a pointwise op that shares a table with its producer.
    """
    roles = {node.results[0]: role(graph, node, target) for node in graph.nodes}
    interior = _interior(graph, roles)
    wanted: dict[str, None] = {}
    for node in graph.nodes:
        kind = roles[node.results[0]].kind
        if kind is Kind.HOST:
            continue
        for operand in activations(graph, node):
            wanted[operand] = None
        if kind is not Kind.INDEX:
            wanted.update(dict.fromkeys(node.results))
    return Plan(roles, tuple(name for name in graph.types if name in wanted and name not in interior))


CLAMPS = ("relu", "clip")


def _interior(graph: Graph, roles: Mapping[str, Role]) -> frozenset[str]:
    """The values that live only inside one integer op."""
    interior: set[str] = set()
    absorbed: dict[str, Kind] = {}
    for node in graph.nodes:
        if len(node.results) != 1:
            continue
        result = node.results[0]
        kind = absorbed.get(result, roles[result].kind)
        user = graph.only_user(result)
        if user is None or roles[user.results[0]].kind is not Kind.POINTWISE:
            continue
        if activations(graph, user).count(result) > 1 and kind is not Kind.POINTWISE:
            continue
        if kind is Kind.COMPUTE and user.op.name in CLAMPS:
            interior.add(result)
            absorbed[user.results[0]] = Kind.COMPUTE
        elif kind is Kind.POINTWISE:
            interior.add(result)
    return frozenset(interior)
