"""Making a report: measures on a few samples beside scales, statistics and costs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from npuq import __version__
from npuq.backends.npu.cost import Cost
from npuq.comparison.compare import Difference, Pair, Progress, differences, runs
from npuq.comparison.sides import GraphSide
from npuq.ir import DType, Graph, Quantization
from npuq.ir.ops.npu.result import Integer
from npuq.passes.calibration.masked_ranges import masked_values
from npuq.passes.calibration.statistics import Statistics
from npuq.passes.lowering import Kind, kind_of
from npuq.passes.lowering.context import Emitted, order

from ..report.report import Agreement, Details, Layer, Report, Tensor

if TYPE_CHECKING:
    from .quantized import Quantized

CELLS = 96
"""The most cells of a histogram in the report."""

LEAST_DECIBELS = 20.0
"""A layer that keeps fewer dB on exact operands is named: a tenth of its result is noise."""


def make_report(network: Quantized, progress: Progress) -> Report:
    """Measure every quantized value on the network's samples and put it beside its cost."""
    exact, lowered, program, statistics = network.float_graph, network.lowered, network.program, network.statistics
    repairs = tuple(dict.fromkeys((*network.scaled.notes, *lowered.repairs)))
    pairs = _pairs(network)
    counts = _Agreements(exact, pairs)
    samples = [dict(zip(exact.inputs, sample, strict=True)) for sample in network.samples]
    sides, inputs = (GraphSide(exact), GraphSide(lowered.graph)), runs(exact, lowered.graph, samples)
    found = differences(*sides, pairs, inputs, alone=True, tap=counts.add, progress=progress)
    errors, cost = {row.name: row for row in found}, program.cost()
    notes = (*repairs, *dict.fromkeys(lowered.tables), *network.wide_ranges)
    layers = tuple(_layers(network, errors, {row.name: row for row in cost.rows}, notes))
    return Report(
        graph=exact.name,
        target=program.target.name,
        method=network.method,
        samples=statistics.samples,
        measured=len(samples),
        layers=layers,
        outputs={name: _sqnr(errors.get(value)) for name, value in exact.outputs.items()},
        agreement=counts.found,
        macs=cost.macs,
        cycles=cost.cycles,
        milliseconds=cost.milliseconds,
        program_bytes=len(program.bytes),
        arena_bytes=cost.arena_bytes,
        constant_bytes=cost.constant_bytes,
        host_segments=tuple(f"{node.place}: {node.op.name}: {node.host}" for node in lowered.graph.nodes if node.host),
        repairs=repairs,
        notes=(*network.notes, *_warnings(network)),
        wide_ranges=(*network.wide_ranges, *_wide_ranges(network, layers)),
        program_hash=program.hash,
        graph_digest=statistics.graph_digest,
        data_digest=statistics.data_digest,
        npuq=__version__,
        details=Details(tuple(_tensors(network)), cost.rows, program.plan, program.target.sram_bytes),
    )


def _warnings(network: Quantized) -> Iterator[str]:
    """Reasons why the figures of the report are not reliable."""
    if not any(isinstance(node.op, Integer) for node in network.graph.nodes):
        yield "nothing in it became integers; what it computes runs in float on the host"
    statistics = network.statistics
    for name in network.float_graph.inputs:
        if name in statistics and statistics[name].minimum == statistics[name].maximum == 0:
            yield f"input {name!r} is zero in all {statistics.samples} samples; calibrate with data that are typical"


def _pairs(network: Quantized) -> list[Pair]:
    """The quantized values, and the outputs of host layers.

    Numbers of masked values below their least integer count as that integer: a softmax makes the same of both.
    """
    exact, integers, values = network.float_graph, network.graph, network.lowered.values
    bits = {name: integers.types[place.name].dtype.bits for name, place in values.items()}
    masked = masked_values(exact, bits, {name: seen.range for name, seen in network.statistics.items()})

    def pair(name: str, place: Emitted) -> Pair:
        rank, type_ = exact.types[name].rank, integers.types[place.name]
        axes = order(rank, last=True) if place.last else tuple(range(rank))
        least = _reach(type_.dtype, type_.quant)[0] if name in masked and type_.quant else None
        return Pair(name, place.name, axes, least)

    pairs = {
        name: pair(name, place)
        for name, place in values.items()
        if name in exact.producers and place.name in integers.producers
    }
    for output, name in exact.outputs.items():
        value, type_ = integers.outputs[output], exact.types[name]
        if name not in pairs and name in exact.producers and value in integers.producers and type_.dtype.is_float:
            pairs[name] = Pair(name, value, tuple(range(type_.rank)))
    return list(pairs.values())


class _Agreements:
    """Counts the rows with the same greatest number, for every output [rows, classes] of two or more classes."""

    def __init__(self, graph: Graph, pairs: Sequence[Pair]) -> None:
        places = {pair.name: index for index, pair in enumerate(pairs)}
        self.places = {
            output: places[name]
            for output, name in graph.outputs.items()
            if name in places and graph.types[name].rank == 2 and graph.types[name].shape[1] > 1
        }
        self.found: dict[str, Agreement] = {}

    def add(self, exact: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> None:
        for output, place in self.places.items():
            one, other = exact[place], found[place]
            before = self.found.get(output, Agreement(0, 0, one.shape[1]))
            equal = before.equal + int((one.argmax(1) == other.argmax(1)).sum())
            self.found[output] = Agreement(equal, before.rows + len(one), one.shape[1])


def _sqnr(error: Difference | None) -> float | None:
    """The SQNR of a layer; None where no sample was measured."""
    return error.accumulated.sqnr_db if error and error.accumulated.elements else None


def _layers(
    network: Quantized, errors: Mapping[str, Difference], costs: Mapping[str, Cost], notes: Iterable[tuple[str, str]]
) -> Iterator[Layer]:
    """The quantized layers and those on the host, in the order of execution."""
    notes_at: dict[str, list[str]] = {}
    for place, note in notes:
        notes_at.setdefault(place, []).append(note)
    exact = network.float_graph
    names = {place.name: name for name, place in network.lowered.values.items()}
    for node in network.graph.nodes:
        name, type_ = names.get(node.results[0], node.results[0]), node.types[0]
        error, cost = errors.get(name), costs.get(node.results[0])
        if not node.host and (error is None or node.results[0] not in names):
            continue
        yield Layer(
            name=name,
            op=exact.producers.get(name, node).op.name,
            place=node.place,
            where="host" if node.host else "npu",
            reason=node.host,
            dtype=str(type_.dtype),
            scale=type_.quant.scale if type_.quant else None,
            zero_point=type_.quant.zero_point if type_.quant else None,
            shape=exact.types.get(name, type_).shape,
            sqnr_db=_sqnr(error),
            own_sqnr_db=error.alone.sqnr_db if error and error.alone and error.alone.elements else None,
            cosine=(error.accumulated.cosine - 50) / 50 if error and error.accumulated.elements else None,
            macs=cost.macs if cost else 0,
            bytes=cost.bytes if cost else 0,
            cycles=cost.cycles if cost else 0,
            notes=tuple(notes_at.get(node.place, ())),
        )


def _wide_ranges(network: Quantized, layers: Iterable[Layer]) -> Iterator[tuple[str, str]]:
    """Give (place, cause and remedy) for every layer whose measured error alone is too great.

    The cause is the operand or result whose peak is the greatest multiple of its root mean square.
    """
    graph, statistics = network.float_graph, network.statistics
    widest = max(width.bits for width in network.target.widths)
    for layer in layers:
        node = graph.producers.get(layer.name)
        if node is None or kind_of(graph, node) in (Kind.HOST, Kind.MOVE):
            continue
        names = [name for name in (*node.operands, layer.name) if name in statistics]
        if layer.own_sqnr_db is None or layer.own_sqnr_db >= LEAST_DECIBELS or not names:
            continue
        name = max(names, key=lambda one: _crest(statistics[one]))
        remedies = ["effort=2 (equalized channels)"] if network.could_equalize else []
        if layer.dtype != f"i{widest}":
            remedies.append(f'{widest} bits, precision={{"{layer.name}": Precision({widest})}}')
        yield (
            layer.place,
            f"alone it keeps {layer.own_sqnr_db:z.1f} dB: %{name} reaches {_peak(statistics[name]):.3g}, "
            f"{_crest(statistics[name]):.0f} times its root mean square; {' or '.join(remedies) or 'nothing'} helps",
        )


def _tensors(network: Quantized) -> Iterator[Tensor]:
    """The observed values that became integers, in the order of calibration."""
    for name, place in network.lowered.values.items():
        type_ = network.graph.types[place.name]
        quant = type_.quant
        if name not in network.statistics or quant is None:
            continue
        values, producer = network.statistics[name], network.float_graph.producers.get(name)
        low, high = _reach(type_.dtype, quant)
        start, width, counts = _thinned(values, low, high)
        cells, half = np.arange(len(values.counts)) + values.first, quant.scale / 2
        outside = values.counts[(cells * values.width >= high + half) | ((cells + 1) * values.width <= low - half)]
        total = max(values.count, 1)
        yield Tensor(
            name=name,
            op=producer.op.name if producer else "input",
            type=str(type_.dtype),
            scale=quant.scale,
            low=low,
            high=high,
            minimum=values.minimum,
            maximum=values.maximum,
            elements=values.count,
            zeros=values.zeros / total,
            clipped=float(outside.sum()) / total,
            start=start,
            width=width,
            counts=counts,
        )


def _crest(statistics: Statistics) -> float:
    """The peak over the root mean square of a value's elements."""
    centres = (np.arange(len(statistics.counts)) + statistics.first + 0.5) * statistics.width
    square = float((statistics.counts * np.square(centres)).sum()) / max(statistics.count, 1)
    return _peak(statistics) / math.sqrt(square) if square > 0 else 0.0


def _peak(statistics: Statistics) -> float:
    return max(abs(statistics.minimum), abs(statistics.maximum))


def _reach(dtype: DType, quant: Quantization) -> tuple[float, float]:
    """The reals of the least and greatest integers; symmetric ones do not use their least."""
    least, greatest = dtype.range
    least = -greatest if quant.zero_point == 0 else least
    return (least - quant.zero_point) * quant.scale, (greatest - quant.zero_point) * quant.scale


def _thinned(values: Statistics, low: float, high: float) -> tuple[float, float, tuple[int, ...]]:
    """Start, cell width and counts of the elements other than zero, over all elements and the integers' range."""
    counts = values.counts.copy()
    counts[-values.first] -= min(values.zeros, int(counts[-values.first]))
    first = int(np.floor(min(values.minimum, max(low, 2 * values.minimum), 0.0) / values.width))
    last = int(np.ceil(max(values.maximum, min(high, 2 * values.maximum), 0.0) / values.width)) + 1
    step = -(-(last - first) // CELLS)
    cells = np.zeros(-(-(last - first) // step) * step, np.int64)
    part = counts[max(first - values.first, 0) : min(last - values.first, len(counts))]
    at = max(values.first - first, 0)
    cells[at : at + len(part)] = part
    return first * values.width, step * values.width, tuple(cells.reshape(-1, step).sum(1).tolist())
