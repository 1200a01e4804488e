"""The ops whose width can be chosen, each with what is fused into it, and how they hang together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from npuq.ir import Graph

from ..lowering import Kind, activations
from ..lowering.plan import plan_of
from ..precision import Precision, Precisions
from ..target import Target


@dataclass(frozen=True, slots=True)
class Unit:
    """A future integer op: `members` are the float nodes that become it, by their first results, core first.

    `reads` are its quantized operands, without constants, `makes` its quantized results.
    """

    name: str
    op: str
    place: str
    members: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    makes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Units:
    """The units of a float graph in order, and the unit that each quantized value has its width from.

    An op that only moves elements of one value is no unit: it has its operand's width. Graph inputs and results of host
    ops and of ops that lack a width of the target have no source.
    """

    graph: Graph
    by_name: Mapping[str, Unit]
    sources: Mapping[str, str | None]

    def __iter__(self) -> Iterator[Unit]:
        return iter(self.by_name.values())

    def __len__(self) -> int:
        return len(self.by_name)

    def parents(self, unit: Unit) -> tuple[str, ...]:
        """The units whose results a unit reads, in order, each once."""
        sources = (self.sources[value] for value in unit.reads)
        return tuple(dict.fromkeys(name for name in sources if name is not None and name != unit.name))

    def neighbours(self, unit: Unit) -> tuple[str, ...]:
        """The units whose results a unit reads, and those that read its results."""
        return *self.parents(unit), *(other.name for other in self if unit.name in self.parents(other))


def units_of(graph: Graph, target: Target) -> Units:
    """Find the units of a canonical float graph."""
    plan = plan_of(graph, target)
    found: dict[str, Unit] = {}
    sources: dict[str, str | None] = dict.fromkeys(graph.types)
    for node in graph.nodes:
        if plan.of(node).kind in (Kind.HOST, Kind.INDEX):
            continue
        data = tuple(dict.fromkeys(name for name in activations(graph, node) if name not in graph.constants))
        inside = next((sources[name] for name in data if name not in plan.held and sources[name] is not None), None)
        if plan.of(node).kind is Kind.MOVE and len(data) == 1:
            sources.update(dict.fromkeys(node.results, sources[data[0]]))
            continue
        unit = found[inside] if inside is not None else Unit(node.results[0], node.op.name, node.place)
        found[unit.name] = replace(
            unit,
            members=(*unit.members, node.results[0]),
            reads=tuple(dict.fromkeys((*unit.reads, *(value for value in data if value in plan.held)))),
            makes=(*unit.makes, *(result for result in node.results if result in plan.held)),
        )
        sources.update(dict.fromkeys(node.results, unit.name))
    plans = [plan_of(graph, target, Precisions(Precision(width.bits))) for width in target.widths]
    mixed = {
        name: unit
        for name, unit in found.items()
        if not any(one.roles[member].kind is Kind.HOST for one in plans for member in unit.members)
    }
    return Units(graph, mixed, {value: source if source in mixed else None for value, source in sources.items()})
