"""Proofs of accumulators: each integer op learns the interval that its sums cannot leave."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from npuq.ir import Builder, Graph, Node, NpuqError, rewrite
from npuq.ir.arithmetic import within

from ..intervals import accumulator_needed, value_bounds
from ..pipeline import FOUND, graph_pass
from ..precision import width_of
from ..target import Target


@graph_pass("prove-accumulators")
def prove_accumulators(graph: Graph, *, target: Target = FOUND) -> Graph:
    """Record in every accumulating op the least interval that interval analysis proves for its partial sums.

    The simulator picks its arithmetic from that interval. Raises an error where the target's accumulator is too narrow.
    """
    known = value_bounds(graph)

    def prove(builder: Builder, node: Node, operands: tuple[str, ...]) -> tuple[str, ...] | None:
        needed = accumulator_needed(graph, node, known)
        if needed is None:
            return None
        op: Any = node.op
        width = width_of(graph, node, target)
        if not op.sums_have_64_bits and not within(needed, width.accumulator_range):
            raise NpuqError(
                f"{node.place}: {node.op.name}: sums of {list(needed)} leave the accumulator of "
                f"{width.accumulator_bits} bits; use a target with a wider one, or split the layer"
            )
        return builder.copy(replace(node, op=replace(op, accumulator=needed)), operands)

    return rewrite(graph, prove)
