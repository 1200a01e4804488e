"""Thresholds: the range of real numbers that a value's integers shall cover, chosen from its statistics alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from npuq.ir import NpuqError

from ..precision import require_method
from ..scales import Range
from .statistics import Statistics

CANDIDATES = 2048
"""The most thresholds that a search tries; a value's histogram has 2048 to 8192 cells."""

SIDE_CANDIDATES = 256
"""The most thresholds that an asymmetric search tries on one side while the other rests."""

ROWS = 128
"""The ranges that are judged at a time: few enough for a core's cache to hold what is computed of their levels."""

ROUNDS = 6
"""How often an asymmetric search goes over both sides; it mostly rests after two."""

LEAST_THRESHOLD = 2.0**-100
"""Below it a scale would be no normal float32 number."""


@dataclass(frozen=True, slots=True)
class Grid:
    """The grid of the integers: `bits` wide, either -n to n with zero at 0, or all 2^bits with a zero point."""

    bits: int = 8
    symmetric: bool = True

    @property
    def steps(self) -> int:
        """The scale is threshold / steps (symmetric) or (high - low) / steps."""
        return (1 << (self.bits - 1)) - 1 if self.symmetric else (1 << self.bits) - 1


@dataclass(frozen=True, eq=False)
class Histogram:
    """Cells of one width from `first` on, without exact zeros, trimmed to what is not empty and to zero.

    Symmetric grids see magnitudes, which is exact: cells are mirrored at zero.
    """

    counts: np.ndarray
    first: int
    width: float

    @classmethod
    def of(cls, statistics: Statistics, symmetric: bool) -> Histogram:
        counts, half = statistics.counts.copy(), len(statistics.counts) // 2
        counts[half] -= statistics.zeros
        if symmetric:
            counts = np.concatenate([np.zeros(half, np.int64), counts[half:] + counts[half - 1 :: -1]])
        filled = np.flatnonzero(counts)
        low, high = (min(filled[0], half), max(filled[-1] + 1, half)) if filled.size else (half, half)
        return cls(counts[low:high], int(low) - half, statistics.width)

    @property
    def last(self) -> int:
        """The first cell that is past the end."""
        return self.first + len(self.counts)

    @property
    def centres(self) -> np.ndarray:
        return (np.arange(self.first, self.last) + 0.5) * self.width


def thresholds(
    statistics: Statistics, method: str, *, bits: int = 8, symmetric: bool = True, percentile: float = 0.99999
) -> Range:
    """Choose (low, high): -t and t for a symmetric grid of 2^bits - 1 levels, else low <= 0 <= high for 2^bits levels.

    `method` is one of METHODS; `percentile` is the share of elements that the method of that name keeps. The result
    depends on nothing but the arguments. A value that is always zero gets the range of 1.
    """
    require_method(method)
    if not 2 <= bits <= 16:
        raise NpuqError(f"calibration: {bits} bits, 2 to 16 wanted")
    require_share(percentile)
    low, high = min(statistics.minimum, 0.0), max(statistics.maximum, 0.0)
    if symmetric:
        low, high = -max(-low, high), max(-low, high)
    if low == high:
        return (-1.0 if symmetric else 0.0), 1.0
    grid = Grid(bits, symmetric)
    found = SEARCHES[method](statistics, grid, percentile)
    return _widened(max(low, float(found[0])), min(high, float(found[1])))


def require_share(percentile: float) -> None:
    """Raise `NpuqError` unless `percentile` is a share of elements that a range can keep."""
    if not 0.5 < percentile <= 1.0:
        raise NpuqError(f"calibration: percentile {percentile!r}, a share above 0.5 and up to 1 wanted")


def _widened(low: float, high: float) -> Range:
    """The range, at least as wide as a float32 scale can express."""
    if high - low >= LEAST_THRESHOLD:
        return low, high
    return -LEAST_THRESHOLD if low < 0 else 0.0, LEAST_THRESHOLD if high > 0 else 0.0


def min_max(statistics: Statistics, grid: Grid, percentile: float) -> Range:
    """Clip nothing."""
    return -math.inf, math.inf


def keep_share(statistics: Statistics, grid: Grid, percentile: float) -> Range:
    """The cells that keep `percentile` of all elements; an asymmetric grid cuts half of the rest at each end."""
    cut = (1.0 - percentile) * statistics.count
    half = len(statistics.counts) // 2
    if grid.symmetric:
        magnitudes = statistics.counts[half:] + statistics.counts[half - 1 :: -1]
        edge = _edge(magnitudes, cut) * statistics.width
        return -edge, edge
    high = (_edge(statistics.counts, cut / 2) - half) * statistics.width
    low = (half - _edge(statistics.counts[::-1], cut / 2)) * statistics.width
    return min(low, 0.0), max(high, 0.0)


def _edge(counts: np.ndarray, cut: float) -> int:
    """The least number of leading cells after which at most `cut` elements are left."""
    left = int(counts.sum()) - np.cumsum(counts)
    return int(np.argmax(left <= cut)) + 1


def least_squares(statistics: Statistics, grid: Grid, percentile: float) -> Range:
    """The range of least squared error between the elements and what the grid makes of them."""
    histogram = Histogram.of(statistics, grid.symmetric)
    if not histogram.counts.any():
        return -math.inf, math.inf
    if grid.symmetric:
        edges = candidates(1, histogram.last)
        best = edges[_last_least(least_errors(histogram, 0 * edges, edges, grid))] * histogram.width
        return -best, best
    return _both_sides(histogram, grid)


def _both_sides(histogram: Histogram, grid: Grid) -> Range:
    """From the best of a coarse lattice of ranges, move one end at a time to where the error is least."""
    lows, highs = (np.unique(np.round(end * np.arange(1, 9) / 8)) for end in (histogram.first, histogram.last))
    pairs = np.stack(np.meshgrid(lows, highs, indexing="ij"), axis=-1).reshape(-1, 2)
    pairs = pairs[pairs[:, 0] < pairs[:, 1]]
    low, high = map(float, pairs[_last_least(least_errors(histogram, pairs[:, 0], pairs[:, 1], grid))])
    for _ in range(ROUNDS):
        before = low, high
        if histogram.last > 0:
            ends = np.union1d(candidates(1, histogram.last, SIDE_CANDIDATES), high)
            high = float(ends[_last_least(least_errors(histogram, np.full(len(ends), low), ends, grid))])
        if histogram.first < 0:
            ends = np.union1d(candidates(1, -histogram.first, SIDE_CANDIDATES), -low)
            low = -float(ends[_last_least(least_errors(histogram, -ends, np.full(len(ends), high), grid))])
        if (low, high) == before:
            break
    return low * histogram.width, high * histogram.width


def squared_errors(histogram: Histogram, lows: np.ndarray, highs: np.ndarray, grid: Grid) -> np.ndarray:
    """The sum of squared errors for each range, given in cells, with every element at its cell's centre.

    Between two rounding boundaries the error is a quadratic in the level, so that three prefix sums give it: levels
    times candidates instead of cells times candidates. Grids finer than the cells take the error of rounding as
    scale^2 / 12 per element. An asymmetric range is moved, as a zero point moves it, so that zero is a level.
    """
    sums = _moments(histogram)

    def judge(lows: np.ndarray, highs: np.ndarray) -> np.ndarray:
        scales = (highs - lows) / grid.steps
        first = np.round(lows / scales)
        if grid.steps > 1024:
            return _fine_errors(histogram, sums, scales, first, grid.steps)
        levels = (first[:, None] + np.arange(grid.steps + 1)) * scales[:, None]
        bounds = np.ceil(levels[:, 1:] - scales[:, None] / 2 - 0.5 - histogram.first)
        cuts = np.zeros((len(lows), grid.steps + 2), np.intp)
        cuts[:, 1:-1] = np.clip(bounds, 0, len(histogram.counts))
        cuts[:, -1] = len(histogram.counts)
        count, total, square = (np.diff(sum_.take(cuts), axis=1) for sum_ in sums)
        return np.asarray((square - 2 * levels * total + levels * levels * count).sum(axis=1))

    return _row_by_row(judge, lows, highs)


def least_errors(histogram: Histogram, lows: np.ndarray, highs: np.ndarray, grid: Grid) -> np.ndarray:
    """The squared errors of the ranges that can have no more than the last one; infinity for the others.

    A range whose clipping alone costs more than the last range, by more than rounding could, needs no further look.
    """
    sums = _moments(histogram)
    scales = (highs - lows) / grid.steps
    first = np.round(lows / scales)
    clipped, _ = _clipped(histogram, sums, first * scales, (first + grid.steps) * scales)
    most = squared_errors(histogram, lows[-1:], highs[-1:], grid)[0] * (1 + 1e-6) + sums[2][-1] * 1e-9
    possible = clipped <= most
    errors = np.full(len(lows), np.inf)
    errors[possible] = squared_errors(histogram, lows[possible], highs[possible], grid)
    return errors


def _row_by_row(
    judge: Callable[[np.ndarray, np.ndarray], np.ndarray], lows: np.ndarray, highs: np.ndarray
) -> np.ndarray:
    """Evaluate a function of ranges a few at a time, which bounds the memory."""
    rows = (slice(at, at + ROWS) for at in range(0, len(lows), ROWS))
    return np.concatenate([judge(lows[few], highs[few]) for few in rows])


def _fine_errors(
    histogram: Histogram, sums: tuple[np.ndarray, ...], scales: np.ndarray, first: np.ndarray, steps: int
) -> np.ndarray:
    """Clipping as it is, rounding as uniform noise."""
    clipped, inside = _clipped(histogram, sums, first * scales, (first + steps) * scales)
    return np.asarray(inside * scales**2 / 12 + clipped)


def _clipped(
    histogram: Histogram, sums: tuple[np.ndarray, ...], low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The squared error of what each range clips, and how many elements it does not clip."""
    below, above = (
        np.clip(np.round(end) - histogram.first, 0, len(histogram.counts)).astype(np.int64) for end in (low, high)
    )
    count, total, square = ((sum_[below], sum_[-1] - sum_[above]) for sum_ in sums)
    clipped = (square[side] - 2 * end * total[side] + end * end * count[side] for side, end in enumerate((low, high)))
    return np.asarray(sum(clipped)), np.asarray(sums[0][above] - sums[0][below])


def _moments(histogram: Histogram) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Prefix sums of counts, counts * x and counts * x^2, x in cells; each one longer than the histogram."""
    x = np.arange(histogram.first, histogram.last) + 0.5
    counts = histogram.counts.astype(np.float64)
    return _prefix(counts), _prefix(counts * x), _prefix(counts * x * x)


def kl(statistics: Statistics, grid: Grid, percentile: float) -> Range:
    """The range whose quantized histogram is nearest to the clipped one in Kullback-Leibler divergence.

    Over the elements that are not zero: zero is exact in every grid, and the spike that a ReLU leaves there would
    outweigh all the rest.
    """
    histogram = Histogram.of(statistics, grid.symmetric)
    if not histogram.counts.any():
        return -math.inf, math.inf
    lows, highs = _shrunk(histogram, _levels(grid))
    best = _last_least(divergences(histogram, lows, highs, _levels(grid)))
    return _as_range(histogram, lows[best], highs[best], grid)


def kl_v2(statistics: Statistics, grid: Grid, percentile: float) -> Range:
    """KL over the elements that are not zero, over ranges of no more squared error than without clipping.

    Plain KL sees shapes, not distances: a spike at zero outweighs the rest, and moving a few large elements to the
    threshold looks cheap however far they move. Zero is exact in every grid, so it has no say here; and a range that
    loses more by clipping than it gains by finer steps is no candidate.
    """
    histogram = Histogram.of(statistics, grid.symmetric)
    if np.count_nonzero(histogram.counts) <= _levels(grid):
        return -math.inf, math.inf
    lows, highs = _shrunk(histogram, _levels(grid))
    errors = least_errors(histogram, lows.astype(np.float64), highs.astype(np.float64), grid)
    lows, highs = lows[errors <= errors[-1]], highs[errors <= errors[-1]]
    best = _last_least(divergences(histogram, lows, highs, _levels(grid)))
    return _as_range(histogram, lows[best], highs[best], grid)


def divergences(histogram: Histogram, lows: np.ndarray, highs: np.ndarray, levels: int) -> np.ndarray:
    """The divergence of the quantized from the clipped histogram for each range of whole cells.

    Reference: the cells inside, with all that is outside added to the end cells. Quantized: the cells inside alone, in
    `levels` groups of equal length, each group's sum spread evenly over its cells that the reference fills. So
    sum p log(p/q) needs, per group, only sums of counts and numbers of filled cells: prefix sums serve all
    candidates at once. Infinite where the reference has elements in a group in which the quantized one has none.
    """
    counts = histogram.counts.astype(np.float64)
    count, filled, entropy = _prefix(counts), _prefix((counts > 0).astype(np.float64)), _prefix(_x_log_x(counts))
    total = count[-1]

    def judge(start: np.ndarray, stop: np.ndarray) -> np.ndarray:
        cuts = start[:, None] + (stop - start)[:, None] * np.arange(levels + 1) // levels
        groups, sizes = np.diff(count.take(cuts), axis=1), np.diff(filled.take(cuts), axis=1)
        inside = groups.sum(axis=1)
        reference = groups.copy()
        information = entropy[stop] - entropy[start]
        for column, end, outside in ((0, start, count[start]), (-1, stop - 1, total - count[stop])):
            reference[:, column] += outside
            sizes[:, column] += (counts[end] == 0) & (outside > 0)
            information += _x_log_x(counts[end] + outside) - _x_log_x(counts[end])
        with np.errstate(divide="ignore", invalid="ignore"):
            cross = np.where(reference > 0, reference * np.log(groups / sizes), 0.0).sum(axis=1)
            found = (information - cross) / total - math.log(total) + np.log(inside)
        return np.asarray(np.where(np.isfinite(found), found, np.inf))

    return _row_by_row(judge, lows - histogram.first, highs - histogram.first)


def _shrunk(histogram: Histogram, levels: int) -> tuple[np.ndarray, np.ndarray]:
    """Ranges of whole cells, from `levels` cells up to all of them, shrunk toward zero in proportion."""
    cells = len(histogram.counts)
    sizes = candidates(min(levels, cells), cells)
    lows = -(-histogram.first * sizes // cells)
    return lows, lows + sizes


def _as_range(histogram: Histogram, low: float, high: float, grid: Grid) -> Range:
    high_end = float(high) * histogram.width
    return (-high_end if grid.symmetric else float(low) * histogram.width), high_end


def _levels(grid: Grid) -> int:
    """The levels that a histogram is quantized to: magnitudes take half of a symmetric grid."""
    return grid.steps + 1


def candidates(least: int, most: int, number: int = CANDIDATES) -> np.ndarray:
    """Up to `number` whole numbers from `least` to `most`, evenly spread, both ends among them."""
    return np.round(np.linspace(least, most, min(number, most - least + 1))).astype(np.int64)


def _last_least(errors: np.ndarray) -> int:
    """The index of the least error; of equal ones the last, which clips least."""
    return len(errors) - 1 - int(np.argmin(errors[::-1]))


def _prefix(values: np.ndarray) -> np.ndarray:
    return np.concatenate([[0.0], np.cumsum(values)])


def _x_log_x(x: np.ndarray) -> np.ndarray:
    return np.asarray(x * np.log(np.where(x > 0, x, 1.0)))


SEARCHES: Mapping[str, Callable[[Statistics, Grid, float], Range]] = {
    "min_max": min_max,
    "percentile": keep_share,
    "mse": least_squares,
    "kl": kl,
    "kl_v2": kl_v2,
}
"""The search of each calibration method; all need the same statistics only."""
