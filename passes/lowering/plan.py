"""Where each node of a float graph will run, and which of its values need a scale."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from npuq.ir import DType, Graph, Node
from npuq.ir.ops.activation import Clip, Relu
from npuq.ir.ops.conv import Conv, ConvTranspose, MatMul
from npuq.ir.ops.elementwise import Add
from npuq.ir.ops.norm import LayerNorm, RmsNorm
from npuq.ir.ops.npu.norm import WIDE_BITS, variance_fraction

from ..constraints import LIMITS, table_size_fits
from ..precision import Precisions
from ..target import Target
from . import LOWERINGS, Kind, activations
from .registry import is_weight
from .tables import lengths

Held = tuple[str, int]
"""A value and the bits of a width at which it is held."""

Channels = tuple[str, int]
"""A value's name and the axis of its channels."""

EVERYWHERE = Precisions()
"""The target's default width for all nodes."""


@dataclass(frozen=True)
class Role:
    """How one node runs; `reason` says why, where it runs on the host."""

    kind: Kind
    reason: str = ""


def role(graph: Graph, node: Node, target: Target, bits: int) -> Role:
    """The role of one float node of so many bits on a target; one that a pass has given to the host stays there."""
    if node.host:
        return Role(Kind.HOST, node.host)
    lowering = LOWERINGS.get(type(node.op))
    if lowering is None:
        return Role(Kind.HOST, f"there is no integer form of {node.op.name}")
    becomes = lowering.integer_op(graph, node, bits)
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
    if becomes in TABLED and (reason := table_size_fits(256, target)) is not None:
        return Role(Kind.HOST, reason)
    if becomes == "npu.interpolate" and not lengths(target):
        return Role(Kind.HOST, f"{target.name} has no table of 2^n + 1 entries")
    return Role(lowering.kind_of(graph, node))


TABLED = ("npu.lut", "npu.softmax")
"""The integer ops that read tables of 256 entries."""


@dataclass(frozen=True)
class Plan:
    """The roles and widths of all nodes, by their first result, and the widths of the values that get a scale.

    `held` has the values in order, each with the bits at which it is made first, then those to which it is converted.
    `wide` are those that keep `WIDE_BITS` bits instead of 16 on their way into a normalization.
    """

    roles: Mapping[str, Role]
    bits: Mapping[str, int]
    held: Mapping[str, tuple[int, ...]]
    wide: frozenset[str] = frozenset()

    def of(self, node: Node) -> Role:
        return self.roles[node.results[0]]


def plan_of(graph: Graph, target: Target, precision: Precisions = EVERYWHERE) -> Plan:
    """Decide for every node where it runs and at what width, and for every value whether it gets a scale.

    A value gets one where an integer op reads or makes it, unless it is interior: read only by a clamp that the
    producing op applies for free, or by a pointwise op that shares a table with its producer.
    """
    roles = {node.results[0]: role(graph, node, target, precision.bits(node, target)) for node in graph.nodes}
    made, bits = _widths(graph, roles, target, precision)
    interior = _interior(graph, roles, bits)
    wanted: dict[str, set[int]] = {}
    for node in graph.nodes:
        kind = roles[node.results[0]].kind
        if kind is Kind.HOST:
            continue
        for operand in activations(graph, node):
            wanted.setdefault(operand, set()).add(bits[node.results[0]])
        if kind is not Kind.INDEX:
            for result in node.results:
                wanted.setdefault(result, set())
    held = {}
    for name in graph.types:
        if name in wanted and name not in interior:
            own = () if name in graph.constants else (made[name],)
            held[name] = (*own, *sorted(wanted[name].difference(own)))
    return Plan(roles, bits, held, _wide(graph, roles, held, target, precision))


def observed_values(graph: Graph, target: Target, precision: Precisions = EVERYWHERE) -> tuple[str, ...]:
    """The computed values that get a scale, in order."""
    return tuple(name for name in plan_of(graph, target, precision).held if name not in graph.constants)


def weighted_inputs(graph: Graph, target: Target, precision: Precisions = EVERYWHERE) -> tuple[Channels, ...]:
    """The values, with the axes of their channels, whose means `correct_bias` wants."""
    return tuple(dict.fromkeys(weighted_nodes(graph, target, precision).values()))


def weighted_nodes(graph: Graph, target: Target, precision: Precisions) -> dict[str, Channels]:
    """The input and its channel axis of every node with weights that the target computes, by the node's result."""
    found: dict[str, Channels] = {}
    for node in graph.nodes:
        if role(graph, node, target, precision.bits(node, target)).kind is not Kind.COMPUTE:
            continue
        x = node.operands[0]
        if is_weight(graph, node, 1) and x not in graph.constants:
            spatial = isinstance(node.op, (Conv, ConvTranspose))
            found[node.result] = (x, 1 if spatial else graph.types[x].rank - 1)
    return found


def _widths(
    graph: Graph, roles: Mapping[str, Role], target: Target, precision: Precisions
) -> tuple[dict[str, int], dict[str, int]]:
    """The bits at which each computed value is made, and those of each node by its first result.

    Where nothing is said of them, nodes that move elements or find their positions have the widest width that an
    operand is made at; graph inputs and results of the host have the widest that their users want.
    """
    wanted: Counter[str] = Counter()
    follows: set[str] = set()
    for node in reversed(graph.nodes):
        name, kind = node.results[0], roles[node.results[0]].kind
        if kind is Kind.HOST:
            continue
        bits = precision.bits(node, target)
        if kind in (Kind.MOVE, Kind.INDEX) and precision.named(node).bits is None:
            follows.add(name)
            bits = max(wanted[result] for result in node.results)
        for operand in activations(graph, node):
            wanted[operand] = max(bits, wanted[operand])
    default = precision.every.bits or target.default_bits
    made = {name: wanted[name] or default for name in graph.inputs}
    found: dict[str, int] = {}
    for node in graph.nodes:
        name = node.results[0]
        read = [made[operand] for operand in activations(graph, node) if operand in made]
        found[name] = max(read, default=default) if name in follows else precision.bits(node, target)
        host = roles[name].kind is Kind.HOST
        made.update({result: (wanted[result] or default) if host else found[name] for result in node.results})
    return made, found


def _wide(
    graph: Graph,
    roles: Mapping[str, Role],
    held: Mapping[str, tuple[int, ...]],
    target: Target,
    precision: Precisions,
) -> frozenset[str]:
    """The 16-bit sums that only a normalization reads, and the products with weights that only such a sum reads.

    A few elements of a transformer's residual sums are hundreds of times greater than the rest. The normalization takes
    them away, and would show the steps of the others; weights of fewer bits make greater steps of their own.
    """
    wide: set[str] = set()

    def is_only_for(node: Node, user: Node) -> bool:
        """Whether a computing node's result has 16 bits and a single user."""
        computes = roles[node.result].kind is Kind.COMPUTE and held.get(node.result) == (16,)
        return computes and graph.only_user(node.result) is user

    for node in graph.nodes:
        if not isinstance(node.op, (LayerNorm, RmsNorm)) or roles[node.results[0]].kind is not Kind.COMPUTE:
            continue
        total = graph.producers.get(node.operands[0])
        if total is None or not isinstance(total.op, Add) or not is_only_for(total, node):
            continue
        if variance_fraction(graph.types[node.operands[1]].size, WIDE_BITS) < 0:
            continue
        wide.add(total.result)
        products = [graph.producers[operand] for operand in total.operands if operand in graph.producers]
        wide.update(
            one.result
            for one in products
            if isinstance(one.op, MatMul)
            and is_weight(graph, one, 1)
            and is_only_for(one, total)
            and target.width(16).weight_dtype(precision.weight_bits(one)).bits == 16
        )
    return frozenset(wide)


CLAMPS = (Relu, Clip)


def _interior(graph: Graph, roles: Mapping[str, Role], bits: Mapping[str, int]) -> frozenset[str]:
    """The values that live only inside one integer op, which has one width."""
    interior: set[str] = set()
    absorbed: dict[str, Kind] = {}
    for node in graph.nodes:
        if len(node.results) != 1:
            continue
        result, user = node.result, graph.only_user(node.result)
        kind = absorbed.get(result, roles[result].kind)
        if user is None or roles[user.results[0]].kind is not Kind.POINTWISE or bits[user.result] != bits[result]:
            continue
        if activations(graph, user).count(result) > 1 and kind is not Kind.POINTWISE:
            continue
        if kind is Kind.COMPUTE and isinstance(user.op, CLAMPS):
            interior.add(result)
            absorbed[user.result] = Kind.COMPUTE
        elif kind is Kind.POINTWISE:
            interior.add(result)
    return frozenset(interior)
