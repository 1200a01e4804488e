"""One scale for values whose elements move into each other unchanged."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from typing import TypeVar

from npuq.ir import Graph, Node
from npuq.ir.ops.elementwise import Maximum, Minimum
from npuq.ir.ops.recurrent import Gru, Lstm, Rnn
from npuq.ir.ops.shape import Concat

from ..scales import Range

Port = tuple[str, int]
"""A node, by its first result, and the index of an operand."""

K = TypeVar("K", bound=Hashable)


def scale_groups(graph: Graph, apart: Collection[Port] = ()) -> list[frozenset[str]]:
    """The sets of two and more values that must share one quantization, in the order of their first values.

    An op that gives elements of its operands unchanged ties its result to them, but for the operands in `apart`.
    Integers and constants that several nodes read stay out.
    """
    group_of: dict[str, list[str]] = {name: [name] for name in graph.types}
    for node in graph.nodes:
        for together in (_tied(graph, node, apart), *_tied_states(node)):
            tied = [name for name in together if _takes_part(graph, name)]
            for other in tied[1:]:
                first, second = group_of[tied[0]], group_of[other]
                if first is not second:
                    first.extend(second)
                    group_of.update(dict.fromkeys(second, first))
    found = {id(group): group for group in group_of.values() if len(group) > 1}
    return [frozenset(group) for group in found.values()]


def parts_apart(graph: Graph, scales: Mapping[str, float]) -> frozenset[Port]:
    """The operands of Concats that keep a scale of their own, and are rescaled on their way into the Concat.

    They are those that something else reads as well, which the Concat's scale would cost a bit or more; what goes into
    the Concat alone gains nothing by finer steps. `scales` are those that values would have by themselves; what has
    none, as a value that is always zero, counts as 0.
    """
    ports = frozenset((node.result, index) for node in _concats(graph) for index in range(len(node.operands)))
    group_of = {name: frozenset({name}) for name in graph.types}
    group_of.update((name, group) for group in scale_groups(graph, ports) for name in group)

    def scale(name: str) -> float:
        return max(scales.get(member, 0.0) for member in group_of[name])

    found = set()
    for node in _concats(graph):
        whole = max(scale(name) for name in (*node.operands, node.result))
        for index, operand in enumerate(node.operands):
            if 2 * scale(operand) <= whole and _is_read_beside(graph, group_of[operand], node):
                found.add((node.result, index))
    return frozenset(found)


def _concats(graph: Graph) -> Iterator[Node]:
    return (node for node in graph.nodes if isinstance(node.op, Concat) and not node.host)


def _is_read_beside(graph: Graph, group: frozenset[str], concat: Node) -> bool:
    """Whether the values of a group are read by more than the Concat and the moves between them."""
    users = [user for name in group for user in graph.users[name]]
    inner = all(user is concat or group.issuperset(user.results) for user in users)
    return not inner or not group.isdisjoint(graph.outputs.values())


def unify(ranges: Mapping[K, Range], groups: Iterable[Collection[K]]) -> dict[K, Range]:
    """Give all values of a group the range from its lowest to its highest number; values without a range get none."""
    found = dict(ranges)
    for group in groups:
        known = [ranges[name] for name in group if name in ranges]
        if known:
            shared = min(low for low, _ in known), max(high for _, high in known)
            found.update((name, shared) for name in group if name in ranges)
    return found


def _tied(graph: Graph, node: Node, apart: Collection[Port]) -> tuple[str, ...]:
    """The operands and results of a node that share one quantization: none where it runs in float on the host."""
    if node.host:
        return ()
    match node.op:
        case Concat():
            tied = (operand for index, operand in enumerate(node.operands) if (node.result, index) not in apart)
            return (*tied, *node.results)
        case Maximum() | Minimum() if any(operand in graph.constants for operand in node.operands):
            return ()
    moved = node.op.moved(node.operands)
    return (*moved, *node.results) if moved else ()


def _tied_states(node: Node) -> tuple[tuple[str, ...], ...]:
    """What a recurrent layer starts from and ends with: each state has one quantization."""
    match node.op:
        case Lstm():
            return (node.operands[4], *node.results[:2]), (node.operands[5], node.results[2])
        case Gru():
            return ((node.operands[5], *node.results),)
        case Rnn():
            return ((node.operands[4], *node.results),)
    return ()


def _takes_part(graph: Graph, name: str) -> bool:
    """Whether a value can share a scale: floats, except constants of several readers, which would tie their groups."""
    return graph.types[name].dtype.is_float and (name not in graph.constants or len(graph.users[name]) == 1)
