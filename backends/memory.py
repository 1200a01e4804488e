"""The memory plan: the place of each computed value in one arena while it is live."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from npuq.ir import Graph, NpuqError

ALIGNMENT = 64
LARGEST = 1 << 48
"""The greatest arena, so that sums of sizes and offsets are exact in 64 bits."""


@dataclass(frozen=True, slots=True)
class Slot:
    """`size` bytes at `offset`, held by one value from step `first` to step `last`, both included."""

    value: str
    offset: int
    size: int
    first: int
    last: int

    @property
    def end(self) -> int:
        return self.offset + self.size


@dataclass(frozen=True, slots=True)
class Plan:
    """The arena's size in bytes and one slot per graph input and node result, in the graph's order."""

    arena_size: int
    slots: tuple[Slot, ...]

    @property
    def live_peak(self) -> int:
        """The bytes that are alive at the fullest step: no plan can need less."""
        change: dict[int, int] = {}
        for slot in self.slots:
            change[slot.first] = change.get(slot.first, 0) + slot.size
            change[slot.last + 1] = change.get(slot.last + 1, 0) - slot.size
        return max(np.cumsum([change[step] for step in sorted(change)]).tolist(), default=0)


def lifetimes(graph: Graph) -> Mapping[str, tuple[int, int]]:
    """The first and last step at which each computed value must exist.

    Step 0 delivers the inputs, step i + 1 is node i, the step after the last node hands out the outputs. Operands
    and results of one node exist together.
    """
    spans = {name: [0, 0] for name in graph.inputs}
    for step, node in enumerate(graph.nodes, start=1):
        spans.update((result, [step, step]) for result in node.results)
        for operand in node.operands:
            if operand in spans:
                spans[operand][1] = step
    for value in graph.outputs.values():
        if value in spans:
            spans[value][1] = len(graph.nodes) + 1
    return {name: (first, last) for name, (first, last) in spans.items()}


def make_plan(graph: Graph) -> Plan:
    """Place the largest values first, each into the smallest gap that holds it: greedy best fit by size."""
    spans = lifetimes(graph)
    sizes = {name: graph.types[name].bytes for name in spans}
    order = {name: index for index, name in enumerate(spans)}
    placed: list[Slot] = []
    for name in sorted(spans, key=lambda name: (-sizes[name], order[name])):
        first, last = spans[name]
        busy = sorted(
            (slot.offset, slot.end) for slot in placed if slot.size and slot.first <= last and first <= slot.last
        )
        placed.append(Slot(name, _best_gap(busy, sizes[name]), sizes[name], first, last))
    placed.sort(key=lambda slot: order[slot.value])
    return Plan(_aligned(max((slot.end for slot in placed), default=0)), tuple(placed))


def check_plan(plan: Plan, graph: Graph) -> None:
    """Raise `NpuqError` unless every value has its own bytes in the arena while it is live."""
    spans = lifetimes(graph)
    names = [slot.value for slot in plan.slots]
    if names != list(spans):
        raise NpuqError(f"memory plan: {len(names)} slots do not match the graph's {len(spans)} computed values")
    for slot in plan.slots:
        if (slot.first, slot.last) != spans[slot.value]:
            raise NpuqError(
                f"memory plan: %{slot.value} lives from step {slot.first} to {slot.last}, "
                f"{' to '.join(map(str, spans[slot.value]))} wanted"
            )
        wanted = graph.types[slot.value].bytes
        if slot.size != wanted:
            raise NpuqError(f"memory plan: %{slot.value} has {slot.size} bytes, {wanted} wanted")
        if slot.offset % ALIGNMENT:
            raise NpuqError(f"memory plan: %{slot.value} at {slot.offset} is not aligned to {ALIGNMENT}")
    ends = max((slot.end for slot in plan.slots), default=0)
    if plan.arena_size != _aligned(ends) or plan.arena_size > LARGEST:
        raise NpuqError(f"memory plan: an arena of {plan.arena_size} bytes, {_aligned(ends)} wanted, at most {LARGEST}")
    _check_apart(plan)


def _check_apart(plan: Plan) -> None:
    """Raise if slots that are live at the same step share a byte."""
    slots = [slot for slot in plan.slots if slot.size]
    table = np.array([(slot.offset, slot.end, slot.first, slot.last) for slot in slots], np.int64).reshape(-1, 4)
    offset, end, first, last = table.T
    for index, slot in enumerate(slots):
        shared = (offset < slot.end) & (slot.offset < end) & (first <= slot.last) & (slot.first <= last)
        shared[index] = False
        if shared.any():
            other = slots[int(np.argmax(shared))]
            raise NpuqError(f"memory plan: %{slot.value} and %{other.value} share bytes while both are needed")


def _best_gap(busy: list[tuple[int, int]], size: int) -> int:
    """The offset of the smallest gap of at least `size` bytes, or the end if there is none."""
    best, best_room, at = -1, LARGEST, 0
    for offset, end in busy:
        room = offset - at
        if size <= room < best_room:
            best, best_room = at, room
        at = max(at, _aligned(end))
    return at if best < 0 else best


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
