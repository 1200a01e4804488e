"""Layers that lose much by themselves: the value whose range is too wide, and the remedy."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np

from npuq.ir import Graph
from npuq.passes.calibration.statistics import Observed, Statistics
from npuq.passes.lowering import Kind, kind_of
from npuq.passes.target import Target

from .contents import Layer

LEAST_DECIBELS = 20.0
"""A layer that keeps fewer dB on exact operands is named: a tenth of its result is noise."""


def wide_ranges(
    graph: Graph, layers: Iterable[Layer], statistics: Observed, target: Target, could_equalize: bool
) -> Iterator[tuple[str, str]]:
    """Give (place, cause and remedy) for every layer whose measured error alone is too great.

    The cause is the operand or result whose peak is the greatest multiple of its root mean square. `could_equalize`:
    more effort would equalize channels.
    """
    widest = max(width.bits for width in target.widths)
    for layer in layers:
        node = graph.producers.get(layer.name)
        if node is None or kind_of(graph, node) in (Kind.HOST, Kind.MOVE):
            continue
        names = [name for name in (*node.operands, layer.name) if name in statistics]
        if layer.own_sqnr_db is None or layer.own_sqnr_db >= LEAST_DECIBELS or not names:
            continue
        name = max(names, key=lambda one: crest(statistics[one]))
        remedies = ["effort=2 (equalized channels)"] if could_equalize else []
        if layer.dtype != f"i{widest}":
            remedies.append(f'{widest} bits, precision={{"{layer.name}": Precision({widest})}}')
        yield (
            layer.place,
            f"alone it keeps {layer.own_sqnr_db:z.1f} dB: %{name} reaches {_peak(statistics[name]):.3g}, "
            f"{crest(statistics[name]):.0f} times its root mean square; {' or '.join(remedies) or 'nothing'} helps",
        )


def crest(statistics: Statistics) -> float:
    """The peak over the root mean square of a value's elements."""
    centres = (np.arange(len(statistics.counts)) + statistics.first + 0.5) * statistics.width
    square = float((statistics.counts * np.square(centres)).sum()) / max(statistics.count, 1)
    return _peak(statistics) / math.sqrt(square) if square > 0 else 0.0


def _peak(statistics: Statistics) -> float:
    return max(abs(statistics.minimum), abs(statistics.maximum))
