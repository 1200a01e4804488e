"""The per-layer report: where each layer runs, at what scale, how far it is from float, and what it costs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from npuq.backends.edge import to_edge
from npuq.backends.npu import Program
from npuq.backends.npu.cost import Cost
from npuq.ir import Graph, Node, evaluate
from npuq.passes.lower_to_integer import Lowered
from npuq.passes.lowering.context import order
from npuq.passes.samples import Sample


@dataclass(frozen=True)
class Layer:
    """One quantized value of the network.

    `sqnr_db` is 10 log10(signal / noise) of the integers, scaled, against the float network, errors of all layers
    before it included: infinite where they are equal, None where not measured. `cycles` come from the target's
    data sheet numbers, not from a machine.
    """

    name: str
    op: str
    place: str
    where: str
    reason: str
    scale: float | None
    zero_point: int | None
    shape: tuple[int, ...]
    sqnr_db: float | None
    cosine: float | None
    macs: int
    bytes: int
    cycles: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """All layers in the order of execution, and the totals."""

    graph: str
    target: str
    method: str
    samples: int
    layers: tuple[Layer, ...]
    outputs: Mapping[str, float | None]
    macs: int
    cycles: int
    host_segments: tuple[str, ...]
    program_hash: str

    @property
    def worst_first(self) -> tuple[Layer, ...]:
        """The layers by rising SQNR; what was not measured comes last."""
        return tuple(sorted(self.layers, key=lambda layer: math.inf if layer.sqnr_db is None else layer.sqnr_db))

    def to_json(self) -> str:
        """The report as JSON with an infinite SQNR as null, always the same text for the same report."""
        return json.dumps(_finite(asdict(self)), indent=2, sort_keys=False) + "\n"


def make_report(
    float_graph: Graph, lowered: Lowered, program: Program, samples: Sequence[Sample], *, method: str, count: int
) -> Report:
    """Measure every quantized value on `samples` and put it beside its cost."""
    errors = measure(float_graph, lowered, samples)
    costs = {row.name: row for row in program.cost().rows}
    notes: dict[str, list[str]] = {}
    for place, note in lowered.notes:
        notes.setdefault(place, []).append(note)
    layers = tuple(
        _layer(node, float_graph, lowered, errors, costs, notes)
        for node in lowered.graph.nodes
        if node.results[0] in errors or node.host
    )
    hosts = tuple(f"{node.place}: {node.op.name}: {node.host}" for node in lowered.graph.nodes if node.host)
    returned = {name: errors[value][0] if value in errors else None for name, value in float_graph.outputs.items()}
    totals = program.cost()
    return Report(
        float_graph.name,
        program.target.name,
        method,
        count,
        layers,
        returned,
        totals.macs,
        totals.cycles,
        hosts,
        program.hash,
    )


def measure(float_graph: Graph, lowered: Lowered, samples: Sequence[Sample]) -> dict[str, tuple[float, float]]:
    """(SQNR in dB, cosine) of every quantized value, by its float name, over all samples together."""
    names = [name for name in lowered.values if name in float_graph.types]
    places = [lowered.values[name] for name in names]
    reference = evaluate(float_graph, names)
    integer = evaluate(lowered.graph, [place.name for place in places])
    sums = np.zeros((len(names), 4))
    for sample in samples:
        wanted = reference(*sample)
        given = integer(*to_edge(lowered.graph, sample)[0])
        for row, place, real, integers in zip(sums, places, wanted, given, strict=True):
            type_ = lowered.graph.types[place.name]
            assert type_.quant is not None
            values = (np.asarray(integers, np.float64) - type_.quant.zero_point) * type_.quant.scale
            if place.last:
                values = values.transpose(order(type_.rank, last=False))
            exact = np.asarray(real, np.float64)
            noise = exact - values
            row += (np.vdot(exact, exact), np.vdot(noise, noise), np.vdot(exact, values), np.vdot(values, values))
    return {name: _ratios(*row) for name, row in zip(names, sums.tolist(), strict=True)}


def _layer(
    node: Node,
    float_graph: Graph,
    lowered: Lowered,
    errors: Mapping[str, tuple[float, float]],
    costs: Mapping[str, Cost],
    notes: Mapping[str, list[str]],
) -> Layer:
    name, type_ = node.results[0], node.types[0]
    maker = float_graph.producers.get(name)
    sqnr, cosine = errors.get(name, (None, None))
    cost = costs.get(name)
    return Layer(
        name=name,
        op=maker.op.name if maker is not None else node.op.name,
        place=node.place,
        where="host" if node.host else "npu",
        reason=node.host,
        scale=type_.quant.scale if type_.quant else None,
        zero_point=type_.quant.zero_point if type_.quant else None,
        shape=float_graph.types[name].shape if name in float_graph.types else type_.shape,
        sqnr_db=sqnr,
        cosine=cosine,
        macs=cost.macs if cost else 0,
        bytes=cost.bytes if cost else 0,
        cycles=cost.cycles if cost else 0,
        notes=tuple(notes.get(node.place, ())),
    )


def _ratios(signal: float, noise: float, product: float, norm: float) -> tuple[float, float]:
    """SQNR in dB and cosine; two zero tensors are equal."""
    if noise == 0:
        return math.inf, 1.0
    if signal == 0:
        return -math.inf, 0.0
    return 10 * math.log10(signal / noise), product / math.sqrt(signal * norm) if norm else 0.0


def _finite(value: Any) -> Any:
    """The value as JSON can hold it."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value if not isinstance(value, float) or math.isfinite(value) else None
