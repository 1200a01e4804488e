"""Repair of result scales that a target's shifts cannot reach."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np

from npuq.ir import Graph, Node, PassError, Quantization
from npuq.ir.arithmetic import MULTIPLIERS
from npuq.ir.ops.elementwise import Add, Sub

from ..lowering import LOWERINGS, Kind, activations
from ..lowering.plan import Held, Plan
from ..target import Target

Quants = dict[Held, Quantization]


def repair_scales(
    graph: Graph,
    plan: Plan,
    quants: Quants,
    weights: Mapping[str, Quantization],
    groups: Collection[frozenset[Held]],
    target: Target,
) -> tuple[Quants, tuple[tuple[str, str], ...]]:
    """Raise the scales of results whose factor exceeds that of the target's least shift; give the scales and notes.

    A result scale s_y must exceed s_x * s_w (or the op's own gain) over the greatest factor M / 2^s; sums and
    rescalings, which may shift their operands left first, reach further. Values of one scale are repaired together;
    this repeats until all scales fit. Raises PassError if a repair would turn all integers of a nonzero value into 0.
    """
    shared = {held: group for group in groups for held in group}
    given, quants, notes = quants, dict(quants), []
    changed = True
    while changed:
        changed = False
        for node in graph.nodes:
            bits = plan.bits[node.results[0]]
            name = _quantized_result(graph, node, plan)
            if name is None or plan.of(node).kind not in (Kind.COMPUTE, Kind.MOVE):
                continue
            rescales = plan.of(node).kind is Kind.MOVE or isinstance(node.op, (Add, Sub))
            gain = _rescaled_gain(graph, node, quants, bits) if rescales else _gain(graph, node, quants, bits, weights)
            shift = (target.rescale_shift_range if rescales else target.shift_range)[0]
            least = gain * 2.0**shift / MULTIPLIERS[1]
            old = quants[name, bits]
            if least <= old.scale:
                continue
            raised = float(np.nextafter(np.float32(least), np.float32(np.inf)))
            for member in shared.get((name, bits), frozenset({(name, bits)})) & quants.keys():
                _check_signal(node, member, raised, given[member], target, shift)
                quants[member] = replace(quants[member], scales=(raised,))
            notes.append((node.place, f"scale raised from {old.scale:.3g} to {raised:.3g}, so that its shift fits"))
            changed = True
    return quants, tuple(notes)


def _check_signal(node: Node, held: Held, raised: float, given: Quantization, target: Target, least_shift: int) -> None:
    """Half a step of the raised scale is still less than the value's greatest magnitude."""
    name, bits = held
    low, high = target.width(bits).activation_range
    peak = given.scale * max(high - given.zero_point, given.zero_point - low)
    if raised > 2 * peak:
        raise PassError(
            f"{node.place}: {node.op.name}: %{name} reaches {peak:.3g}, less than half of the step {raised:.3g} that "
            f"the target's least shift, {least_shift}, allows: all its integers would be 0; "
            f"calibrate with other data, give it more bits, or train with quantization"
        )


def _quantized_result(graph: Graph, node: Node, plan: Plan) -> str | None:
    """The value at which the node's result is quantized: its own, or that of the clamps behind it."""
    name = node.results[0]
    while name not in plan.held:
        user = graph.only_user(name)
        if user is None:
            return None
        name = user.results[0]
    return name


def _rescaled_gain(graph: Graph, node: Node, quants: Quants, bits: int) -> float:
    """The greatest scale of operands that are rescaled one by one."""
    held = ((operand, bits) for operand in activations(graph, node))
    return max((quants[one].scale for one in held if one in quants), default=0.0)


def _gain(graph: Graph, node: Node, quants: Quants, bits: int, weights: Mapping[str, Quantization]) -> float:
    """The factor of a node's sums, its result scale aside; 0 where it requantizes none."""
    gain = LOWERINGS[type(node.op)].gain
    if gain is None:
        return 0.0
    scales = [quants[operand, bits].scale for operand in activations(graph, node)]
    if node.results[0] in weights:
        scales.append(max(weights[node.results[0]].scales))
    return gain(graph, node, scales)
