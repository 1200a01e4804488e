"""The range of every value: by the chosen method, or by the default one unless least squares are clearly better."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any

import numpy as np

from npuq.ir import Graph
from npuq.ir.ops.norm import LayerNorm
from npuq.ir.ops.reduce import LogSoftmax, Softmax

from ..intervals import value_bounds
from ..lowering import Kind, activations, kind_of
from ..lowering.plan import EVERYWHERE, Held, plan_of
from ..pipeline import FOUND, graph_pass
from ..precision import CALIBRATED_BITS, Precisions
from ..scales import Range
from ..target import Target
from .collect_statistics import NO_RANGES
from .masked_ranges import masked_ranges
from .statistics import Statistics
from .thresholds import Grid, Histogram, require_share, squared_errors, thresholds

GOOD_DB = 34.0
"""A value of this SQNR keeps the range of the default method, which regards more than squared errors."""

LEAST_GAIN_DB = 1.0
"""The gain for which the range of least squared error replaces that of the default method."""

threshold = lru_cache(maxsize=512)(thresholds)
"""`thresholds`, searched once for several programs of the same statistics."""


@graph_pass("choose-ranges", analyzes=True, gives=("ranges", "extremes", "range_notes"))
def choose_ranges(
    graph: Graph,
    *,
    statistics: Mapping[str, Statistics] = FOUND,
    target: Target = FOUND,
    precision: Precisions = EVERYWHERE,
    percentile: Annotated[float, require_share] = 0.99999,
    layer_threshold: float | None = None,
    given: Mapping[Held, Range] = NO_RANGES,
) -> Mapping[str, Any]:
    """Choose the range of every observed value, at each width that holds it, by the method of the node that makes it.

    Values that reach an output keep their whole range, masked scores that of the unmasked ones, and no range exceeds
    the bounds of its op. Without a chosen method, a value whose histogram keeps fewer than `GOOD_DB` takes the range of
    least squared error if that gains `LEAST_GAIN_DB`: products of a gate and its feature, and sums over many layers,
    have a few great elements that must not be clipped. `layer_threshold` limits the magnitudes of what layer
    normalizations read and give. `given` ranges replace calibrated ones. `range_notes` are (place, change) of values
    with another method.
    """
    limit = math.inf if layer_threshold is None else layer_threshold
    normalized = {
        name for node in graph.nodes if isinstance(node.op, LayerNorm) for name in (node.operands[0], node.result)
    }
    whole = output_values(graph)
    found: dict[Held, Range] = {}
    notes = []
    for name, widths in plan_of(graph, target, precision).held.items():
        maker = graph.producers.get(name)
        for bits in widths:
            if name not in statistics or bits > widths[0]:
                continue
            method = "min_max" if name in whole else precision.method(maker, bits)
            grid = Grid(bits, target.width(bits).symmetric)
            range_ = _range(statistics[name], method, grid, percentile)
            if name not in whole and bits <= CALIBRATED_BITS and not precision.is_asked(maker):
                kept = kept_db(statistics[name], range_, grid)
                least = _range(statistics[name], "mse", grid, percentile) if kept < GOOD_DB else range_
                better = kept_db(statistics[name], least, grid)
                if better >= kept + LEAST_GAIN_DB:
                    place = maker.place if maker is not None else name
                    notes.append((place, f"calibrated by mse, not {method}: keeps {better:.1f} dB, not {kept:.1f}"))
                    range_ = least
            factor = precision.headroom(maker, bits)
            low, high = range_[0] * factor, range_[1] * factor
            found[name, bits] = (max(low, -limit), min(high, limit)) if name in normalized else (low, high)
    extremes = {name: one.range for name, one in statistics.items()}
    ranges = masked_ranges(graph, bounded_ranges(graph, found), extremes) | dict(given)
    extremes |= {name: range_ for (name, _), range_ in given.items()}
    return {"ranges": ranges, "extremes": extremes, "range_notes": tuple(notes)}


def output_values(graph: Graph) -> frozenset[str]:
    """Graph outputs, and the values that reach one through ops that move elements, or through a softmax.

    The user compares their elements: clipping would make the greatest ones equal.
    """
    found = set(graph.returned)
    for node in reversed(graph.nodes):
        passes_on = kind_of(graph, node) is Kind.MOVE or isinstance(node.op, (Softmax, LogSoftmax))
        if passes_on and found.intersection(node.results):
            found.update(activations(graph, node))
    return frozenset(found)


def bounded_ranges(graph: Graph, ranges: Mapping[Held, Range]) -> dict[Held, Range]:
    """The ranges, each cut to the bounds of its value for any input, such as a clip's ends or a sigmoid's 0 and 1."""
    bounds = value_bounds(graph)
    return {held: (max(low, bounds[held[0]][0]), min(high, bounds[held[0]][1])) for held, (low, high) in ranges.items()}


def kept_db(statistics: Statistics, range_: Range, grid: Grid) -> float:
    """The SQNR of a value's elements on a grid over a range, each element at the centre of its histogram's cell."""
    histogram = Histogram.of(statistics, grid.symmetric)
    low, high = (0.0 if grid.symmetric else range_[0] / histogram.width), range_[1] / histogram.width
    noise = float(squared_errors(histogram, np.asarray([low]), np.asarray([high]), grid)[0])
    signal = float((histogram.counts * np.square(histogram.centres / histogram.width)).sum())
    return 10 * math.log10(signal / noise) if noise > 0 < signal else math.inf


def _range(statistics: Statistics, method: str, grid: Grid, percentile: float) -> Range:
    return threshold(statistics, method, bits=grid.bits, symmetric=grid.symmetric, percentile=percentile)
