"""The choice of widths as an integer program: least predicted error within a cost, or the whole curve of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from npuq.ir import require

SLACK = 2e-6
"""The share of the span by which a saving may fall short: twice the solver's tolerance, less than any op."""


@dataclass(frozen=True, slots=True)
class Edge:
    """An op that reads another's result: `noise` is what a narrow reader of a wide result adds to the error."""

    source: int
    reader: int
    noise: float


@dataclass(frozen=True, slots=True)
class Conversion:
    """A value that ops read: the cost to make it narrower, or wider, once for all readers of that width."""

    source: int
    readers: tuple[int, ...]
    down: float
    up: float


@dataclass(frozen=True, eq=False)
class Problem:
    """Ops that are narrow (1) or wide (0), with the error and the cost of each width, and their ties.

    `noise` f64[n] is the error that a narrow op adds, `narrow` and `wide` f64[n] are its costs. `ties` are (first,
    second, at_most): the same width or, with at_most, the first no wider than the second. The error of a choice is
    `floor`, that of all wide, and the sum of the errors added.
    """

    noise: np.ndarray
    narrow: np.ndarray
    wide: np.ndarray
    edges: tuple[Edge, ...] = ()
    conversions: tuple[Conversion, ...] = ()
    ties: tuple[tuple[int, int, bool], ...] = ()
    floor: float = 0.0

    @property
    def size(self) -> int:
        return len(self.noise)

    @property
    def span(self) -> float:
        """The cost of all wide above that of all narrow."""
        return float(self.wide.sum() - self.narrow.sum())

    def error(self, choice: np.ndarray) -> float:
        """The predicted error of a choice, bool[n]."""
        edges = (edge.noise for edge in self.edges if choice[edge.reader] and not choice[edge.source])
        return self.floor + float(self.noise[choice].sum()) + sum(edges)

    def cost(self, choice: np.ndarray) -> float:
        """The cost of a choice, conversions between widths included."""
        total = float(np.where(choice, self.narrow, self.wide).sum())
        for value in self.conversions:
            unlike = [reader for reader in value.readers if choice[reader] != choice[value.source]]
            total += (value.up if choice[value.source] else value.down) if unlike else 0.0
        return total

    def saved(self, choice: np.ndarray) -> float:
        """The share of the span that a choice saves: 0 for all wide, 1 for all narrow."""
        return (float(self.wide.sum()) - self.cost(choice)) / self.span if self.span else 1.0

    def allows(self, choice: np.ndarray) -> bool:
        """Whether the ties hold."""
        return all(
            choice[first] >= choice[second] if at_most else choice[first] == choice[second]
            for first, second, at_most in self.ties
        )


def curve(problem: Problem, ratios: Sequence[float]) -> list[np.ndarray]:
    """For each ratio, rising, the choice of least predicted error among those that save at least that share.

    The errors never fall along the curve. Each choice is optimal up to a millionth of its own error.
    """
    require(list(ratios) == sorted(ratios), "the ratios of a curve must rise")
    choices = [solve(problem, ratio) for ratio in ratios]
    for index in range(len(choices) - 2, -1, -1):
        if problem.error(choices[index + 1]) <= problem.error(choices[index]):
            choices[index] = choices[index + 1]
    return choices


def solve(problem: Problem, ratio: float) -> np.ndarray:
    """The choice, bool[n], of least predicted error that saves at least `ratio` of the span.

    Errors span more orders of magnitude than a solver's tolerance: ops whose own error exceeds that of the best known
    choice are excluded, the rest are scaled to it, and the program is solved until it gains nothing.
    """
    require(0.0 <= ratio <= 1.0, f"ratio {ratio}, 0 to 1 wanted")
    best = np.ones(problem.size, bool)
    if problem.saved(np.zeros(problem.size, bool)) >= ratio - SLACK:
        return ~best
    while True:
        bound = problem.error(best) - problem.floor
        found = _solve_below(problem, ratio, bound) if bound > 0 else None
        if found is None or problem.error(found) >= problem.error(best):
            return best
        halved = problem.error(found) - problem.floor < bound / 2
        best = found
        if not halved:
            return best


def _solve_below(problem: Problem, ratio: float, bound: float) -> np.ndarray | None:
    """Solve the program among the choices that add no more than `bound` to the error.

    Variables: a bit per op, then per edge whether a narrow op reads a wide one, then per value whether it is made
    narrower and whether wider. Differences of bits bound the latter from below, their cost from above.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array

    n, e, v = problem.size, len(problem.edges), len(problem.conversions)
    noise = np.concatenate([problem.noise, [edge.noise for edge in problem.edges], np.zeros(2 * v)])
    rows = [{n + index: 1.0, edge.reader: -1.0, edge.source: 1.0} for index, edge in enumerate(problem.edges)]
    for index, value in enumerate(problem.conversions):
        for reader in value.readers:
            for column, sign in ((n + e + index, 1.0), (n + e + v + index, -1.0)):
                rows.append({column: 1.0, reader: -sign, value.source: sign})
    for first, second, at_most in problem.ties:
        rows.append({first: 1.0, second: -1.0})
        if not at_most:
            rows.append({first: -1.0, second: 1.0})
    saving = dict(enumerate(((problem.wide - problem.narrow) / problem.span).tolist()))
    for index, value in enumerate(problem.conversions):
        saving[n + e + index] = -value.down / problem.span
        saving[n + e + v + index] = -value.up / problem.span
    rows.append(saving)
    lows = np.zeros(len(rows))
    lows[-1] = ratio
    data = [(number, row, column) for row, terms in enumerate(rows) for column, number in terms.items()]
    numbers, at_rows, at_columns = (list(part) for part in zip(*data, strict=True))
    matrix = csr_array((numbers, (at_rows, at_columns)), shape=(len(rows), len(noise)))
    result = milp(
        np.where(noise > bound, 0.0, noise) / bound,
        integrality=np.concatenate([np.ones(n), np.zeros(e + 2 * v)]),
        bounds=Bounds(np.zeros(len(noise)), np.where(noise > bound, 0.0, 1.0)),
        constraints=LinearConstraint(matrix, lows, np.inf),
        options={"mip_rel_gap": 0.0},
    )
    if result.x is None:
        return None
    found = np.asarray(result.x[:n] > 0.5)
    return found if problem.allows(found) and problem.saved(found) >= ratio - SLACK else None
