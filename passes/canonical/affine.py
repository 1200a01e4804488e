"""Per-channel affine functions beside the ops that hold weights: how they are read and how weights absorb them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from npuq.ir import Builder, Graph, Node, Op
from npuq.ir.ops.conv import Conv, ConvTranspose, MatMul


@dataclass(frozen=True, eq=False)
class Affine:
    """y = scale * x + offset, a float64 number of each per channel."""

    scale: np.ndarray
    offset: np.ndarray

    def then(self, after: Affine) -> Affine:
        """This one first, `after` on its result."""
        return Affine(self.scale * after.scale, self.offset * after.scale + after.offset)


Step = Callable[[Graph, Node, int], "tuple[Affine, str] | None"]
"""Reads a node as an affine function of one operand, with its channels on the given axis of the result."""


def run_of(graph: Graph, node: Node, axis: int, step: Step) -> tuple[Affine, str] | None:
    """The affine function of the longest run of steps that ends in `node`, and the value that enters it.

    Nothing but the next step reads a value inside the run.
    """
    found = step(graph, node, axis)
    while found is not None:
        affine, source = found
        before = graph.producers.get(source)
        earlier = step(graph, before, axis) if before is not None and graph.only_user(source) is not None else None
        if earlier is None:
            return affine, source
        found = earlier[0].then(affine), earlier[1]
    return None


def absorbed(graph: Graph, builder: Builder, node: Node, renamed: Mapping[str, str], step: Step) -> str | None:
    """Append the op before the run of steps that ends in `node` with weights that hold the run too.

    Gives the name of the result, or None where there is no such op with constant weights, or where something else
    reads what it computes. Weights are computed in float64 and rounded once.
    """
    for axis in dict.fromkeys((1, node.type.rank - 1)):
        found = run_of(graph, node, axis, step) if 0 <= axis < node.type.rank else None
        if found is None:
            continue
        affine, source = found
        made = graph.producers.get(source)
        if made is None or graph.only_user(source) is None or result_axis(graph, made) != axis:
            continue
        weights = graph.constants[made.operands[1]].array.astype(np.float64)
        bias = bias_of(graph, made, len(affine.scale)) * affine.scale + affine.offset
        return with_weights(
            builder, made, renamed[made.operands[0]], weights * _per_result(made.op, weights, affine.scale), bias, node
        )
    return None


def result_axis(graph: Graph, node: Node) -> int | None:
    """The axis of the result on which constant weights have their channels; None for ops without such weights."""
    if any(operand not in graph.constants for operand in node.operands[1:]):
        return None
    if isinstance(node.op, (Conv, ConvTranspose)):
        return 1
    if isinstance(node.op, MatMul) and graph.types[node.operands[1]].rank >= 2 and node.type.rank >= 2:
        return node.type.rank - 1
    return None


def bias_of(graph: Graph, node: Node, channels: int) -> np.ndarray:
    """The bias in float64, zeros where the node has none."""
    if len(node.operands) < 3:
        return np.zeros(channels)
    return graph.constants[node.operands[2]].array.astype(np.float64)


def with_weights(
    builder: Builder, node: Node, x: str, weights: np.ndarray, bias: np.ndarray, named: Node, op: Op | None = None
) -> str:
    """Append `node` (with another `op`, if given) over `x` with new weights, under the result's name of `named`."""
    dtype = named.type.dtype.numpy
    stem = named.result
    operands = [x, builder.constant(weights.astype(dtype), f"{stem}.w")]
    if len(node.operands) > 2 or bool(np.any(bias)):
        operands.append(builder.constant(bias.astype(dtype), f"{stem}.b"))
    return builder.add(op or node.op, *operands, name=stem, loc=node.loc)


def _per_result(op: Op, weights: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """One number per result channel, shaped to multiply the weights."""
    window = (1,) * (weights.ndim - 2)
    match op:
        case Conv():
            return scale.reshape(-1, 1, *window)
        case ConvTranspose(groups=groups):
            grouped = np.repeat(scale.reshape(groups, -1), weights.shape[0] // groups, axis=0)
            return grouped.reshape(*grouped.shape, *window)
    return scale
