"""Bias correction: the mean error of rounded weights per output channel is subtracted from the bias."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

import numpy as np

from npuq.ir import Builder, Graph, Node, Op, PassError, TensorType, rewrite
from npuq.ir.ops.conv import Conv, ConvTranspose
from npuq.ir.ops.quant import Dequantize, to_float64

from ..canonical.affine import bias_of
from ..conditions import is_float
from ..lowering.plan import EVERYWHERE, Channels, weighted_nodes
from ..pipeline import FOUND, graph_pass
from ..precision import Precisions
from ..quantize.insert_fake_quant import Ranges, insert_fake_quant
from ..quantize.scale_file import ScaleFile
from ..target import Target

Means = Mapping[Channels, np.ndarray]


@graph_pass("correct-bias", requires=(is_float,))
def correct_bias(
    graph: Graph,
    *,
    ranges: Ranges | ScaleFile = FOUND,
    means: Means = FOUND,
    target: Target = FOUND,
    precision: Precisions = EVERYWHERE,
) -> Graph:
    """Subtract from every bias the mean error of its output channel that the rounded weights will cause.

    The mean error of a sum of products is the error of its weights times the mean of its input, (W - Wq) E[x] (Nagel
    et al., Data-free quantization through weight equalization and bias correction, 2019, section 4.2), with one mean
    per channel, E[x] in `means`, and zeros for padding. The other options are those of `insert_fake_quant`, which
    rounds the weights. Nodes without a bias get one. Raises PassError where a mean is missing.
    """
    rounded = insert_fake_quant(ranges=ranges, target=target, precision=precision)(graph)
    inputs = weighted_nodes(graph, target, precision)

    def correct(builder: Builder, node: Node, operands: tuple[str, ...]) -> str | None:
        channels = inputs.get(node.result) if len(node.results) == 1 else None
        if channels is None:
            return None
        if channels not in means:
            raise PassError(f"{node.place}: no mean of %{channels[0]} along axis {channels[1]}; calibrate first")
        weights = graph.constants[node.operands[1]].array
        dequantize = rounded.producers[rounded.producers[node.result].operands[1]]
        assert isinstance(dequantize.op, Dequantize)
        known = to_float64(rounded.constants[dequantize.operands[0]].array, dequantize.op.quant)
        error = weights.astype(np.float64) - known
        shift = expected(node.op, graph.types[node.operands[0]], node.type, means[channels], error)
        bias = (bias_of(graph, node, len(shift)) + shift).astype(node.type.dtype.numpy)
        named = builder.constant(bias, f"{node.result}.bias")
        return builder.add(node.op, *operands[:2], named, name=node.result, loc=node.loc)

    return rewrite(graph, correct)


def expected(op: Op, x: TensorType, y: TensorType, means: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The mean result per channel, f64[channels], of an input that is equal to its channel's mean everywhere."""
    if not isinstance(op, (Conv, ConvTranspose)):
        return np.asarray(means @ weights)
    axes = range(weights.ndim - 2)
    shares = reduce(np.multiply.outer, [_shares(op, axis, x, y, weights.shape[axis + 2]) for axis in axes])
    sums = (weights * shares).sum(axis=tuple(axis + 2 for axis in axes))
    grouped = means.reshape(op.groups, -1)
    per_group = sums.reshape(op.groups, -1, sums.shape[1])
    axes_of = "gi,goi->go" if isinstance(op, Conv) else "gi,gio->go"
    return np.asarray(np.einsum(axes_of, grouped, per_group)).reshape(-1)


def _shares(op: Conv | ConvTranspose, axis: int, x: TensorType, y: TensorType, width: int) -> np.ndarray:
    """For each tap of a window along a spatial axis, the share of results for which it is not on padding."""
    size, results = x.shape[axis + 2], y.shape[axis + 2]
    steps, reached = (results, size) if isinstance(op, Conv) else (size, results)
    taps = np.arange(width)[:, None] * op.dilation[axis] - op.padding[axis][0]
    at = np.arange(steps) * op.stride[axis] + taps
    return np.asarray(((at >= 0) & (at < reached)).sum(axis=1) / results)
