"""Which widths neighbours may have: each rule is a function whose docstring is the rule.

A rule yields ties between two units, for the check of a template and for the integer program of an assignment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from npuq.ir import registry
from npuq.ir.ops.norm import LayerNorm
from npuq.ir.ops.recurrent import Recurrent

from .units import Unit, Units


@dataclass(frozen=True, slots=True)
class Tie:
    """Two units of one width or, with `at_most`, a first one no wider than the second; unit `at` is the reason."""

    at: str
    first: str
    second: str
    at_most: bool = False

    def holds(self, bits: Mapping[str, int]) -> bool:
        one, other = bits[self.first], bits[self.second]
        return one <= other if self.at_most else one == other


Rule = Callable[[Units], Iterator[Tie]]

UNMIXED = frozenset(name for name, op in registry().items() if issubclass(op, (Recurrent, LayerNorm)))


def neighbours_of_recurrent_ops(units: Units) -> Iterator[Tie]:
    """A recurrent op or a layer normalization has the width of the ops before and after it."""
    for unit in units:
        if unit.op in UNMIXED:
            others = (name for name in units.neighbours(unit) if not _joins_unmixed(units, units.by_name[name]))
            yield from (Tie(unit.name, unit.name, other) for other in others)


def neighbours_of_abs(units: Units) -> Iterator[Tie]:
    """An abs takes no part in mixing: it has the width of the ops before and after it."""
    for unit in units:
        if unit.op == "abs":
            yield from (Tie(unit.name, unit.name, other) for other in units.neighbours(unit))


def inputs_of_one_op(units: Units) -> Iterator[Tie]:
    """All inputs of an op with several have one width."""
    for unit in units:
        if not _joins_unmixed(units, unit):
            yield from (Tie(unit.name, one, other) for one, other in pairwise(units.parents(unit)))


def recurrent_ops_before_concat(units: Units) -> Iterator[Tie]:
    """A recurrent op or a layer normalization before a concat is no wider than the concat's other neighbours."""
    for unit in units:
        if _joins_unmixed(units, unit):
            for parent in units.parents(unit):
                if units.by_name[parent].op in UNMIXED:
                    others = (name for name in units.neighbours(unit) if name != parent)
                    yield from (Tie(unit.name, parent, other, True) for other in others)


RULES: tuple[Rule, ...] = (
    neighbours_of_recurrent_ops,
    neighbours_of_abs,
    inputs_of_one_op,
    recurrent_ops_before_concat,
)


def ties(units: Units) -> tuple[Tie, ...]:
    """The ties of all rules."""
    return tuple(dict.fromkeys(tie for rule in RULES for tie in rule(units)))


def unit_ties(units: Units) -> tuple[tuple[int, int, bool], ...]:
    """The ties as (first, second, at_most) by the positions of units."""
    index = {name: number for number, name in enumerate(units.by_name)}
    return tuple((index[tie.first], index[tie.second], tie.at_most) for tie in ties(units))


def violations(units: Units, bits: Mapping[str, int]) -> Iterator[str]:
    """One line for each tie that the widths of the units break."""
    for rule in RULES:
        text = (rule.__doc__ or "").split("\n")[0].rstrip(".")
        for tie in rule(units):
            if not tie.holds(bits):
                pair = f"%{tie.first} has {bits[tie.first]} bits, %{tie.second} {bits[tie.second]}"
                yield f"{units.by_name[tie.at].place}: {text[0].lower()}{text[1:]}: {pair}"


def _joins_unmixed(units: Units, unit: Unit) -> bool:
    """Whether a unit is a concat that reads a recurrent op or a layer normalization, which another rule covers."""
    return unit.op == "concat" and any(units.by_name[parent].op in UNMIXED for parent in units.parents(unit))
