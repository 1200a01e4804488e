"""One scale for values whose elements move into each other unchanged."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TypeVar

import numpy as np

from npuq.ir import Builder, Graph, Node, Quantization, rewrite
from npuq.ir.ops.elementwise import Maximum, Minimum
from npuq.ir.ops.quant import Dequantize, Quantize
from npuq.ir.ops.recurrent import Gru, Lstm, Rnn
from npuq.ir.ops.shape import Concat

from ..pipeline import graph_pass

Range = tuple[float, float]
Port = tuple[str, int]
"""A node, by its first result, and the index of an operand."""

K = TypeVar("K", bound=Hashable)


def scale_groups(graph: Graph, apart: Collection[Port] = ()) -> list[frozenset[str]]:
    """The sets of two and more values that must share one quantization, in the order of their first values.

    An op that gives elements of its operands unchanged ties its result to them, but for the operands in `apart`.
    Integers and constants that several nodes read stay out.
    """
    group_of: dict[str, list[str]] = {name: [name] for name in graph.types}
    for node in graph.nodes:
        for together in (_tied(graph, node, apart), *_tied_states(node)):
            tied = [name for name in together if _joins(graph, name)]
            for other in tied[1:]:
                first, second = group_of[tied[0]], group_of[other]
                if first is not second:
                    first.extend(second)
                    group_of.update(dict.fromkeys(second, first))
    found = {id(group): group for group in group_of.values() if len(group) > 1}
    return [frozenset(group) for group in found.values()]


def parts_apart(graph: Graph, scales: Mapping[str, float]) -> frozenset[Port]:
    """The operands of Concats that keep a scale of their own, and are rescaled on their way into the Concat.

    They are those that something else reads as well, which the Concat's scale would cost a bit or more; what goes into
    the Concat alone gains nothing by finer steps. `scales` are those that values would have by themselves; what has
    none, as a value that is always zero, counts as 0.
    """
    ports = frozenset((node.result, index) for node in _concats(graph) for index in range(len(node.operands)))
    group_of = {name: frozenset({name}) for name in graph.types}
    group_of.update((name, group) for group in scale_groups(graph, ports) for name in group)

    def scale(name: str) -> float:
        return max(scales.get(member, 0.0) for member in group_of[name])

    found = set()
    for node in _concats(graph):
        whole = max(scale(name) for name in (*node.operands, node.result))
        for index, operand in enumerate(node.operands):
            if 2 * scale(operand) <= whole and _is_read_beside(graph, group_of[operand], node):
                found.add((node.result, index))
    return frozenset(found)


def _concats(graph: Graph) -> Iterator[Node]:
    return (node for node in graph.nodes if isinstance(node.op, Concat) and not node.host)


def _is_read_beside(graph: Graph, group: frozenset[str], concat: Node) -> bool:
    """Whether the values of a group are read by more than the Concat and the moves between them."""
    users = [user for name in group for user in graph.users[name]]
    inner = all(user is concat or group.issuperset(user.results) for user in users)
    return not inner or not group.isdisjoint(graph.outputs.values())


def unify(ranges: Mapping[K, Range], groups: Iterable[Collection[K]]) -> dict[K, Range]:
    """Give all values of a group the range from its lowest to its highest number; values without a range get none."""
    found = dict(ranges)
    for group in groups:
        known = [ranges[name] for name in group if name in ranges]
        if known:
            shared = min(low for low, _ in known), max(high for _, high in known)
            found.update((name, shared) for name in group if name in ranges)
    return found


@graph_pass("unify-concat-scales")
def unify_concat_scales(graph: Graph) -> Graph:
    """Let the quantize/dequantize pairs around each Concat of a fake-quant graph share one scale.

    Pairs are around it when only ops that move elements stand between; the shared scale covers what each pair
    could represent. Pairs of other widths, per-channel ones and constants keep their own.
    """
    shared: dict[str, Quantization] = {}
    concats = [node.result for node in graph.nodes if isinstance(node.op, Concat)]
    for group in scale_groups(graph):
        if group.isdisjoint(concats):
            continue
        pairs: dict[tuple[object, ...], list[Node]] = {}
        for node in graph.nodes:
            if isinstance(node.op, Quantize) and node.op.axis is None and node.result in group:
                pairs.setdefault((node.op.dtype, node.op.low, node.op.high), []).append(node)
        for alike in pairs.values():
            ops = [node.op for node in alike if isinstance(node.op, Quantize)]
            shared.update((node.result, covering(ops)) for node in alike)

    def share(builder: Builder, node: Node, operands: tuple[str, ...]) -> str | None:
        if isinstance(node.op, Quantize):
            quant = shared.get(node.result, node.op.quant)
        elif isinstance(node.op, Dequantize):
            quant = builder.types[operands[0]].quant or node.op.quant
        else:
            return None
        op = replace(node.op, scales=quant.scales, zero_points=quant.zero_points)
        return builder.add(op, *operands, name=node.result, loc=node.loc, host=node.host)

    return rewrite(graph, share)


def covering(ops: Collection[Quantize]) -> Quantization:
    """The per-tensor quantization that represents what each of the ops does, all of one width and clamp.

    One zero point stays and takes the greatest scale; of several, a new one is made from the joint range, so that at
    its ends up to half a step may be lost.
    """
    quants = [op.quant for op in ops]
    if len({quant.zero_point for quant in quants}) == 1:
        return max(quants, key=lambda quant: quant.scale)
    least, greatest = next(iter(ops)).low, next(iter(ops)).high
    low = min(quant.scale * (least - quant.zero_point) for quant in quants)
    high = max(quant.scale * (greatest - quant.zero_point) for quant in quants)
    scale = float(np.float32((high - low) / (greatest - least)))
    return Quantization.per_tensor(scale, int(np.clip(np.rint(least - low / scale), least, greatest)))


def _tied(graph: Graph, node: Node, apart: Collection[Port]) -> tuple[str, ...]:
    """The operands and results of a node that share one quantization: none where it runs in float on the host."""
    if node.host:
        return ()
    match node.op:
        case Concat():
            tied = (operand for index, operand in enumerate(node.operands) if (node.result, index) not in apart)
            return (*tied, *node.results)
        case Maximum() | Minimum() if any(operand in graph.constants for operand in node.operands):
            return ()
        case Quantize() | Dequantize():
            return (node.operands[0], *node.results) if node.op.axis is None else ()
    moved = node.op.moved(node.operands)
    return (*moved, *node.results) if moved else ()


def _tied_states(node: Node) -> tuple[tuple[str, ...], ...]:
    """What a recurrent layer starts from and ends with: each state has one quantization."""
    match node.op:
        case Lstm():
            return (node.operands[4], *node.results[:2]), (node.operands[5], node.results[2])
        case Gru():
            return ((node.operands[5], *node.results),)
        case Rnn():
            return ((node.operands[4], *node.results),)
    return ()


def _joins(graph: Graph, name: str) -> bool:
    """Whether a value takes part: real or quantized numbers, and no constant that different groups could share."""
    type_ = graph.types[name]
    if not type_.dtype.is_float and type_.quant is None:
        return False
    return name not in graph.constants or len(graph.users[name]) == 1
