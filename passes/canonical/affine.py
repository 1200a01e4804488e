"""Per-channel affine functions next to ops with weights, and their fusion into the weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from npuq.ir import Builder, Graph, Node, Op, rewrite
from npuq.ir.ops.conv import Conv, ConvTranspose, MatMul


@dataclass(frozen=True, eq=False)
class Affine:
    """y = scale * x + offset, f64[channels] each."""

    scale: np.ndarray
    offset: np.ndarray

    def then(self, after: Affine) -> Affine:
        """`after` of this function."""
        return Affine(self.scale * after.scale, self.offset * after.scale + after.offset)


Step = Callable[[Graph, Node, int], "tuple[Affine, str] | None"]
"""Reads a node as an affine function of one operand, with its channels on the given axis of the result."""


@dataclass(frozen=True, eq=False)
class Runs:
    """The runs of steps in a graph; each node is looked at once."""

    graph: Graph
    step: Step
    _known: dict[tuple[str, int], tuple[Affine, str] | None] = field(default_factory=dict)

    def ending_in(self, node: Node, axis: int) -> tuple[Affine, str] | None:
        """The affine function of the longest run that ends in `node`, and what enters it; nothing else reads inside."""
        run: tuple[Affine, str] | None = None
        steps: list[tuple[tuple[str, int], Affine, str]] = []
        before: Node | None = node
        while before is not None:
            key = before.results[0], axis
            if key in self._known:
                run = self._known[key]
                break
            found = self._known[key] = self.step(self.graph, before, axis)
            if found is None:
                break
            steps.append((key, *found))
            alone = self.graph.only_user(found[1]) is not None
            before = self.graph.producers.get(found[1]) if alone else None
        for key, affine, source in reversed(steps):
            run = self._known[key] = (affine, source) if run is None else (run[0].then(affine), run[1])
        return run


def into_previous(graph: Graph, step: Step, ops: tuple[type[Op], ...]) -> Graph:
    """Fold every run of steps that ends in one of `ops` into the constant weights of the op before it, in float64.

    Nothing else may read that op's result.
    """
    runs = Runs(graph, step)

    def fuse(builder: Builder, node: Node, operands: tuple[str, ...]) -> str | None:
        if not isinstance(node.op, ops):
            return None
        for axis in dict.fromkeys((1, node.type.rank - 1)):
            found = runs.ending_in(node, axis) if 0 <= axis < node.type.rank else None
            if found is None:
                continue
            affine, source = found
            made = graph.producers.get(source)
            if made is None or graph.only_user(source) is None or result_axis(graph, made) != axis:
                continue
            weights = graph.constants[made.operands[1]].array.astype(np.float64)
            bias = bias_of(graph, made, len(affine.scale)) * affine.scale + affine.offset
            scaled = weights * along(made, weights, affine.scale, of_result=True)
            return with_weights(builder, made, builder.renamed[made.operands[0]], scaled, bias, node)
        return None

    return rewrite(graph, fuse)


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


def with_weights(builder: Builder, node: Node, x: str, weights: np.ndarray, bias: np.ndarray, named: Node) -> str:
    """Append `node` over `x` with new weights, under the result's name of `named`."""
    dtype, stem = named.type.dtype.numpy, named.result
    operands = [x, builder.constant(weights.astype(dtype), f"{stem}.w")]
    if len(node.operands) > 2 or bool(np.any(bias)):
        operands.append(builder.constant(bias.astype(dtype), f"{stem}.b"))
    return builder.add(node.op, *operands, name=stem, loc=node.loc)


def along(node: Node, weights: np.ndarray, values: np.ndarray, *, of_result: bool) -> np.ndarray:
    """One number per channel of a node's result, or else of its input, shaped to multiply the weights."""
    op, window = node.op, (1,) * (weights.ndim - 2)
    if not isinstance(op, (Conv, ConvTranspose)):
        return values if of_result else values.reshape(-1, 1)
    if isinstance(op, Conv) is of_result:
        return values.reshape(-1, 1, *window)
    grouped = np.repeat(values.reshape(op.groups, -1), len(weights) // op.groups, axis=0)
    return grouped.reshape(*grouped.shape, *window)
