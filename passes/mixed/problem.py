"""From measured noise and costs to the integer program, and from its choices to precisions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..precision import Precision
from .integer_program import Conversion, Edge, Problem
from .points import Place, Point, origin_of, read_alone
from .rules import unit_ties
from .units import Units


@dataclass(frozen=True, slots=True)
class Costs:
    """The costs of narrow and of wide units and of conversions of values, by name."""

    narrow: Mapping[str, float]
    wide: Mapping[str, float]
    conversions: Mapping[str, float]


def op_costs(units: Units) -> Costs:
    """A wide op costs one, all else nothing: the saving is the share of narrow ops."""
    return Costs(dict.fromkeys(units.by_name, 0.0), dict.fromkeys(units.by_name, 1.0), {})


def problem_of(
    units: Units, points: Sequence[Point], noise: np.ndarray, costs: Costs, *, floor: float = 0.0
) -> Problem:
    """The integer program of a graph; `noise` f64[points] is the error that each narrow point adds.

    A narrow op adds the noise of its constants and its results, and that of operands that are made wide: the edges.
    Graph inputs and results of the host have the width of their readers.
    """
    index = {name: number for number, name in enumerate(units.by_name)}
    at = dict(zip(points, noise.tolist(), strict=True))
    own = np.zeros(len(units))
    for point, added in at.items():
        if point.place is not Place.READ or units.sources[point.value] is None:
            own[index[point.unit]] += added
    edges, readers = [], dict[str, list[int]]()
    for unit in units:
        for value in unit.reads:
            source = units.sources[value]
            if source is None or source == unit.name:
                continue
            edges.append(Edge(index[source], index[unit.name], at[reading(units, unit.name, value)]))
            readers.setdefault(value, []).append(index[unit.name])
    conversions = tuple(
        Conversion(index[units.sources[value] or ""], tuple(those), price, price)
        for value, those in readers.items()
        if (price := costs.conversions.get(value, 0.0)) > 0
    )
    return Problem(
        own,
        np.asarray([costs.narrow[name] for name in units.by_name]),
        np.asarray([costs.wide[name] for name in units.by_name]),
        tuple(edges),
        conversions,
        unit_ties(units),
        floor,
    )


def reading(units: Units, reader: str, value: str) -> Point:
    """The point at which a unit's reading of a value is narrow."""
    source = units.sources[value]
    if source is not None and read_alone(units, value):
        return Point(Place.MADE, source, origin_of(units, value))
    return Point(Place.READ, reader, value)


def precisions_of(units: Units, choice: Iterable[bool], narrow: Precision, wide: Precision) -> dict[str, Precision]:
    """The precision of each node of each unit."""
    return {member: narrow if bit else wide for unit, bit in zip(units, choice, strict=True) for member in unit.members}


def outer_first(units: Units, ratio: float, fixed: Sequence[tuple[int, int, bool]]) -> np.ndarray:
    """Wide at both ends, narrow in between (bool[units]): at least `ratio` of the units are narrow.

    From the ends inwards each unit becomes wide with its ties, as long as enough narrow ones remain.
    """
    count = len(units)
    choice = np.ones(count, bool)
    for place in sorted(range(count), key=lambda number: min(number, count - 1 - number)):
        raised = choice & ~_raised(place, count, fixed)
        if raised.sum() >= ratio * count - 1e-9:
            choice = raised
    return choice


def _raised(place: int, count: int, fixed: Sequence[tuple[int, int, bool]]) -> np.ndarray:
    """The units, bool[n], that must be wide where one is: a first is no wider than its second."""
    found = np.zeros(count, bool)
    waiting = [place]
    while waiting:
        one = waiting.pop()
        if not found[one]:
            found[one] = True
            waiting += [second for first, second, _ in fixed if first == one]
            waiting += [first for first, second, at_most in fixed if second == one and not at_most]
    return found
