"""The points of a float graph at which the width of an op adds quantization noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import jax

from npuq.ir import Graph, Node, function
from npuq.ir.evaluate import Parameters
from npuq.ir.op import Arrays

from ..lowering import LOWERINGS, activations
from ..lowering.registry import is_weight
from .units import Units


class Place(StrEnum):
    """What is narrow or wide at a point."""

    KNOWN = "known"
    """the constants of an op: weights, bias, known data"""
    MADE = "made"
    """a result, for all its readers"""
    READ = "read"
    """an operand of one op, which others may read at another width"""


@dataclass(frozen=True, slots=True)
class Point:
    """One place of one unit; `value` is empty for the constants, which have one width together."""

    place: Place
    unit: str
    value: str = ""


Touch = Callable[[int, str, jax.Array], jax.Array]
Instrumented = Callable[[Parameters, Sequence[jax.Array], Touch], Arrays]


def points_of(units: Units) -> tuple[Point, ...]:
    """All points of a graph in order; a value with a single reader has only the point MADE."""
    found: dict[Point, None] = {}
    for unit in units:
        reads = (Point(Place.READ, unit.name, value) for value in unit.reads if not read_alone(units, value))
        found.update(dict.fromkeys(reads))
        if any(known_values(units.graph, units.graph.producers[member]) for member in unit.members):
            found[Point(Place.KNOWN, unit.name)] = None
        needed = (value for value in unit.makes if units.graph.users[value] or value in units.graph.returned)
        found.update(dict.fromkeys(Point(Place.MADE, unit.name, value) for value in needed))
    return tuple(found)


def known_values(graph: Graph, node: Node) -> tuple[str, ...]:
    """The constants of a node that become integers of its width: weights, bias and data, not those of a table."""
    lowering = LOWERINGS[type(node.op)]
    data = activations(graph, node)
    weights = [node.operands[index] for index in lowering.parameters if is_weight(graph, node, index)]
    return tuple(dict.fromkeys(name for name in (*weights, *data) if name in graph.constants))


def read_alone(units: Units, value: str) -> bool:
    """Whether a unit makes a value and a single unit reads it, directly or through ops that move its elements."""
    maker = units.sources[value]
    if maker is None:
        return False
    reach, readers = [origin_of(units, value)], 0
    while reach:
        name = reach.pop()
        if name in units.graph.returned:
            return False
        for user in units.graph.users[name]:
            moves = units.sources[user.results[0]] == maker and user.results[0] not in units.by_name[maker].members
            reach += user.results if moves else ()
            readers += not moves
    return readers == 1


def origin_of(units: Units, value: str) -> str:
    """The result of a unit that a value moved from."""
    maker = units.sources[value]
    while maker is not None and value not in units.by_name[maker].makes:
        node = units.graph.producers[value]
        value = next(name for name in activations(units.graph, node) if units.sources[name] == maker)
    return value


def instrumented(units: Units, points: Sequence[Point]) -> Instrumented:
    """The float graph as a function of (parameters, inputs, touch) to the measured values; pure where `touch` is.

    Every value at a point passes through `touch(index of the point, name of the value, array)`.
    """
    graph, index_of = units.graph, {point: index for index, point in enumerate(points)}
    unit_of = {member: unit.name for unit in units for member in unit.members}
    known = {member: known_values(graph, graph.producers[member]) for member in unit_of}

    def run(parameters: Parameters, inputs: Sequence[jax.Array], touch: Touch) -> Arrays:
        def at(place: Place, node: Node, name: str, array: jax.Array) -> jax.Array:
            result = node.results[0]
            if result not in unit_of or (place is Place.KNOWN) != (name in known[result]):
                return array
            index = index_of.get(Point(place, unit_of[result], "" if place is Place.KNOWN else name))
            return array if index is None else touch(index, name, array)

        def compute(node: Node, operands: Sequence[jax.Array]) -> Any:
            pairs = zip(node.operands, operands, strict=True)
            read = (at(Place.READ, node, name, at(Place.KNOWN, node, name, array)) for name, array in pairs)
            return node.op.evaluate(*read)

        def change(name: str, array: jax.Array) -> jax.Array:
            return at(Place.MADE, graph.producers[name], name, array)

        return function(graph, measured_values(graph), compute=compute, change=change)(parameters, inputs)

    return run


def measured_values(graph: Graph) -> tuple[str, ...]:
    """The values at which errors are measured: float graph outputs, and the float sources of the others."""
    found: dict[str, None] = {}
    waiting = list(graph.outputs.values())[::-1]
    while waiting:
        name = waiting.pop()
        if graph.types[name].dtype.is_float:
            found[name] = None
        elif name in graph.producers:
            waiting.extend(graph.producers[name].operands[::-1])
    return tuple(name for name in found if name not in graph.constants)
