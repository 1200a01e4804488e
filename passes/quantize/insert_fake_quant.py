"""Fake-quant insertion: explicit quantize/dequantize pairs where the target will hold integers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from npuq.ir import Builder, DType, Graph, Node, PassError, Quantization, rewrite
from npuq.ir.ops.npu.norm import WIDE_BITS
from npuq.ir.ops.quant import Dequantize, Quantize, to_integers

from ..conditions import is_float
from ..lowering import LOWERINGS, Kind, activations
from ..lowering.plan import EVERYWHERE, Held, Plan, plan_of
from ..lowering.reduction import softmax_quantization
from ..lowering.registry import is_weight
from ..pipeline import FOUND, READERS, Result, graph_pass
from ..precision import Precisions
from ..scales import LEAST_SCALE, Range, activation_quantization, extremes_of, representable, weight_quantization
from ..target import Target, Width, weight_range
from .repair_scales import Quants, repair_scales
from .scale_file import ScaleFile, given_scales
from .scale_groups import Port, parts_apart, scale_groups, unify
from .visible_ranges import visible_range

Ranges = Mapping[str, Range] | Mapping[Held, Range]
"""Calibrated (low, high) by value or, where a value is held at several widths, by (value, bits)."""

READERS[Ranges | ScaleFile] = ("scale file", ScaleFile.load)


@graph_pass("insert-fake-quant", requires=(is_float,), gives=("scales",))
def insert_fake_quant(
    graph: Graph,
    *,
    ranges: Ranges | ScaleFile = FOUND,
    target: Target = FOUND,
    precision: Precisions = EVERYWHERE,
) -> Result:
    """Put a quantize/dequantize pair behind every value that gets a scale, and integers in the place of weights.

    `ranges` holds the calibrated (low, high) of the values that `plan_of` names; in text it is a scale file. Values
    that move together share one scale. A second pair converts a value for users of another width. Nodes that run on
    the host are marked with the reason.
    """
    if isinstance(ranges, ScaleFile):
        held = plan_of(graph, target, precision).held
        ranges = given_scales(ranges.content, graph, target, held, ranges.place).ranges
    scales = choose_scales(graph, ranges, target, precision)
    return Result(scales.insert(), {"scales": scales})


def choose_scales(graph: Graph, ranges: Ranges, target: Target, precision: Precisions = EVERYWHERE) -> Scales:
    """The scales of all values, at each width that holds them, and of weights, repaired for the target's shifts."""
    plan = plan_of(graph, target, precision)
    groups = _groups(graph, plan, frozenset() if precision.unify_inputs else _apart(graph, plan, ranges, target))
    quants = _activation_quants(graph, plan, ranges, groups, target)
    weights, dtypes = dict[str, Quantization](), dict[str, DType]()
    for node in graph.nodes:
        if plan.of(node).kind is not Kind.COMPUTE:
            continue
        if any(is_weight(graph, node, index) for index in LOWERINGS[type(node.op)].weights):
            name = node.results[0]
            dtypes[name] = target.width(plan.bits[name]).weight_dtype(precision.weight_bits(node))
            weights[name] = weights_quantization(graph, node, dtypes[name], plan, quants, target)
    quants, notes = repair_scales(graph, plan, quants, weights, groups, target)
    return Scales(graph, plan, quants, weights, dtypes, target, notes)


def _apart(graph: Graph, plan: Plan, ranges: Ranges, target: Target) -> frozenset[Port]:
    """The operands of Concats that keep a scale of their own."""
    given: dict[object, Range] = {**dict(ranges.items())}
    scales = {}
    for name, (made, *_) in plan.held.items():
        range_ = _range(graph, given, {}, target, name, made, made)
        if range_ is not None and any(range_):
            scales[name] = activation_quantization(range_, target.width(made)).scale
    return parts_apart(graph, scales)


def _groups(graph: Graph, plan: Plan, apart: frozenset[Port]) -> list[frozenset[Held]]:
    """The sets of two and more values, at one width, that share a scale."""
    found = []
    for group in scale_groups(graph, apart):
        held = [(name, bits) for name in group & plan.held.keys() for bits in plan.held[name]]
        for width in sorted({bits for _, bits in held}):
            alike = frozenset(one for one in held if one[1] == width)
            found += [alike] if len(alike) > 1 else []
    return found


def _activation_quants(
    graph: Graph, plan: Plan, ranges: Ranges, groups: list[frozenset[Held]], target: Target
) -> Quants:
    """The quantization of every value at every width, the narrower ones first.

    At a wider width than that of its op, a value has the range of its narrower integers, which have no finer steps.
    """
    grouped = frozenset[Held]().union(*groups)
    given: dict[object, Range] = {**dict(ranges.items())}
    quants: Quants = {}
    for width in sorted(target.widths, key=lambda width: width.bits):
        every = {
            (name, width.bits): _range(graph, given, quants, target, name, width.bits, held[0])
            for name, held in plan.held.items()
            if width.bits in held
        }
        missing = [name for (name, _), range_ in every.items() if range_ is None]
        if missing:
            names = ", ".join("%" + name for name in missing[:5])
            raise PassError(f"{graph.name}: no range for {names}; calibrate first")
        known = {held: range_ for held, range_ in every.items() if range_ is not None}
        shared = unify(known, [group for group in groups if next(iter(group))[1] == width.bits])
        quants.update({held: activation_quantization(range_, width) for held, range_ in shared.items()})
        for node in graph.nodes:
            held = (node.results[0], width.bits)
            made = plan.held.get(node.results[0], (0,))[0] == width.bits
            if node.op.name == "softmax" and made and held not in grouped:
                quants[held] = softmax_quantization(width)
        for name, bits in every.keys() - grouped:
            if name in graph.constants:
                seen = visible_range(graph, plan, name, known[name, bits], quants, width)
                quants[name, bits] = activation_quantization(seen, width)
    return quants


def _range(
    graph: Graph, given: Mapping[object, Range], quants: Quants, target: Target, name: str, bits: int, made: int
) -> Range | None:
    """The range of a value at a width; None if it has not been calibrated."""
    if name in graph.constants:
        return extremes_of(graph.constants[name].array)
    if made < bits:
        return representable(quants[name, made], target.width(made))
    return given.get((name, bits), given.get(name))


def weights_quantization(
    graph: Graph, node: Node, dtype: DType, plan: Plan, quants: Quants, target: Target
) -> Quantization:
    """Scales of a node's weights, per output channel if the target supports it, wide enough for its bias.

    A bias takes no more than half of what the accumulator holds: bias <= 2^(bits - 2) * x scale * weight scale.
    """
    lowering = LOWERINGS[type(node.op)]
    ((index, channels),) = lowering.weights.items()
    weights = graph.constants[node.operands[index]].array
    axis = channels if target.weight_granularity == "channel" else None
    least: np.ndarray | float = 0.0
    if lowering.bias is not None and len(node.operands) > lowering.bias:
        width = target.width(plan.bits[node.results[0]])
        x_scale = quants[node.operands[0], width.bits].scale
        bias = np.abs(graph.constants[node.operands[lowering.bias]].array.astype(np.float64))
        least = bias / (x_scale * float(1 << (min(width.bias_bits, width.accumulator_bits) - 2)))
        least = np.asarray([least.max()]) if axis is None else least.reshape(-1, weights.shape[axis]).max(0)
    return weight_quantization(weights, axis, dtype, least=least)


def bias_quantization(weights: Quantization, x_scale: float, count: int) -> Quantization:
    """The scales of `count` biases, those of the sums: input scale times weight scale."""
    repeats = count // len(weights.scales) if weights.axis is not None else count
    products = (x_scale * np.tile(np.asarray(weights.scales), repeats)).astype(np.float32)
    return Quantization(tuple(np.maximum(products, np.float32(LEAST_SCALE)).tolist()), (0,) * count, 0)


@dataclass(frozen=True)
class Scales:
    """The quantization of every value, at each width, and of every weight; `insert` writes it into the graph.

    `biases` has those that a model stores as integers at the scales of the sums, by the results of their nodes.
    """

    graph: Graph
    plan: Plan
    quants: Quants
    weight_quants: Mapping[str, Quantization]
    weight_dtypes: Mapping[str, DType]
    target: Target
    notes: tuple[tuple[str, str], ...]
    biases: Mapping[str, np.ndarray] = field(default_factory=dict)

    def insert(self) -> Graph:
        """The fake-quant graph."""
        return _Insertion(self).run()


class _Insertion:
    """One run of `Scales.insert`: `converted` has the values at widths that they are not made at, by old name."""

    def __init__(self, scales: Scales) -> None:
        self.scales, self.graph, self.plan, self.target = scales, scales.graph, scales.plan, scales.target
        self.quants = scales.quants
        self.converted: dict[Held, str] = {}

    def run(self) -> Graph:
        return rewrite(self.graph, self.node, entry=self.entry)

    def entry(self, builder: Builder, name: str) -> str:
        """Quantize a graph input; nothing clamps the integers that a user feeds, so they may be all of their type."""
        return self.pairs(builder, name, name, "", whole=True) if name in self.plan.held else name

    def node(self, builder: Builder, node: Node, operands: tuple[str, ...]) -> tuple[str, ...]:
        """Copy the node over quantized operands, and quantize its results."""
        role = self.plan.of(node)
        if role.kind is Kind.HOST:
            return self.results(builder, node, builder.copy(replace(node, host=role.reason), operands))
        lowering = LOWERINGS[type(node.op)]
        width = self.target.width(self.plan.bits[node.results[0]])
        data = activations(self.graph, node)
        chosen = list(operands)
        for index, operand in enumerate(node.operands):
            if operand in data:
                if operand in self.graph.constants:
                    chosen[index] = self.constant(builder, operand, width)
                else:
                    chosen[index] = self.converted.get((operand, width.bits), chosen[index])
            elif index in lowering.weights:
                chosen[index] = self.weights(builder, node, index)
            elif index == lowering.bias:
                chosen[index] = self.bias(builder, node, index, width)
        return self.results(builder, node, builder.copy(node, chosen))

    def results(self, builder: Builder, node: Node, results: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(
            self.pairs(builder, result, old, node.loc) if old in self.plan.held else result
            for old, result in zip(node.results, results, strict=True)
        )

    def pairs(self, builder: Builder, value: str, old: str, loc: str, *, whole: bool = False) -> str:
        """Quantize and dequantize a computed value, then once more for each other width; give the first."""
        made, *others = self.plan.held[old]
        width = self.target.width(made)
        first = self.pair(builder, value, old, width, "", loc, width.activation_dtype.range if whole else None)
        for bits in others:
            self.converted[old, bits] = self.pair(builder, first, old, self.target.width(bits), str(bits), loc)
        return first

    def pair(
        self,
        builder: Builder,
        value: str,
        old: str,
        width: Width,
        suffix: str,
        loc: str,
        limits: tuple[int, int] | None = None,
    ) -> str:
        """Quantize and dequantize a value at one width, or wider on its way into a normalization."""
        quant = self.quants[old, width.bits]
        low, high = limits or width.activation_range
        dtype = width.activation_dtype
        if old in self.plan.wide:
            finer = 1 << (WIDE_BITS - width.bits)
            quant = Quantization.per_tensor(quant.scale / finer, quant.zero_point * finer)
            dtype, low, high = DType.I32, low * finer, high * finer
        quantize = Quantize(scales=quant.scales, zero_points=quant.zero_points, dtype=dtype, low=low, high=high)
        integers = builder.add(quantize, value, name=f"{old}.q{suffix}", loc=loc)
        dequantize = Dequantize(scales=quant.scales, zero_points=quant.zero_points)
        return builder.add(dequantize, integers, name=f"{old}.dq{suffix}", loc=loc)

    def constant(self, builder: Builder, name: str, width: Width) -> str:
        """A known activation as integers of its own range."""
        array, quant = self.graph.constants[name].array, self.quants[name, width.bits]
        return self.known(builder, name, array, quant, width.activation_dtype, width.activation_range)

    def weights(self, builder: Builder, node: Node, index: int) -> str:
        """Weights as integers."""
        name, dtype = node.operands[index], self.scales.weight_dtypes[node.results[0]]
        array, quant = self.graph.constants[name].array, self.scales.weight_quants[node.results[0]]
        return self.known(builder, name, array, quant, dtype, weight_range(dtype))

    def bias(self, builder: Builder, node: Node, index: int, width: Width) -> str:
        """The bias as integers at the scale of the sums."""
        name, result, dtype = node.operands[index], node.results[0], width.bias_dtype
        array = self.graph.constants[name].array
        scale = self.quants[node.operands[0], width.bits].scale
        quant = bias_quantization(self.scales.weight_quants[result], scale, array.size)
        if result in self.scales.biases:
            return self.stored(builder, name, self.scales.biases[result].astype(dtype.numpy), quant)
        return self.known(builder, name, array, quant, dtype, dtype.range)

    def known(
        self,
        builder: Builder,
        name: str,
        array: np.ndarray,
        quant: Quantization,
        dtype: DType,
        limits: tuple[int, int],
    ) -> str:
        half_away = self.target.constant_rounding == "half_away"
        integers = to_integers(array.astype(np.float64), quant, *limits, half_away=half_away).astype(dtype.numpy)
        return self.stored(builder, name, integers, quant)

    def stored(self, builder: Builder, name: str, integers: np.ndarray, quant: Quantization) -> str:
        constant = builder.constant(integers, f"{name}.q", quant)
        dequantize = Dequantize(scales=quant.scales, zero_points=quant.zero_points, axis=quant.axis)
        return builder.add(dequantize, constant, name=f"{name}.dq")
