"""Making a report: everything measured on a few samples, put beside scales, statistics and costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from npuq import __version__
from npuq.backends.edge import simulator
from npuq.backends.npu import Program
from npuq.backends.npu.cost import Cost
from npuq.compare import Difference, Pair, Progress, differences, runs
from npuq.ir import DType, Graph, Node, Quantization, TensorType, evaluate
from npuq.passes.lower_to_integer import Lowered
from npuq.passes.lowering.context import Emitted, order
from npuq.passes.samples import Sample
from npuq.passes.statistics import Observed, Statistics
from npuq.sides import GraphSide

from .contents import Agreement, Details, Layer, Report, Tensor

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
    progress: Progress = lambda count: None,
) -> Report:
    """Measure every quantized value on `samples` and put it beside its cost; `repairs` were made before lowering."""
    notes = tuple(dict.fromkeys((*repairs, *lowered.notes)))
    pairs = [
        Pair(name, place.name, _order(float_graph, name, place))
        for name, place in lowered.values.items()
        if name in float_graph.producers and place.name in lowered.graph.producers
    ]
    errors = {row.name: row for row in _measured(float_graph, lowered.graph, pairs, samples, progress)}
    cost = program.cost()
    return Report(
        graph=float_graph.name,
        target=program.target.name,
        method=method,
        samples=statistics.samples,
        measured=len(samples),
        layers=_layers(float_graph, lowered, errors, {row.name: row for row in cost.rows}, notes),
        outputs={
            name: errors[value].accumulated.sqnr_db if value in errors else None
            for name, value in float_graph.outputs.items()
        },
        agreement=agreement(float_graph, lowered.graph, samples),
        macs=cost.macs,
        cycles=cost.cycles,
        milliseconds=cost.milliseconds,
        program_bytes=len(program.bytes),
        arena_bytes=cost.arena_bytes,
        constant_bytes=cost.constant_bytes,
        host_segments=tuple(f"{node.place}: {node.op.name}: {node.host}" for node in lowered.graph.nodes if node.host),
        repairs=notes,
        program_hash=program.hash,
        graph_digest=statistics.graph_digest,
        data_digest=statistics.data_digest,
        npuq=__version__,
        details=Details(
            tuple(_tensors(float_graph, lowered, statistics)), cost.rows, program.plan, program.target.sram_bytes
        ),
    )


def _measured(
    float_graph: Graph, integer_graph: Graph, pairs: Sequence[Pair], samples: Sequence[Sample], progress: Progress
) -> list[Difference]:
    named = [dict(zip(float_graph.inputs, sample, strict=True)) for sample in samples]
    given = runs(float_graph, integer_graph, named)
    return differences(GraphSide(float_graph), GraphSide(integer_graph), pairs, given, alone=True, progress=progress)


def agreement(float_graph: Graph, integer_graph: Graph, samples: Sequence[Sample]) -> dict[str, Agreement]:
    """How often the greatest number of a row is the same, for every float output [rows, classes] of two or more."""
    names = [
        name
        for name, value in float_graph.outputs.items()
        if (type_ := float_graph.types[value]).dtype.is_float and type_.rank == 2 and type_.shape[1] > 1
    ]
    if not names:
        return {}
    reference = evaluate(float_graph, [float_graph.outputs[name] for name in names])
    integers = simulator(integer_graph)
    places = [list(integer_graph.outputs).index(name) for name in names]
    equal = dict.fromkeys(names, 0)
    for sample in samples:
        given = integers(*sample)
        for name, place, wanted in zip(names, places, reference(*sample), strict=True):
            equal[name] += int((np.asarray(wanted).argmax(1) == given[place].argmax(1)).sum())
    shapes = {name: float_graph.types[float_graph.outputs[name]].shape for name in names}
    return {name: Agreement(equal[name], shape[0] * len(samples), shape[1]) for name, shape in shapes.items()}


def _order(graph: Graph, name: str, place: Emitted) -> tuple[int, ...]:
    rank = graph.types[name].rank
    return order(rank, last=True) if place.last else tuple(range(rank))


def _layers(
    float_graph: Graph,
    lowered: Lowered,
    errors: Mapping[str, Difference],
    costs: Mapping[str, Cost],
    repairs: Sequence[tuple[str, str]],
) -> tuple[Layer, ...]:
    notes: dict[str, list[str]] = {}
    for place, note in repairs:
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
        sqnr_db=error.accumulated.sqnr_db if error else None,
        own_sqnr_db=error.alone.sqnr_db if error and error.alone else None,
        cosine=(error.accumulated.cosine - 50) / 50 if error else None,
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
