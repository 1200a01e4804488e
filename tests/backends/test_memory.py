"""The memory plan: nothing overlaps, little is wasted, and lies are refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npuq.backends.memory import ALIGNMENT, Plan, check_plan, lifetimes, make_plan
from npuq.ir import Builder, Graph, NpuqError, parse_type
from npuq.ir.ops.shape import Concat, Slice
from tests.backends.programs import every_op, small


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Random chains and branches of concatenations and slices."""
    builder = Builder("random")
    values = [builder.input("x", parse_type(f"i8[{draw(st.integers(0, 300))}]"))]
    for _ in range(draw(st.integers(0, 12))):
        first, second = (draw(st.sampled_from(values)) for _ in range(2))
        size = builder.types[first].size
        if draw(st.booleans()) or size > 2000:
            stop = draw(st.integers(0, size))
            values.append(builder.add(Slice(starts=(0,), stops=(stop,), steps=(1,)), first))
        else:
            values.append(builder.add(Concat(axis=0), first, second))
    outputs = draw(st.lists(st.sampled_from(values), min_size=1, max_size=3))
    return builder.build({f"y{index}": value for index, value in enumerate(outputs)}, prune=draw(st.booleans()))


@given(graphs())
@settings(max_examples=100, deadline=None)
def test_no_two_values_share_a_byte_while_both_are_needed(graph: Graph) -> None:
    plan = make_plan(graph)
    check_plan(plan, graph)
    for step in range(len(graph.nodes) + 2):
        held = np.zeros(plan.arena_size, np.int64)
        for slot in plan.slots:
            if slot.first <= step <= slot.last:
                held[slot.offset : slot.end] += 1
        assert held.max(initial=0) <= 1
    assert plan.live_peak <= plan.arena_size


def test_lifetimes_reach_from_the_step_that_makes_to_the_last_that_reads() -> None:
    assert lifetimes(small()) == {
        "x": (0, 1),
        "a": (1, 3),
        "b.2": (2, 3),
        "c": (3, 4),
        "d": (4, 7),
        "e": (5, 6),
        "y": (6, 7),
    }


@pytest.mark.parametrize("graph", [small(), every_op()], ids=["small", "every_op"])
def test_the_arena_is_within_alignment_of_what_is_alive_at_once(graph: Graph) -> None:
    plan = make_plan(graph)
    assert plan.arena_size <= plan.live_peak + 4 * ALIGNMENT


def test_each_lie_of_a_plan_has_its_line() -> None:
    graph = small()
    plan = make_plan(graph)

    def refused(**changes: Any) -> str:
        slots = tuple(replace(slot, **changes) if slot.value == "c" else slot for slot in plan.slots)
        return reason(replace(plan, slots=slots))

    def reason(lie: Plan) -> str:
        with pytest.raises(NpuqError) as caught:
            check_plan(lie, graph)
        return str(caught.value)

    assert refused(first=2) == "memory plan: %c lives from step 2 to 4, 3 to 4 wanted"
    assert refused(size=64) == "memory plan: %c has 64 bytes, 72 wanted"
    assert refused(offset=1) == "memory plan: %c at 1 is not aligned to 64"
    assert refused(offset=1 << 20) == "memory plan: an arena of 384 bytes, 1048704 wanted, at most 281474976710656"
    assert reason(replace(plan, arena_size=320)).startswith("memory plan: an arena of 320 bytes, 384 wanted")
    assert reason(Plan(384, plan.slots[:-1])) == "memory plan: 6 slots do not match the graph's 7 computed values"
