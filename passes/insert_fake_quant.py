"""Fake-quant insertion: explicit quantize/dequantize pairs where the target will hold integers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from npuq.ir import Builder, DType, Graph, Node, PassError, Quantization, rewrite
from npuq.ir.ops.quant import Dequantize, Quantize, to_integers

from .lowering import LOWERINGS, Kind, activations
from .lowering.reduction import softmax_quantization
from .lowering.registry import is_weight
from .pipeline import graph_pass
from .repair_scales import repair_scales
from .roles import Plan, plan
from .scales import LEAST, Range, activation_quantization, weight_quantization
from .target import Target
from .unify_concat_scales import scale_groups, unify

Ranges = Mapping[str, Range]


@graph_pass("insert-fake-quant")
def insert_fake_quant(graph: Graph, *, ranges: Ranges, target: Target) -> Graph:
    """Put a quantize/dequantize pair behind every value that gets a scale, and integers in the place of weights.

    `ranges` holds the calibrated (low, high) of the values that `roles.plan` names; values that move together share
    one scale. Nodes that stay on the host are marked with the reason.
    """
    return choose_scales(graph, ranges, target).insert()


def observed_values(graph: Graph, target: Target) -> tuple[str, ...]:
    """The computed values whose ranges `insert_fake_quant` wants, in order."""
    return tuple(name for name in plan(graph, target).quantized if name not in graph.constants)


def choose_scales(graph: Graph, ranges: Ranges, target: Target) -> Scales:
    """The scales of all values and weights, repaired where the target's shifts ask for it."""
    where = plan(graph, target)
    known = {name: (float(array.min()), float(array.max())) for name, array in _arrays(graph, where) if array.size}
    missing = [name for name in where.quantized if name not in ranges and name not in known]
    if missing:
        raise PassError(f"{graph.name}: no range for {', '.join('%' + name for name in missing[:5])}; calibrate first")
    every = {name: ranges.get(name, known.get(name, (0.0, 0.0))) for name in where.quantized}
    groups = [frozenset(group & every.keys()) for group in scale_groups(graph)]
    groups = [group for group in groups if len(group) > 1]
    quants = {name: activation_quantization(range_, target) for name, range_ in unify(every, groups).items()}
    grouped = frozenset[str]().union(*groups)
    for node in graph.nodes:
        if node.op.name == "softmax" and node.results[0] in quants and node.results[0] not in grouped:
            quants[node.results[0]] = softmax_quantization(target)
    weights = {
        node.results[0]: _weight_quantization(graph, node, quants[node.operands[0]].scale, target)
        for node in graph.nodes
        if where.of(node).kind is Kind.COMPUTE
        and any(is_weight(graph, node, i) for i in LOWERINGS[type(node.op)].weights)
    }
    quants, notes = repair_scales(graph, where, quants, weights, groups, target)
    return Scales(graph, where, quants, weights, target, notes)


def _weight_quantization(graph: Graph, node: Node, x_scale: float, target: Target) -> Quantization:
    """Scales of a node's weights, per output channel where the target has that, wide enough for its bias.

    A bias takes no more than half its width: bias <= 2^(bits - 2) * x scale * weight scale.
    """
    lowering = LOWERINGS[type(node.op)]
    ((index, channels),) = lowering.weights.items()
    weights = graph.constants[node.operands[index]].array
    axis = channels if target.weight_granularity == "channel" else None
    least: np.ndarray | float = 0.0
    if lowering.bias is not None and len(node.operands) > lowering.bias:
        bias = np.abs(graph.constants[node.operands[lowering.bias]].array.astype(np.float64))
        least = bias / (x_scale * float(1 << (target.bias_bits - 2)))
        least = np.asarray([least.max()]) if axis is None else least.reshape(-1, weights.shape[axis]).max(0)
    return weight_quantization(weights, axis, target, least=least)


def _arrays(graph: Graph, where: Plan) -> list[tuple[str, np.ndarray]]:
    return [(name, graph.constants[name].array) for name in where.quantized if name in graph.constants]


@dataclass(frozen=True)
class Scales:
    """What every value and weight is quantized to; `insert` writes it into the graph."""

    graph: Graph
    where: Plan
    quants: Mapping[str, Quantization]
    weight_quants: Mapping[str, Quantization]
    target: Target
    notes: tuple[tuple[str, str], ...]

    def insert(self) -> Graph:
        """The fake-quant graph."""
        return rewrite(self.graph, self.node, entry=self.entry)

    def entry(self, builder: Builder, name: str) -> str:
        """Quantize a graph input at once, so that all its users read the same numbers.

        Nothing clamps what a user feeds to an integer input, so it takes all integers of its type.
        """
        return (
            self.pair(builder, name, name, limits=self.target.activation_dtype.range) if name in self.quants else name
        )

    def node(self, builder: Builder, node: Node, operands: tuple[str, ...]) -> tuple[str, ...]:
        """Copy the node over quantized operands, and quantize its results."""
        role = self.where.of(node)
        if role.kind is Kind.HOST:
            return self.results(builder, node, builder.copy(replace(node, host=role.reason), operands))
        lowering = LOWERINGS[type(node.op)]
        data = activations(self.graph, node)
        chosen = list(operands)
        for index, operand in enumerate(node.operands):
            if operand in data:
                if operand in self.graph.constants:
                    chosen[index] = self.constant(builder, operand, self.quants[operand])
            elif index in lowering.weights:
                chosen[index] = self.weights(builder, node, index)
            elif index == lowering.bias:
                chosen[index] = self.bias(builder, node, index)
        return self.results(builder, node, builder.copy(node, chosen))

    def results(self, builder: Builder, node: Node, results: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(
            self.pair(builder, result, old, node.loc) if old in self.quants else result
            for old, result in zip(node.results, results, strict=True)
        )

    def pair(self, builder: Builder, value: str, old: str, loc: str = "", limits: tuple[int, int] | None = None) -> str:
        """Quantize and dequantize a computed value."""
        quant = self.quants[old]
        low, high = limits or self.target.activation_range
        quantize = Quantize(
            scales=quant.scales, zero_points=quant.zero_points, dtype=self.target.activation_dtype, low=low, high=high
        )
        integers = builder.add(quantize, value, name=f"{old}.q", loc=loc)
        dequantize = Dequantize(scales=quant.scales, zero_points=quant.zero_points)
        return builder.add(dequantize, integers, name=f"{old}.dq", loc=loc)

    def constant(self, builder: Builder, name: str, quant: Quantization) -> str:
        """A known activation as integers of its own range."""
        array = self.graph.constants[name].array
        return self.known(builder, name, array, quant, self.target.activation_dtype, self.target.activation_range)

    def weights(self, builder: Builder, node: Node, index: int) -> str:
        """Weights as integers."""
        name = node.operands[index]
        array, quant = self.graph.constants[name].array, self.weight_quants[node.results[0]]
        return self.known(builder, name, array, quant, self.target.weight_dtype, self.target.weight_range)

    def bias(self, builder: Builder, node: Node, index: int) -> str:
        """The bias as integers at the scale of the sums, input scale times weight scale."""
        weight = self.weight_quants[node.results[0]]
        scale = self.quants[node.operands[0]].scale
        array = self.graph.constants[node.operands[index]].array
        repeats = array.size // len(weight.scales) if weight.axis is not None else array.size
        scales = tuple(
            max(float(np.float32(scale * one)), LEAST) for one in np.tile(np.asarray(weight.scales), repeats)
        )
        quant = Quantization(scales, (0,) * len(scales), 0)
        dtype = DType.I32 if self.target.bias_bits == 32 else DType.I64
        return self.known(builder, node.operands[index], array, quant, dtype, dtype.range)

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
        constant = builder.constant(integers, f"{name}.q", quant)
        dequantize = Dequantize(scales=quant.scales, zero_points=quant.zero_points, axis=quant.axis)
        return builder.add(dequantize, constant, name=f"{name}.dq")
