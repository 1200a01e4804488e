"""Making a report: measures on a few samples beside scales, statistics and costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from npuq import __version__
from npuq.backends.npu import Program
from npuq.backends.npu.cost import Cost
from npuq.comparison.compare import Difference, Pair, Progress, differences, runs
from npuq.comparison.measures import Measures
from npuq.comparison.sides import GraphSide
from npuq.ir import DType, Graph, Node, Quantization
from npuq.ir.ops.npu.result import Integer
from npuq.passes.calibration.masked_ranges import masked_values
from npuq.passes.calibration.samples import Sample
from npuq.passes.calibration.statistics import Observed, Statistics
from npuq.passes.lowering.context import Emitted, order
from npuq.passes.lowering.lower_to_integer import Lowered

from . import wide
from .contents import Agreement, Details, Layer, Tensor
from .report import Report

CELLS = 96
"""The most cells of a histogram in the report."""


def make_report(
    float_graph: Graph,
    lowered: Lowered,
    program: Program,
    samples: Sequence[Sample],
    *,
    method: str,
    statistics: Observed,
    repairs: Sequence[tuple[str, str]] = (),
    wide_ranges: Sequence[tuple[str, str]] = (),
    could_equalize: bool = False,
    notes: Sequence[str] = (),
    progress: Progress = lambda count: None,
) -> Report:
    """Measure every quantized value on `samples` and put it beside its cost.

    `repairs` were made before lowering; `wide_ranges` are values calibrated by another than the default method;
    `could_equalize`: more effort would equalize channels; `notes` are on the network as a whole.
    """
    repairs = tuple(dict.fromkeys((*repairs, *lowered.repairs)))
    pairs = _pairs(float_graph, lowered, statistics)
    counts = _Agreements(float_graph, pairs)
    named = [dict(zip(float_graph.inputs, sample, strict=True)) for sample in samples]
    sides, inputs = (GraphSide(float_graph), GraphSide(lowered.graph)), runs(float_graph, lowered.graph, named)
    found = differences(*sides, pairs, inputs, alone=True, tap=counts.add, progress=progress)
    errors = {row.name: row for row in found}
    cost = program.cost()
    costs = {row.name: row for row in cost.rows}
    layer_notes = (*repairs, *dict.fromkeys(lowered.tables), *wide_ranges)
    layers = tuple(_layers(float_graph, lowered, errors, costs, layer_notes))
    named_wide = wide.wide_ranges(float_graph, layers, statistics, program.target, could_equalize)
    return Report(
        graph=float_graph.name,
        target=program.target.name,
        method=method,
        samples=statistics.samples,
        measured=len(samples),
        layers=layers,
        outputs={
            name: _sqnr(errors[value].accumulated) if value in errors else None
            for name, value in float_graph.outputs.items()
        },
        agreement=counts.found,
        macs=cost.macs,
        cycles=cost.cycles,
        milliseconds=cost.milliseconds,
        program_bytes=len(program.bytes),
        arena_bytes=cost.arena_bytes,
        constant_bytes=cost.constant_bytes,
        host_segments=tuple(f"{node.place}: {node.op.name}: {node.host}" for node in lowered.graph.nodes if node.host),
        repairs=repairs,
        notes=(*notes, *_warnings(float_graph, lowered, statistics)),
        wide_ranges=(*wide_ranges, *named_wide),
        program_hash=program.hash,
        graph_digest=statistics.graph_digest,
        data_digest=statistics.data_digest,
        npuq=__version__,
        details=Details(
            tuple(_tensors(float_graph, lowered, statistics)), cost.rows, program.plan, program.target.sram_bytes
        ),
    )


def _warnings(graph: Graph, lowered: Lowered, statistics: Observed) -> Iterator[str]:
    """Reasons why all figures of the report mean little."""
    if not any(isinstance(node.op, Integer) for node in lowered.graph.nodes):
        yield "nothing in it became integers; what it computes runs in float on the host"
    for name in graph.inputs:
        if name in statistics and statistics[name].minimum == statistics[name].maximum == 0:
            yield f"input {name!r} is zero in all {statistics.samples} samples; calibrate with data that are typical"


def _pairs(float_graph: Graph, lowered: Lowered, statistics: Observed) -> list[Pair]:
    """The quantized values, and the outputs of host layers.

    Numbers of masked values below their least integer count as that integer: a softmax makes the same of both.
    """
    known, integers, types = float_graph.producers, lowered.graph.producers, lowered.graph.types
    bits = {name: types[place.name].dtype.bits for name, place in lowered.values.items()}
    masked = masked_values(float_graph, bits, {name: values.range for name, values in statistics.items()})

    def least(name: str, place: Emitted) -> float | None:
        quant = types[place.name].quant
        return _reach(types[place.name].dtype, quant)[0] if name in masked and quant is not None else None

    pairs = {
        name: Pair(name, place.name, _order(float_graph.types[name].rank, place), least(name, place))
        for name, place in lowered.values.items()
        if name in known and place.name in integers
    }
    for output, name in float_graph.outputs.items():
        value, type_ = lowered.graph.outputs[output], float_graph.types[name]
        if name not in pairs and name in known and value in integers and type_.dtype.is_float:
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


def _order(rank: int, place: Emitted) -> tuple[int, ...]:
    return order(rank, last=True) if place.last else tuple(range(rank))


def _sqnr(measures: Measures) -> float | None:
    """None where no sample was measured."""
    return measures.sqnr_db if measures.elements else None


def _layers(
    float_graph: Graph,
    lowered: Lowered,
    errors: Mapping[str, Difference],
    costs: Mapping[str, Cost],
    notes: Sequence[tuple[str, str]],
) -> Iterator[Layer]:
    notes_at: dict[str, list[str]] = {}
    for place, note in notes:
        notes_at.setdefault(place, []).append(note)
    names = {place.name: name for name, place in lowered.values.items()}
    for node in lowered.graph.nodes:
        name = names.get(node.results[0], node.results[0])
        if node.host or (name in errors and node.results[0] in names):
            own = notes_at.get(node.place, ())
            yield _layer(node, name, float_graph, errors.get(name), costs.get(node.results[0]), own)


def _layer(
    node: Node, name: str, float_graph: Graph, error: Difference | None, cost: Cost | None, notes: Sequence[str]
) -> Layer:
    type_, producer = node.types[0], float_graph.producers.get(name)
    return Layer(
        name=name,
        op=(producer or node).op.name,
        place=node.place,
        where="host" if node.host else "npu",
        reason=node.host,
        dtype=str(type_.dtype),
        scale=type_.quant.scale if type_.quant else None,
        zero_point=type_.quant.zero_point if type_.quant else None,
        shape=float_graph.types[name].shape if name in float_graph.types else type_.shape,
        sqnr_db=_sqnr(error.accumulated) if error else None,
        own_sqnr_db=_sqnr(error.alone) if error and error.alone else None,
        cosine=(error.accumulated.cosine - 50) / 50 if error and error.accumulated.elements else None,
        macs=cost.macs if cost else 0,
        bytes=cost.bytes if cost else 0,
        cycles=cost.cycles if cost else 0,
        notes=tuple(notes),
    )


def _tensors(float_graph: Graph, lowered: Lowered, statistics: Observed) -> Iterator[Tensor]:
    """The observed values that became integers, in the order of calibration."""
    for name, place in lowered.values.items():
        type_ = lowered.graph.types[place.name]
        quant = type_.quant
        if name not in statistics or quant is None:
            continue
        values, producer = statistics[name], float_graph.producers.get(name)
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
