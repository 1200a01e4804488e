"""Making a report: everything measured on a few samples, put beside scales, statistics and costs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from npuq import __version__
from npuq.backends.npu import Program
from npuq.backends.npu.cost import Cost
from npuq.comparison.compare import Difference, Pair, Progress, differences, runs
from npuq.comparison.measures import Measures
from npuq.comparison.sides import GraphSide
from npuq.ir import DType, Graph, Node, Quantization, TensorType
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

    `repairs` were made before lowering; `wide_ranges` are values that were calibrated by another than the default
    method; `could_equalize` tells that more effort would equalize channels; `notes` are on the network as a whole.
    """
    repairs = tuple(dict.fromkeys((*repairs, *lowered.repairs)))
    pairs = _pairs(float_graph, lowered, statistics)
    counts = _Agreements(float_graph, pairs)
    named = [dict(zip(float_graph.inputs, sample, strict=True)) for sample in samples]
    sides, given = (GraphSide(float_graph), GraphSide(lowered.graph)), runs(float_graph, lowered.graph, named)
    found = differences(*sides, pairs, given, alone=True, see=counts.see, progress=progress)
    errors = {row.name: row for row in found}
    cost = program.cost()
    costs = {row.name: row for row in cost.rows}
    layers = _layers(float_graph, lowered, errors, costs, (*repairs, *dict.fromkeys(lowered.tables), *wide_ranges))
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
    """What makes all figures worth little."""
    if not any(node.op.name.startswith("npu.") for node in lowered.graph.nodes):
        yield "nothing in it became integers; what it computes runs in float on the host"
    for name in graph.inputs:
        if name in statistics and statistics[name].minimum == statistics[name].maximum == 0:
            yield f"input {name!r} is zero in all {statistics.samples} samples; calibrate with data that are typical"


def _pairs(float_graph: Graph, lowered: Lowered, statistics: Observed) -> list[Pair]:
    """The quantized values, and the outputs that the host makes; of masked ones what lies beyond their integers is one.

    A softmax sees no more of it, so it is no error.
    """
    known, integers, types = float_graph.producers, lowered.graph.producers, lowered.graph.types
    bits = {name: types[place.name].dtype.bits for name, place in lowered.values.items()}
    masked = masked_values(float_graph, bits, {name: seen.range for name, seen in statistics.items()})

    def least(name: str, place: Emitted) -> float:
        quant = types[place.name].quant
        return _reach(types[place.name].dtype, quant)[0] if name in masked and quant is not None else -math.inf

    pairs = {
        name: Pair(name, place.name, _order(float_graph, name, place), least(name, place))
        for name, place in lowered.values.items()
        if name in known and place.name in integers
    }
    for output, name in float_graph.outputs.items():
        value, type_ = lowered.graph.outputs[output], float_graph.types[name]
        if name not in pairs and name in known and value in integers and type_.dtype.is_float:
            pairs[name] = Pair(name, value, tuple(range(type_.rank)))
    return list(pairs.values())


class _Agreements:
    """Counts how often the greatest number of a row is the same, for every output [rows, classes] of two or more."""

    def __init__(self, graph: Graph, pairs: Sequence[Pair]) -> None:
        places = {pair.name: index for index, pair in enumerate(pairs)}
        self.places = {
            output: places[name]
            for output, name in graph.outputs.items()
            if name in places and graph.types[name].rank == 2 and graph.types[name].shape[1] > 1
        }
        self.found: dict[str, Agreement] = {}

    def see(self, exact: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> None:
        for output, place in self.places.items():
            one, other = exact[place], found[place]
            before = self.found.get(output, Agreement(0, 0, one.shape[1]))
            equal = before.equal + int((one.argmax(1) == other.argmax(1)).sum())
            self.found[output] = Agreement(equal, before.rows + len(one), one.shape[1])


def _sqnr(measures: Measures) -> float | None:
    """None where no sample was measured."""
    return measures.sqnr_db if measures.elements else None


def _order(graph: Graph, name: str, place: Emitted) -> tuple[int, ...]:
    rank = graph.types[name].rank
    return order(rank, last=True) if place.last else tuple(range(rank))


def _layers(
    float_graph: Graph,
    lowered: Lowered,
    errors: Mapping[str, Difference],
    costs: Mapping[str, Cost],
    told: Sequence[tuple[str, str]],
) -> tuple[Layer, ...]:
    notes: dict[str, list[str]] = {}
    for place, note in told:
        notes.setdefault(place, []).append(note)
    places = {place.name: name for name, place in lowered.values.items()}
    return tuple(
        _layer(node, places.get(node.results[0], node.results[0]), float_graph, errors, costs, notes)
        for node in lowered.graph.nodes
        if places.get(node.results[0]) in errors or node.host
    )


def _layer(
    node: Node,
    name: str,
    float_graph: Graph,
    errors: Mapping[str, Difference],
    costs: Mapping[str, Cost],
    notes: Mapping[str, list[str]],
) -> Layer:
    type_, maker = node.types[0], float_graph.producers.get(name)
    error, cost = errors.get(name), costs.get(node.results[0])
    return Layer(
        name=name,
        op=maker.op.name if maker is not None else node.op.name,
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
        notes=tuple(notes.get(node.place, ())),
    )


def _tensors(float_graph: Graph, lowered: Lowered, statistics: Observed) -> list[Tensor]:
    """The observed values that became integers, in the order of calibration."""
    found = []
    for name, place in lowered.values.items():
        type_ = lowered.graph.types[place.name]
        if name in statistics and type_.quant is not None:
            maker = float_graph.producers.get(name)
            found.append(_tensor(name, maker.op.name if maker else "input", type_, type_.quant, statistics[name]))
    return found


def _tensor(name: str, op: str, type_: TensorType, quant: Quantization, seen: Statistics) -> Tensor:
    low, high = _reach(type_.dtype, quant)
    start, width, counts = _thinned(seen, low, high)
    cells = np.arange(len(seen.counts)) + seen.first
    half = quant.scale / 2
    outside = seen.counts[(cells * seen.width >= high + half) | ((cells + 1) * seen.width <= low - half)]
    total = max(seen.count, 1)
    return Tensor(
        name=name,
        op=op,
        type=str(type_.dtype),
        scale=quant.scale,
        low=low,
        high=high,
        minimum=seen.minimum,
        maximum=seen.maximum,
        elements=seen.count,
        zeros=seen.zeros / total,
        clipped=float(outside.sum()) / total,
        start=start,
        width=width,
        counts=counts,
    )


def _reach(dtype: DType, quant: Quantization) -> tuple[float, float]:
    """The reals that integers reach; symmetric ones leave their least integer out."""
    least, greatest = dtype.range
    least = -greatest if quant.zero_point == 0 else least
    return (least - quant.zero_point) * quant.scale, (greatest - quant.zero_point) * quant.scale


def _thinned(seen: Statistics, low: float, high: float) -> tuple[float, float, tuple[int, ...]]:
    """Start, cell width and counts of the elements other than zero, over what was seen and what is reached."""
    counts = seen.counts.copy()
    counts[-seen.first] -= min(seen.zeros, int(counts[-seen.first]))
    first = int(np.floor(min(seen.minimum, max(low, 2 * seen.minimum), 0.0) / seen.width))
    last = int(np.ceil(max(seen.maximum, min(high, 2 * seen.maximum), 0.0) / seen.width)) + 1
    step = -(-(last - first) // CELLS)
    cells = np.zeros(-(-(last - first) // step) * step, np.int64)
    inside = slice(max(first - seen.first, 0), min(last - seen.first, len(counts)))
    part = counts[inside]
    at = max(seen.first - first, 0)
    cells[at : at + len(part)] = part
    return first * seen.width, step * seen.width, tuple(cells.reshape(-1, step).sum(1).tolist())
