"""Every method equals its slow definition, cell by cell, and behaves on extreme values."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from npuq.ir import NpuqError
from npuq.passes.calibration import thresholds as module
from npuq.passes.calibration.statistics import Statistics
from npuq.passes.calibration.thresholds import (
    SEARCHES,
    Grid,
    Histogram,
    divergences,
    least_errors,
    squared_errors,
    thresholds,
)
from npuq.passes.precision import METHODS


def statistics_of(values: np.ndarray, bins: int = 64) -> Statistics:
    """Statistics of some numbers, counted directly."""
    x = np.asarray(values, np.float32).astype(np.float64)
    exponent = -126
    while np.abs(x).max() >= 2 * bins * 2.0**exponent:
        exponent += 1
    index = np.trunc(np.abs(x) / 2.0**exponent).astype(int)
    index = np.where(x < 0, -1 - index, index)
    counts = np.bincount(index + 2 * bins, minlength=4 * bins)
    return Statistics(float(x.min()), float(x.max()), int((x == 0).sum()), exponent, counts)


def cells_of(statistics: Statistics, symmetric: bool, zeros: bool) -> dict[int, int]:
    """The cells that are not empty: magnitudes for a symmetric grid, exact zeros left out unless `zeros`."""
    found: dict[int, int] = {}
    for index, count in enumerate(statistics.counts.tolist(), start=statistics.first):
        count -= statistics.zeros if index == 0 and not zeros else 0
        place = -1 - index if symmetric and index < 0 else index
        if count:
            found[place] = found.get(place, 0) + count
    return found


def slow_error(cells: dict[int, int], low: float, high: float, grid: Grid) -> float:
    """The squared error in cells, each element quantized by itself."""
    scale = (high - low) / grid.steps
    zero = round(-low / scale)
    error = 0.0
    for index, count in cells.items():
        q = min(max(round((index + 0.5) / scale) + zero, 0), grid.steps)
        error += count * (index + 0.5 - scale * (q - zero)) ** 2
    return error


def slow_divergence(cells: dict[int, int], low: int, high: int, levels: int) -> float:
    """KL of the clipped histogram from its quantized form, by the textbook's lists."""
    inside = [cells.get(index, 0) for index in range(low, high)]
    reference = list(inside)
    reference[0] += sum(count for index, count in cells.items() if index < low)
    reference[-1] += sum(count for index, count in cells.items() if index >= high)
    quantized = [0.0] * len(inside)
    for level in range(levels):
        start, stop = (len(inside) * end // levels for end in (level, level + 1))
        filled = [at for at in range(start, stop) if reference[at]]
        for at in filled:
            quantized[at] = sum(inside[start:stop]) / len(filled)
    divergence = 0.0
    for p, q in zip(reference, quantized, strict=True):
        if p:
            if q == 0:
                return math.inf
            divergence += p / sum(reference) * math.log(p / sum(reference) / (q / sum(quantized)))
    return divergence


RNG = np.random.default_rng(0)
SHAPES = {
    "normal": RNG.normal(size=4000),
    "shifted": RNG.normal(size=4000) + 2,
    "laplace": RNG.laplace(size=4000),
    "relu": np.maximum(RNG.normal(size=4000), 0),
    "relu6": np.clip(RNG.normal(size=4000) * 6, 0, 6),
    "negative": -np.abs(RNG.normal(size=4000)),
    "outlier": np.append(RNG.normal(size=4000), 30.0),
    "few values": RNG.choice([0.0, 1.0, 2.5, -3.0], 4000),
    "sparse": np.where(RNG.random(4000) < 0.95, 0.0, RNG.exponential(size=4000)),
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [4, 6])
def test_squared_errors_and_divergences_equal_their_definitions(name: str, symmetric: bool, bits: int) -> None:
    statistics, grid = statistics_of(SHAPES[name]), Grid(bits, symmetric)
    histogram, cells = Histogram.of(statistics, symmetric), cells_of(statistics, symmetric, zeros=False)
    ends = np.unique(np.linspace(0, 1, 7) * histogram.last).astype(np.int64)[1:]
    starts = -(-histogram.first * np.arange(1, len(ends) + 1) // max(len(ends), 1))
    if not len(ends):
        ends, starts = np.zeros(3, np.int64), np.array([-9, -20, histogram.first])
    span = (-ends if symmetric else starts).astype(np.float64)
    fast = (
        squared_errors(histogram, span, ends.astype(np.float64), Grid(bits, False))
        if not symmetric
        else (squared_errors(histogram, np.zeros(len(ends)), ends.astype(np.float64), grid))
    )
    slow = [
        slow_error(cells, 0.0 if symmetric else low, float(high), grid) for low, high in zip(span, ends, strict=True)
    ]
    np.testing.assert_allclose(fast, slow, rtol=1e-9, atol=1e-6)
    lows = 0 * ends if symmetric else starts
    kept = ends - lows >= grid.steps + 1
    if kept.any():
        fast = divergences(histogram, lows[kept], ends[kept], grid.steps + 1)
        slow = [
            slow_divergence(cells, low, high, grid.steps + 1) for low, high in zip(lows[kept], ends[kept], strict=True)
        ]
        np.testing.assert_allclose(fast, slow, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [4, 8, 12])
def test_ranges_that_clip_too_much_are_passed_over(name: str, symmetric: bool, bits: int) -> None:
    grid = Grid(bits, symmetric)
    histogram = Histogram.of(statistics_of(SHAPES[name]), symmetric)
    shares = np.linspace(0.05, 1, 20)
    lows, highs = 0.0 * shares if symmetric else histogram.first * shares, histogram.last * shares
    every, found = squared_errors(histogram, lows, highs, grid), least_errors(histogram, lows, highs, grid)
    passed = np.isinf(found)
    assert (every[passed] > every[-1]).all()
    np.testing.assert_array_equal(found[~passed], every[~passed])
    assert passed.any() or bits == 4 or name != "relu6"


@pytest.mark.parametrize("name", SHAPES)
def test_symmetric_searches_find_what_trying_all_finds(name: str) -> None:
    statistics, grid = statistics_of(SHAPES[name]), Grid(4)
    top = max(-statistics.minimum, statistics.maximum)
    cells = cells_of(statistics, True, zeros=False)
    edges = range(1, max(cells) + 2)
    errors = {edge: slow_error(cells, 0.0, float(edge), grid) for edge in edges}
    mse = min(edges, key=lambda edge: (errors[edge], -edge))
    assert thresholds(statistics, "mse", bits=4)[1] == min(mse * statistics.width, top)
    ranges = range(min(8, len(edges)), len(edges) + 1)
    for method in ("kl", "kl_v2"):
        costs = {edge: slow_divergence(cells, 0, edge, 8) for edge in ranges} if cells else {ranges[-1]: 0.0}
        if method == "kl_v2":
            costs = {edge: cost for edge, cost in costs.items() if errors[edge] <= errors[ranges[-1]]}
            if len(cells) <= 8:
                costs = {ranges[-1]: 0.0}
        least = min(costs.values())
        best = max(edge for edge, cost in costs.items() if cost <= least + 1e-13)
        assert thresholds(statistics, method, bits=4)[1] == min(best * statistics.width, top)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("share", [0.9, 0.999, 1.0])
def test_percentile_keeps_its_share_and_no_cell_more(name: str, share: float) -> None:
    values = SHAPES[name].astype(np.float32).astype(np.float64)
    statistics = statistics_of(values)
    _, high = thresholds(statistics, "percentile", percentile=share)
    assert np.mean(np.abs(values) < high + 1e-12) >= share - 1e-12 or high == np.abs(values).max()
    assert np.mean(np.abs(values) < high - 1.001 * statistics.width) < share
    low, high = thresholds(statistics, "percentile", percentile=share, symmetric=False)
    assert np.mean(values > high) <= (1 - share) / 2 + 1e-12
    assert np.mean(values < low) <= (1 - share) / 2 + 1e-12


@pytest.mark.parametrize("name", ["normal", "shifted", "laplace", "relu", "outlier"])
def test_asymmetric_mse_beats_every_range_on_a_coarse_lattice(name: str) -> None:
    statistics, grid = statistics_of(SHAPES[name]), Grid(4, False)
    cells = cells_of(statistics, False, zeros=False)
    low, high = (end / statistics.width for end in thresholds(statistics, "mse", bits=4, symmetric=False))
    lattice = [
        slow_error(cells, least * a / 8, most * b / 8, grid)
        for least, most in [(min(*cells, 0), max(cells) + 1)]
        for a in (range(1, 9) if least else [0])
        for b in range(1, 9)
    ]
    assert slow_error(cells, low, high, grid) <= 1.001 * min(lattice)


def test_fine_grids_count_rounding_as_noise() -> None:
    statistics = statistics_of(SHAPES["laplace"], 1024)
    histogram = Histogram.of(statistics, True)
    ends = np.array([100.0, 900.0, float(histogram.last)])
    found = squared_errors(histogram, 0 * ends, ends, Grid(12))
    cells = cells_of(statistics, True, zeros=False)
    clipped = [sum(n * max(c + 0.5 - end, 0) ** 2 for c, n in cells.items()) for end in ends]
    noise = [sum(n for c, n in cells.items() if c < end) * (end / 2047) ** 2 / 12 for end in ends]
    np.testing.assert_allclose(found, np.add(clipped, noise), rtol=1e-9)
    assert thresholds(statistics, "mse", bits=16)[1] == max(-statistics.minimum, statistics.maximum)


EXTREMES = {
    "zeros": np.zeros(9),
    "constant": np.full(9, 3.7),
    "negative constant": np.full(9, -3.7),
    "subnormal": np.full(9, 1e-41),
    "tiny": np.array([1e-37, -1e-37, 0.0]),
    "greatest": np.array([3.4e38, -3.4e38, 1.0]),
    "outlier": np.append(np.ones(1000), 1e30),
    "two values": np.array([0.0, 5.0] * 9),
    "one element": np.array([-2.0]),
}


@pytest.mark.parametrize("name", EXTREMES)
@pytest.mark.parametrize("bits", [2, 8, 16])
@pytest.mark.parametrize("symmetric", [True, False])
def test_extremes_give_finite_ranges_around_zero(name: str, bits: int, symmetric: bool) -> None:
    values = np.where(np.abs(EXTREMES[name]) < 2.0**-126, 0.0, EXTREMES[name]).astype(np.float32)
    statistics = statistics_of(values, 2048)
    for method in METHODS:
        low, high = thresholds(statistics, method, bits=bits, symmetric=symmetric)
        assert low <= 0 <= high
        scale = np.float32((high - low) / Grid(bits, symmetric).steps / (2 if symmetric else 1))
        assert np.isfinite(scale)
        assert scale >= np.finfo(np.float32).tiny
        assert not symmetric or low == -high
        assert type(low) is type(high) is float


@pytest.mark.parametrize("method", ["min_max", "mse", "kl_v2"])
@pytest.mark.parametrize("name", ["constant", "negative constant", "two values", "one element"])
def test_few_distinct_values_are_not_clipped(method: str, name: str) -> None:
    values = EXTREMES[name].astype(np.float32)
    assert thresholds(statistics_of(values, 2048), method)[1] == float(np.abs(values).max())


def test_kl_v2_does_not_clip_the_tail_of_a_spike() -> None:
    values = np.where(RNG.random(200_000) < 0.98, 0.01, np.abs(RNG.normal(size=200_000)))
    statistics = statistics_of(values, 2048)
    plain, corrected = (thresholds(statistics, method)[1] for method in ("kl", "kl_v2"))
    assert plain < 0.5 * corrected
    assert corrected > 2.0


def test_thresholds_scale_with_the_values() -> None:
    one, other = (statistics_of(SHAPES["laplace"] * scale) for scale in (1.0, 2.0**20))
    for method, symmetric in product(METHODS, (True, False)):
        low, high = thresholds(one, method, symmetric=symmetric)
        assert thresholds(other, method, symmetric=symmetric) == (low * 2.0**20, high * 2.0**20)


def test_arguments_are_checked() -> None:
    statistics = statistics_of(np.ones(3))
    with pytest.raises(
        NpuqError, match="there is no calibration method 'best'; there are min_max, percentile, mse, kl"
    ):
        thresholds(statistics, "best")
    with pytest.raises(NpuqError, match="1 bits, 2 to 16 wanted"):
        thresholds(statistics, "mse", bits=1)
    with pytest.raises(NpuqError, match=r"percentile 99\.9, a share above 0.5 and up to 1 wanted"):
        thresholds(statistics, "percentile", percentile=99.9)
    assert tuple(SEARCHES) == METHODS == ("min_max", "percentile", "mse", "kl", "kl_v2")
    assert module.CANDIDATES >= 2048
