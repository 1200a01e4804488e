"""Equalization: factors in weights and tables bring the channels of a value to like ranges."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from npuq.ir import Builder, Graph, Node, Op, PassError, rewrite
from npuq.ir.ops.activation import Clip, Gelu, HardSigmoid, HardSwish, Mish, Sigmoid, Silu, Tanh
from npuq.ir.ops.conv import Conv, ConvTranspose
from npuq.ir.ops.elementwise import Mul

from ..calibration.channel_sums import ChannelSums
from ..calibration.observe import observe_channels
from ..calibration.samples import Source, read
from ..canonical.affine import along
from ..conditions import is_float
from ..lowering.plan import EVERYWHERE, Channels, plan_of
from ..pipeline import FOUND, Result, graph_pass
from ..precision import Precision, Precisions
from ..target import Target
from .channel_ties import channel_ties
from .equalization_factors import Seen, choose_factors

EQUALIZED_BITS = 8
"""Equalization helps up to this width; wider activations have steps enough."""

LIMITS: Mapping[type[Op], tuple[float, float]] = {
    HardSwish: (-3.0, math.inf),
    Sigmoid: (-8.0, 8.0),
    Tanh: (-4.0, 4.0),
    Silu: (-9.0, math.inf),
    Mish: (-9.0, math.inf),
    Gelu: (-4.0, math.inf),
}
"""The range outside which a function is constant up to 0.0014, a quarter of a step of 8 bits from 0 to 1."""


@graph_pass("equalize", requires=(is_float,), gives=("precision",))
def equalize(
    graph: Graph,
    *,
    channels: Mapping[Channels, ChannelSums] = FOUND,
    target: Target = FOUND,
    precision: Precisions = EVERYWHERE,
) -> Result:
    """Divide channels by factors that bring them to like ranges, and multiply their readers by the same.

    Cross-layer equalization (Nagel et al., Data-free quantization through weight equalization and bias correction,
    2019, section 4.1), with measured ranges, and through any pointwise function, whose table becomes one per channel.
    After a normalization it is the migration of SmoothQuant (Xiao et al., 2023). The factors are those of a small set
    with the least noise. `channels` holds the statistics of the values that `equalizable` returns.

    The graph computes the same up to float rounding, except that the operand of a function that saturates is clipped at
    the calibrated range. A value `v` with factors is named `v.equalized`. Nodes that are added around a node have its
    precision; values without a method use mse.
    """
    foreign = next((name for name, _ in channels if name not in graph.types), None)
    if foreign is not None:
        raise PassError(f"{graph.name}: no %{foreign}, channels of another graph; run collect-channels right before")
    ties = channel_ties(graph, target, precision)
    seen = {name: _seen(graph, name, found) for (name, _), found in channels.items()}
    factors = choose_factors(graph, ties, seen, target.width(target.default_bits))

    def scale(builder: Builder, node: Node, operands: tuple[str, ...]) -> str | None:
        if not any(name in factors for name in (*node.operands, *node.results)):
            return None
        after = factors.get(node.result)
        name = node.result if after is None else f"{node.result}.equalized"
        if node.result in ties.weighted:
            arrays = zip(_reweighted(graph, node, factors), (f"{node.result}.w", f"{node.result}.b"), strict=False)
            constants = [builder.constant(one.astype(node.type.dtype.numpy), called) for one, called in arrays]
            return builder.add(node.op, operands[0], *constants, name=name, loc=node.loc)
        if node.result in ties.normalized and after is not None:
            divided = [graph.constants[one].array / after for one in node.operands[1:]]
            constants = [builder.constant(one.astype(node.type.dtype.numpy), f"{name}.factors") for one in divided]
            return builder.add(node.op, operands[0], *constants, name=name, loc=node.loc)
        if node.result not in ties.tables:
            return builder.add(node.op, *operands, name=name, loc=node.loc)
        restored = list(operands)
        for index, operand in enumerate(node.operands):
            if operand in factors:
                limit = float((seen[operand].peaks / factors[operand]).max())
                cut = _cut(builder, node, operands[index], limit) if _clamps(graph, operand) else operands[index]
                restored[index] = _times(builder, cut, factors[operand], node, f"{operand}.restored")
        inner = builder.add(node.op, *restored, name=node.result, loc=node.loc)
        return inner if after is None else _times(builder, inner, 1.0 / after, node, name)

    result = rewrite(graph, scale)
    nodes = inherited(precision.nodes, graph, result)
    return Result(result, {"precision": replace(precision, nodes=nodes, narrow="mse")})


@graph_pass("collect-channels", requires=(is_float,), analyzes=True, gives=("channels",))
def collect_channels(
    graph: Graph,
    *,
    data: Source = FOUND,
    target: Target = FOUND,
    precision: Precisions = EVERYWHERE,
    progress: Callable[[int], None] | None = None,
) -> Mapping[str, Any]:
    """Collect the statistics per channel that `equalize` reads from the calibration set."""
    wanted = equalizable(graph, target, precision)
    found = observe_channels(graph, read(graph, data), wanted, progress=progress) if wanted else {}
    return {"channels": found}


def equalizable(graph: Graph, target: Target, precision: Precisions = EVERYWHERE) -> tuple[Channels, ...]:
    """The values, with the axes of their channels, whose statistics `equalize` reads."""
    ties, plan = channel_ties(graph, target, precision), plan_of(graph, target, precision)
    return tuple((value, axis) for value, axis in ties.axes.items() if value in plan.held)


def by_source(precision: Mapping[str, Precision], source: Graph) -> dict[str, Precision]:
    """The precision by the names of the graph before its equalization, from names of either graph."""
    found: dict[str, Precision] = {}
    for name, one in precision.items():
        stem = name.partition(".equalized")[0]
        if name in source.producers or not name.endswith((".equalized", ".cut", ".restored")):
            found[name] = one
        elif name == f"{stem}.equalized" and stem in source.producers:
            found.setdefault(stem, one)
    return found


def inherited(precision: Mapping[str, Precision], before: Graph, after: Graph) -> dict[str, Precision]:
    """The precision of an equalized graph's nodes: nodes that equalization added around a node have its precision."""
    found = dict(precision)
    for node in reversed(after.nodes):
        name = node.results[0]
        user = after.only_user(name)
        if name in before.producers or name in found:
            continue
        source = name.partition(".equalized")[0] if ".equalized" in name else user.results[0] if user else name
        if source in found:
            found[name] = found[source]
    return {name: one for name, one in found.items() if name in after.producers or name not in before.producers}


def _seen(graph: Graph, name: str, found: ChannelSums) -> Seen:
    """The statistics of a value, clipped to the range in which its only reader is not constant."""
    user = graph.only_user(name)
    low, high = (-math.inf, math.inf) if user is None else _saturation(user.op)

    def magnitudes(lows: np.ndarray, highs: np.ndarray) -> np.ndarray:
        ends = (np.abs(np.clip(one.astype(np.float64), low, high)) for one in (lows, highs))
        return np.maximum(*ends)

    peaks, usual = magnitudes(found.lows, found.highs), magnitudes(*found.mean_extremes())
    return Seen(peaks, usual, found.mean_squares(), found.samples, found.elements // found.samples)


def _saturation(op: Op) -> tuple[float, float]:
    """The range outside which the function is constant at 8 bits."""
    if isinstance(op, HardSigmoid):
        ends = (-op.beta / op.alpha, (1 - op.beta) / op.alpha) if op.alpha else (0.0, 0.0)
        return min(ends), max(ends)
    return LIMITS.get(type(op), (-math.inf, math.inf))


def _clamps(graph: Graph, name: str) -> bool:
    """Whether a convolution makes the value, so that a clamp after it is free, and a single function reads it."""
    producer = graph.producers.get(name)
    return graph.only_user(name) is not None and producer is not None and isinstance(producer.op, (Conv, ConvTranspose))


def _cut(builder: Builder, node: Node, x: str, limit: float) -> str:
    """The operand of a saturating function, clipped at `limit`."""
    low, high = _saturation(node.op)
    if math.isinf(low) and math.isinf(high):
        return x
    clip = Clip(low=-math.inf if math.isinf(low) else -limit, high=math.inf if math.isinf(high) else limit)
    return builder.add(clip, x, name=f"{x}.cut", loc=node.loc)


def _times(builder: Builder, x: str, factors: np.ndarray, node: Node, name: str) -> str:
    shaped = factors.reshape(1, -1, *(1,) * (node.type.rank - 2))
    constant = builder.constant(shaped.astype(node.type.dtype.numpy), f"{name}.factors")
    return builder.add(Mul(), x, constant, name=name, loc=node.loc)


def _reweighted(graph: Graph, node: Node, factors: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """A node's weights, with its input's factors multiplied back in, and bias, both divided by its result's."""
    weights, *bias = (graph.constants[name].array.astype(np.float64) for name in node.operands[1:])
    if node.operands[0] in factors:
        weights = weights * along(node, weights, factors[node.operands[0]], of_result=False)
    if node.result not in factors:
        return [weights, *bias]
    after = factors[node.result]
    return [weights / along(node, weights, after, of_result=True), *(one / after for one in bias)]
